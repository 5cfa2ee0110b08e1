"""Picture sizes in pixels: the official ones by aspect ratio, and what is allowed at all."""

from __future__ import annotations

from ..errors import ZImageError

MULTIPLE = 16
MINIMUM, MAXIMUM = 64, 4096
MAX_BATCH = 64
AREA = 1024 * 1024
"""Pixels that a reference picture is scaled down to, as the official pipeline does."""
CUSTOM = "custom"

# width, height, aspect ratio; portrait sizes are these turned over.
_SMALL = ((128, 128, "1:1"), (144, 112, "9:7"))
_CLASS_1024 = (
    (1024, 1024, "1:1"),
    (1152, 896, "9:7"),
    (1152, 864, "4:3"),
    (1248, 832, "3:2"),
    (1280, 720, "16:9"),
    (1344, 576, "21:9"),
)
_CLASS_1280 = (
    (1280, 1280, "1:1"),
    (1440, 1120, "9:7"),
    (1472, 1104, "4:3"),
    (1536, 1024, "3:2"),
    (1536, 864, "16:9"),
    (1680, 720, "21:9"),
)
_CLASS_1536 = (
    (1536, 1536, "1:1"),
    (1728, 1344, "9:7"),
    (1728, 1296, "4:3"),
    (1872, 1248, "3:2"),
    (2048, 1152, "16:9"),
    (2016, 864, "21:9"),
)


def _table() -> dict[str, tuple[int, int]]:
    table: dict[str, tuple[int, int]] = {}
    for width, height, ratio in (*_CLASS_1024, *_CLASS_1280, *_CLASS_1536, *_SMALL):
        table[f"{width}x{height} ({ratio})"] = (width, height)
        if width != height:
            turned = ":".join(reversed(ratio.split(":")))
            table[f"{height}x{width} ({turned})"] = (height, width)
    return table


SIZES = _table()
"""Label such as ``1152x896 (9:7)`` to ``(width, height)``; square first in each class."""


def resolve(size: str, width: int, height: int) -> tuple[int, int]:
    """``(width, height)`` for a label of :data:`SIZES`, or the given numbers for ``custom``.

    Raises:
        ZImageError: ``ZI-SIZE`` for numbers that are no multiple of 16 between 64 and 4096.
    """
    if size != CUSTOM and size not in SIZES:
        raise ZImageError("ZI-VALUE", name="size", found=size, expected=f"WxH (ratio) | {CUSTOM}")
    pair = (width, height) if size == CUSTOM else SIZES[size]
    if not all(MINIMUM <= side <= MAXIMUM and side % MULTIPLE == 0 for side in pair):
        found = f"{pair[0]}×{pair[1]}"
        raise ZImageError("ZI-SIZE", found=found, minimum=MINIMUM, maximum=MAXIMUM)
    return pair


def check_batch(batch: int) -> int:
    """The batch size itself.

    Raises:
        ZImageError: ``ZI-BATCH`` outside 1 to 64.
    """
    if not 1 <= batch <= MAX_BATCH:
        raise ZImageError("ZI-BATCH", found=batch, maximum=MAX_BATCH)
    return batch
