"""Objects that stay in a worker, as the host holds them."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from ...errors import ZImageError
from ..protocol import messages as m
from ..protocol.exceptions import WorkerDied, WorkerRaised
from .call_deadline import CallDeadline, Check, user_interrupted
from .raised import host_exception
from .value_tree import first_tensor, objects_in, to_device

CALLBACK_SECONDS = 600.0
"""Longest call of a function that stays in a worker."""
CALLBACK_SILENT_SECONDS = 60.0
"""Longest time without a sign of life of the worker during such a call."""

_current = threading.local()


class ObjectOwner(Protocol):
    """The session with the worker in which an object stays."""

    @property
    def name(self) -> str:
        """Name of the pack."""
        ...

    def forget(self, number: int) -> None:
        """Note that the host has no handle for an object any more."""
        ...

    def call_object(self, call: m.Call, args: Any, kwargs: Any, check: Check) -> Any:
        """Call a function that stays in the worker."""
        ...


class Handle:
    """An object that stays in a worker. Only nodes of the same pack can use it.

    Args:
        owner: the session with that worker.
        number: the worker's number of the object.
        name: of its class, for messages.
    """

    def __init__(self, owner: ObjectOwner, number: int, name: str) -> None:
        self.owner = owner
        self.number = number
        self.name = name
        weakref.finalize(self, owner.forget, number).atexit = False

    def __repr__(self) -> str:
        return f"<{self.name} in the sandbox of {self.owner.name}>"


class Callback(Handle):
    """A function that stays in a worker; it can be called while that worker waits for the host."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, for example as a patch of a model.

        The worker runs it inside the request that it waits for or, after the node has ended, when
        it is idle. The result is moved to the device of the first tensor among the arguments.

        With the arguments of a cfg function (six latents [1, 16, 8, 8], a model, its options) a
        call took 3.9 ms on two busy cores; larger tensors add two copies. That is little once per
        step, and much in each attention of a large model.

        Raises:
            ZImageError: the worker has ended, or the function has failed.
        """
        call = m.Call(0, "object", instance=self.number)
        deadline = CallDeadline(CALLBACK_SECONDS, CALLBACK_SILENT_SECONDS, call, user_interrupted)
        tensor = first_tensor((args, kwargs))
        previous = callback_device()
        _current.device = None if tensor is None else tensor.device
        try:
            result = self.owner.call_object(call, args, kwargs, deadline)
        except WorkerDied as error:
            raise ZImageError(
                "ZI-SANDBOX-DIED", pack=self.owner.name, node="…", found=error.reason, tail=""
            ) from None
        except WorkerRaised as error:
            raise host_exception(self.owner.name, "…", error.error) from None
        finally:
            _current.device = previous
        return result if tensor is None else to_device(result, tensor.device)


def callback_device() -> Any:
    """Return the device of the tensors of the callback that this thread is in, else None."""
    return getattr(_current, "device", None)


def require_data(value: Any, functions: bool = False) -> Any:
    """Return a value that may become a part of a host's object.

    Args:
        value: data, or objects of the host.
        functions: whether it may contain functions that stay in a worker.

    Raises:
        PermissionError: it contains an object of a worker, which the host cannot use.
    """
    for item in objects_in(value):
        if isinstance(item, Handle) and not (functions and isinstance(item, Callback)):
            raise PermissionError(f"{item!r} means nothing to the host")
    return value
