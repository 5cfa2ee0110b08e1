"""The tokenizer of Z-Image's text encoder is read once, not with every load of a model.

It is 300,000 small objects, 60 MB, the same every time. When they are thrown away, whatever was
made since (an entry of the history, say) lies between them and keeps their memory from the system:
a server that loads often grows. They go when the host is asked to forget its caches.
"""

from __future__ import annotations

from typing import Any

from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from . import readings
from .idle_unload import RESET

READ = HookPoint(
    "comfy.text_encoders.z_image",
    "Qwen3Tokenizer.__init__",
    ("self", "embedding_directory", "tokenizer_data"),
)


def create() -> Tokenizer:
    """Both patches, with nothing read yet."""
    return Tokenizer()


class Tokenizer(Patches):
    """What the host has read last, for all that follow.

    Attributes:
        reads: how often files were read.
        shared: how often they were not.
    """

    def __init__(self) -> None:
        super().__init__(Patch(READ, self._wrap), Patch(RESET, self._wrap_reset))
        self.reads = self.shared = 0
        self._folder: Any = None
        self._kept: dict[str, Any] = {}

    def details(self) -> dict[str, int]:
        """For ``/health``."""
        return {"reads": self.reads, "shared": self.shared}

    def revert(self) -> None:
        """As :meth:`.seam.Patches.revert`."""
        super().revert()
        self._forget()

    def _forget(self) -> None:
        self._kept = {}
        readings.objects.discard(READ.path)

    def _wrap(self, original: Function) -> Function:
        folder = Argument(original, "embedding_directory")
        data = Argument(original, "tokenizer_data")

        def read(*arguments: Any, **named: Any) -> None:
            tokenizer, directory = arguments[0], folder.of(arguments, named)
            own = data.of(arguments, named)
            known = sum(argument.given(arguments, named) for argument in (folder, data))
            others = len(arguments) - 1 + len(named) - known
            alike = not (own or others or vars(tokenizer))
            if alike and self._kept and self._folder == directory:
                self.shared += 1
                vars(tokenizer).update(self._kept)
                return
            if not own:
                arguments, named = data.replaced(arguments, named, {})
            original(*arguments, **named)
            self.reads += 1
            if alike:
                self._folder = directory
                self._kept = dict(vars(tokenizer))
                readings.objects.add(READ.path)

        return read

    def _wrap_reset(self, original: Function) -> Function:
        def reset(*arguments: Any, **named: Any) -> None:
            self._forget()  # before idle memory is given back, which the original does
            original(*arguments, **named)

        return reset
