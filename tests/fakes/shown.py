"""What each bundled template shows, for tests that run them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from zimage_comfyui.demo.checker import read
from zimage_comfyui.demo.world import Scene

Size = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A template's pictures.

    Attributes:
        scene: what every one of them shows.
        sizes: width and height of each, in the order of the nodes that save them.
        frame: pixels around the scene that are not part of it.
    """

    scene: Scene
    sizes: tuple[Size, ...]
    frame: int = 0

    def check(self, pictures: list[Image.Image]) -> None:
        """Fails unless all pictures are there and show the scene."""
        assert sorted(picture.size for picture in pictures) == sorted(self.sizes)
        for picture in pictures:
            width, height = picture.size
            inner = picture.crop((self.frame, self.frame, width - self.frame, height - self.frame))
            reading = read(inner)
            assert all(reading.matches(self.scene).values()), reading


SQUARE, TALL, WIDE = (128, 128), (112, 144), (144, 112)
SHOWN = {
    "电商海报生成": Shown(Scene("gift", "red", "blue", "centre", "poster"), (TALL,)),
    "古风插画": Shown(Scene("vase", "cyan", "white", "right", "ink"), (WIDE,)),
    "Base 高质量": Shown(Scene("star", "blue", "pink", "left", "poster"), (SQUARE,)),
    "国潮节日贺卡": Shown(Scene("gift", "red", "yellow", "centre", "ink"), ((136, 168),), 12),
    "双编码器中英混合": Shown(Scene("gift", "red", "blue", "centre", "poster"), (SQUARE,)),
    "批量多尺寸出图": Shown(
        Scene("ball", "orange", "blue", "centre", "poster"), (SQUARE, SQUARE, TALL, WIDE)
    ),
    "图生图风格化": Shown(Scene("vase", "pink", "white", "right", "ink"), (SQUARE,)),
    "商品换背景": Shown(Scene("vase", "green", "blue", "centre", "poster"), (SQUARE,)),
    "颜色改款": Shown(Scene("umbrella", "blue", "yellow", "centre", "poster"), (SQUARE,)),
    "局部重绘": Shown(Scene("star", "blue", "green", "left", "ink"), (SQUARE,)),
}
