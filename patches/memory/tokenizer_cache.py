"""The tokenizer of Z-Image's text encoder is read once, instead of with every load of a model.

It is 300,000 small objects, 60 MB, the same every time. When they are freed, newer objects between
them (an entry of the history, for example) keep their memory from the system, and a server that
loads often grows. The tokenizer is dropped when the host is asked to drop its caches.
"""

from __future__ import annotations

from typing import Any

from ..base import lifecycle
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from ..base.lifecycle import Subscription
from ..base.registry import About
from . import readings

ABOUT = About(
    part="tokenizer",
    bare_host=(
        "Each load of Z-Image's text encoder reads 300,000 small objects again (half a second)."
        " When they are freed, newer objects between them keep their memory, and the server grows."
    ),
    here="They are read once, and freed when ComfyUI clears its caches.",
)
READ = HookPoint(
    "comfy.text_encoders.z_image",
    "Qwen3Tokenizer.__init__",
    ("self", "embedding_directory", "tokenizer_data"),
)
RESET = lifecycle.CACHES_RESET.needs("self")


def create() -> Tokenizer:
    """Return the part, with nothing read yet."""
    return Tokenizer()


class Tokenizer(Patches):
    """Shares what the host has read last with all later tokenizers.

    Attributes:
        reads: how often files were read.
        shared: how often they were not.
    """

    def __init__(self) -> None:
        super().__init__(
            Patch(READ, self.share), Subscription("tokenizer", RESET, self.drop_before)
        )
        self.reads = 0
        self.shared = 0
        self._folder: Any = None
        self._attributes: dict[str, Any] = {}

    def details(self) -> dict[str, int]:
        """Return both counts for ``/health``."""
        return {"reads": self.reads, "shared": self.shared}

    def revert(self) -> None:
        """Put the host's functions back and drop the tokenizer."""
        super().revert()
        self._drop()

    def _drop(self) -> None:
        self._attributes = {}
        readings.objects.discard(READ.path)

    def share(self, original: Function) -> Function:
        """Wrap the constructor of the host's tokenizer."""
        folder = Argument(original, "embedding_directory")
        data = Argument(original, "tokenizer_data")

        def read(*arguments: Any, **named: Any) -> None:
            tokenizer, directory = arguments[0], folder.of(arguments, named)
            own_data = data.of(arguments, named)
            known = sum(argument.given(arguments, named) for argument in (folder, data))
            unknown = len(arguments) - 1 + len(named) - known
            sharable = not (own_data or unknown or vars(tokenizer))
            if sharable and self._attributes and self._folder == directory:
                self.shared += 1
                vars(tokenizer).update(self._attributes)
                return
            if not own_data:
                arguments, named = data.replaced(arguments, named, {})
            original(*arguments, **named)
            self.reads += 1
            if sharable:
                self._folder = directory
                self._attributes = dict(vars(tokenizer))
                readings.objects.add(READ.path)

        return read

    def drop_before(self, original: Function) -> Function:
        """Stand around a reset of the host's caches: drop the tokenizer before it."""

        def reset(*arguments: Any, **named: Any) -> None:
            self._drop()
            original(*arguments, **named)

        return reset
