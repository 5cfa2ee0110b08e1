"""Handles in a worker for objects of the host, such as a MODEL: each operation asks the host.

As long as a pack has an object of the host, there is one handle for it, so ``is`` and ``==`` mean
what they mean in ComfyUI's process. A copy of a handle is the same handle. It cannot be pickled.
"""

from __future__ import annotations

import copy
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ..protocol import messages as m
from ..protocol.operations import OPERATIONS, Operations
from .host_client import HostClient

NOTHING = Operations()
IGNORED = frozenset({"to", "cpu", "cuda", "eval", "float", "half", "requires_grad_"})
"""Methods of modules that only the host decides about; they return the handle."""


class HostObject:
    """A handle; its operations are those that the protocol lists for its kind.

    Reading any other attribute is an ``AttributeError``, as for any object.

    Args:
        client: asks the host.
        reference: of the object.
    """

    def __init__(self, client: HostClient, reference: m.HostRef) -> None:
        self.__dict__.update(_zimage_client=client, _zimage_ref=reference, _zimage_count=1)

    def _zimage_ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._zimage_client.ask(self._zimage_ref, name, [list(args), kwargs])

    @property
    def _zimage_kind(self) -> Operations:
        return OPERATIONS.get(self._zimage_ref.kind, NOTHING)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return _class(self._zimage_ref.type) or HostObject

    def __getattr__(self, name: str) -> Any:
        kind = self._zimage_kind
        if name in kind.local:
            return _device(name)
        if name in kind.reads:
            return _read(self, name, self._zimage_ask(f".{name}"))
        if name in kind.methods or name in kind.changes:
            return _method(self, name)
        if name in IGNORED and kind.calls:
            return lambda *_, **__: self
        of = self.__dict__["_zimage_ref"].kind
        raise AttributeError(f"{of} has no {name!r} for packs in a sandbox")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._zimage_kind.writes:
            kind = self._zimage_ref.kind
            raise AttributeError(f"{name!r} of a {kind} cannot be set from a sandbox")
        self._zimage_ask(f"={name}", value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object in the host."""
        if not self._zimage_kind.calls:
            raise TypeError(f"a {self._zimage_ref.kind} cannot be called from a sandbox")
        return self._zimage_ask("()", *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        if self._zimage_ref.kind != "CLIP_VISION_OUTPUT" or not isinstance(key, str):
            raise TypeError(f"a {self._zimage_ref.kind} has no items")
        return getattr(self, key)

    def __copy__(self) -> HostObject:
        return self

    def __deepcopy__(self, _memo: Any) -> HostObject:
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled")

    def __dir__(self) -> list[str]:
        kind = self._zimage_kind
        return sorted(kind.methods | kind.changes | kind.reads | kind.local)

    def __del__(self) -> None:
        self._zimage_client.release(self._zimage_ref.number, self._zimage_count)

    def __repr__(self) -> str:
        reference = self.__dict__["_zimage_ref"]
        return f"<{reference.kind} {reference.number} in the host>"


class Handles:
    """The handles that are alive, by number.

    Args:
        client: asks the host.
    """

    def __init__(self, client: HostClient) -> None:
        self._client = client
        self._alive: weakref.WeakValueDictionary[int, HostObject] = weakref.WeakValueDictionary()

    def take(self, reference: m.HostRef) -> HostObject:
        """Return the handle for a reference that the host sent, and count the reference."""
        handle = self._alive.get(reference.number)
        if handle is None:
            handle = self._alive[reference.number] = HostObject(self._client, reference)
        else:
            handle.__dict__["_zimage_count"] += 1
        return handle


class Fixed(list[Any]):
    """A copy of a list of the host, which cannot be changed: a change would not reach the host."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a list inside of a model's options cannot be changed from a sandbox")

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return [copy.deepcopy(item, memo) for item in self]

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return list, (list(self),)

    append = extend = insert = pop = remove = clear = sort = reverse = _refuse  # type: ignore[assignment]
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # type: ignore[assignment]


class Options(dict[Any, Any]):
    """``model_options`` of a model: reads use a copy, changes go to the host too.

    Args:
        owner: the model.
        path: keys of the dictionaries that contain this one.
        values: the current content.
    """

    def __init__(self, owner: HostObject, path: tuple[Any, ...], values: dict[Any, Any]) -> None:
        self.owner = owner
        self.path = path
        super().__init__({k: _nested(owner, (*path, k), v) for k, v in values.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.owner._zimage_ask("set_option", [*self.path, key], value)
        super().__setitem__(key, _nested(self.owner, (*self.path, key), value))

    def __delitem__(self, key: Any) -> None:
        self.owner._zimage_ask("drop_option", [*self.path, key])
        super().__delitem__(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Set a key that is missing, and return its value."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several keys."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key and return its value."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Remove all keys."""
        for key in list(self):
            del self[key]

    def __deepcopy__(self, memo: Any) -> dict[Any, Any]:
        return {k: copy.deepcopy(v, memo) for k, v in self.items()}

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _nested(owner: HostObject, path: tuple[Any, ...], value: Any) -> Any:
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
        result = owner._zimage_ask(name, *args, **kwargs)
        return _meta_tensors(result) if name == "model_state_dict" else result

    method.__name__ = name
    return method


def _meta_tensors(shapes: dict[str, tuple[list[int], Any]]) -> dict[str, Any]:
    """Return tensors without values (device ``meta``) from shapes and types."""
    import torch

    return {
        name: torch.empty(shape, dtype=dtype, device="meta")
        for name, (shape, dtype) in shapes.items()
    }


def _device(name: str) -> Any:
    import comfy.model_management as management

    if name == "load_device":
        return management.get_torch_device()
    return management.intermediate_device()


_classes: dict[str, type | None] = {}


def _class(names: str) -> type | None:
    """Return the class that ``isinstance`` compares with; nobody makes instances of it.

    Args:
        names: of classes of ComfyUI, with ``|`` between them.
    """
    if names not in _classes:
        classes = tuple(_imported(names))
        try:
            _classes[names] = classes[0] if len(classes) == 1 else type("HostObject", classes, {})
        except TypeError:  # these classes cannot have a common subclass
            _classes[names] = classes[0]
        except IndexError:
            _classes[names] = None
    return _classes[names] if names else None


def _imported(names: str) -> Iterator[type]:
    for name in filter(None, names.split("|")):
        module_name, _, attribute = name.rpartition(".")
        try:
            module = sys.modules.get(module_name) or importlib.import_module(module_name)
        except ImportError:
            continue
        if isinstance(cls := getattr(module, attribute, None), type):
            yield cls
