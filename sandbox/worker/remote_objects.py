"""Objects of the host as a pack in a sandbox holds them: handles that ask the host.

One object of the host is one handle as long as the pack has it, so ``is`` and ``==`` mean what they
do in ComfyUI's process. A copy of a handle is that handle, and it cannot be pickled.
"""

from __future__ import annotations

import copy
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from ..protocol import messages as m
from ..protocol.operations import KINDS, Kind

if TYPE_CHECKING:
    from .worker import Worker

NOTHING = Kind()
IDLE = frozenset({"to", "cpu", "cuda", "eval", "float", "half", "requires_grad_"})
"""Methods of modules that are the host's business; they give the handle itself."""


class HostObject:
    """An object of the host, such as a MODEL; what it can do is the host's to say.

    Reading an attribute that its kind does not have is an ``AttributeError``, as for any object.
    """

    def __init__(self, worker: Worker, ours: m.HostRef) -> None:
        self.__dict__.update(_zimage_worker=worker, _zimage_ours=ours, _zimage_count=1)

    def _zimage_ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._zimage_worker.ask(self._zimage_ours, name, [list(args), kwargs])

    @property
    def _zimage_offers(self) -> Kind:
        return KINDS.get(self._zimage_ours.kind, NOTHING)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return _class(self._zimage_ours.type) or HostObject

    def __getattr__(self, name: str) -> Any:
        kind, offered = self.__dict__["_zimage_ours"].kind, self._zimage_offers
        if name in offered.local:
            return _device(name)
        if name in offered.reads:
            return _read(self, name, self._zimage_ask(f".{name}"))
        if name in offered.methods or name in offered.changes:
            return _method(self, name)
        if name in IDLE and offered.calls:
            return lambda *_, **__: self
        raise AttributeError(f"{kind} has no {name!r} for packs in a sandbox")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._zimage_offers.writes:
            kind = self._zimage_ours.kind
            raise AttributeError(f"{name!r} of a {kind} cannot be set from a sandbox")
        self._zimage_ask(f"={name}", value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._zimage_offers.calls:
            raise TypeError(f"a {self._zimage_ours.kind} cannot be called from a sandbox")
        return self._zimage_ask("()", *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        if self._zimage_ours.kind != "CLIP_VISION_OUTPUT" or not isinstance(key, str):
            raise TypeError(f"a {self._zimage_ours.kind} has no items")
        return getattr(self, key)

    def __copy__(self) -> HostObject:
        return self

    def __deepcopy__(self, _memo: Any) -> HostObject:
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled")

    def __dir__(self) -> list[str]:
        one = self._zimage_offers
        return sorted(one.methods | one.changes | one.reads | one.local)

    def __del__(self) -> None:
        ours, count = self._zimage_ours, self._zimage_count
        self._zimage_worker.objects.lose(ours.number, count)

    def __repr__(self) -> str:
        ours = self.__dict__["_zimage_ours"]
        return f"<{ours.kind} {ours.number} in the host>"


class Handles:
    """The handles that are alive, by number; each time the host names one it counts once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._alive: weakref.WeakValueDictionary[int, HostObject] = weakref.WeakValueDictionary()

    def take(self, ours: m.HostRef) -> HostObject:
        """The handle for what the host has named."""
        found = self._alive.get(ours.number)
        if found is None:
            found = self._alive[ours.number] = HostObject(self._worker, ours)
        else:
            found.__dict__["_zimage_count"] += 1
        return found


class Fixed(list[Any]):
    """A list of the host's: a copy, so that changing it would mean nothing."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a list inside of a model's options cannot be changed from a sandbox")

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return [copy.deepcopy(one, memo) for one in self]

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return list, (list(self),)

    append = extend = insert = pop = remove = clear = sort = reverse = _refuse  # type: ignore[assignment]
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # type: ignore[assignment]


class Options(dict[Any, Any]):
    """``model_options`` of a model: read from a copy, changed in the host.

    Args:
        owner: the model.
        path: keys that lead here.
        values: what is there now.
    """

    def __init__(self, owner: HostObject, path: tuple[Any, ...], values: dict[Any, Any]) -> None:
        self.owner, self.path = owner, path
        super().__init__({k: _kept(owner, (*path, k), v) for k, v in values.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.owner._zimage_ask("set_option", [*self.path, key], value)
        super().__setitem__(key, _kept(self.owner, (*self.path, key), value))

    def __delitem__(self, key: Any) -> None:
        self.owner._zimage_ask("drop_option", [*self.path, key])
        super().__delitem__(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """See ``dict``."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """See ``dict``."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def pop(self, key: Any, *default: Any) -> Any:
        """See ``dict``."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """See ``dict``."""
        for key in list(self):
            del self[key]

    def __deepcopy__(self, memo: Any) -> dict[Any, Any]:
        return {k: copy.deepcopy(v, memo) for k, v in self.items()}

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _kept(owner: HostObject, path: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, dict):
        return Options(owner, path, value)
    return Fixed(value) if type(value) is list else value


def _read(owner: HostObject, name: str, value: Any) -> Any:
    if name == "model_options":
        return Options(owner, (), value)
    if name == "model_type" and isinstance(value, str):
        import comfy.model_base

        return comfy.model_base.ModelType[value]
    return value


def _method(owner: HostObject, name: str) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        found = owner._zimage_ask(name, *args, **kwargs)
        return _shapes(found) if name == "model_state_dict" else found

    method.__name__ = name
    return method


def _shapes(found: dict[str, tuple[list[int], Any]]) -> dict[str, Any]:
    """Weights without their values: tensors on ``meta`` of the right shape and type."""
    import torch

    return {k: torch.empty(shape, dtype=d, device="meta") for k, (shape, d) in found.items()}


def _device(name: str) -> Any:
    import comfy.model_management as management

    if name == "load_device":
        return management.get_torch_device()
    return management.intermediate_device()


_classes: dict[str, type | None] = {}


def _class(names: str) -> type | None:
    """The class that ``isinstance`` shall see; it is never made an object of."""
    if names not in _classes:
        found = tuple(_found(names))
        try:
            _classes[names] = found[0] if len(found) == 1 else type("HostObject", found, {})
        except TypeError:  # these classes do not go together
            _classes[names] = found[0]
        except IndexError:
            _classes[names] = None
    return _classes[names] if names else None


def _found(names: str) -> Iterator[type]:
    for name in filter(None, names.split("|")):
        module, _, own = name.rpartition(".")
        try:
            known = sys.modules.get(module) or importlib.import_module(module)
        except ImportError:
            continue
        if isinstance(one := getattr(known, own, None), type):
            yield one
