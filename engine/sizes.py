"""Picture sizes in pixels: the official sizes by aspect ratio, and the limits of custom sizes."""

from __future__ import annotations

from ..errors import ZImageError
from ..errors.bilingual import Bilingual

MULTIPLE = 16
MINIMUM, MAXIMUM = 64, 4096
MAX_BATCH = 64
AREA = 1024 * 1024
"""Most pixels of a reference picture; the official pipeline scales larger ones down to it."""
CUSTOM = "custom"

# Width, height, aspect ratio; portrait sizes are derived from these.
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
"""Label such as ``1152x896 (9:7)`` to ``(width, height)``; each class starts with the square."""


def resolve(size: str, width: int, height: int) -> tuple[int, int]:
    """Return ``(width, height)`` of a label of :data:`SIZES`, or the arguments for ``custom``.

    Raises:
        ZImageError: ``ZI-SIZE`` for a side that is not a multiple of 16 between 64 and 4096,
            ``ZI-VALUE`` for an unknown label.
    """
    if size != CUSTOM and size not in SIZES:
        expected = Bilingual(f"宽x高 (比例) | {CUSTOM}", f"WxH (ratio) | {CUSTOM}")
        raise ZImageError("ZI-VALUE", name="size", found=size, expected=expected)
    pair = (width, height) if size == CUSTOM else SIZES[size]
    if not all(MINIMUM <= side <= MAXIMUM and side % MULTIPLE == 0 for side in pair):
        found = f"{pair[0]}×{pair[1]}"
        raise ZImageError("ZI-SIZE", found=found, minimum=MINIMUM, maximum=MAXIMUM)
    return pair


def check_batch(batch: int) -> int:
    """Return the batch size unchanged if it is valid.

    Raises:
        ZImageError: ``ZI-BATCH`` outside 1 to 64.
    """
    if not 1 <= batch <= MAX_BATCH:
        raise ZImageError("ZI-BATCH", found=batch, maximum=MAX_BATCH)
    return batch
