"""Pictures are judged by their headers; what is small enough opens as before."""

from __future__ import annotations

import asyncio
import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image, ImageSequence, UnidentifiedImageError

from zimage_comfyui.config import MEGAPIXELS, Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.base.hooks import Patch, Patches
from zimage_comfyui.patches.requests import image_limits
from zimage_comfyui.patches.requests.image_limits import ImageLimit
from zimage_comfyui.tests.fakes.slots import slots

LIMIT = 10_000


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> io.BytesIO:
    """A PNG file that says it is of this size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's helper."""
    module: Any = ModuleType("node_helpers")
    module.pillow = lambda fn, arg: fn(arg)
    monkeypatch.setitem(sys.modules, "node_helpers", module)
    return module


@pytest.fixture
def patches(helpers) -> Iterator[Patches]:
    """Both patches, applied with a small limit."""
    limit = ImageLimit(LIMIT)
    both = Patches(Patch(image_limits.OPEN, limit.open), Patch(image_limits.PILLOW, limit.pillow))
    both.apply()
    yield both
    both.revert()


@pytest.mark.parametrize(
    ("size", "found"),
    [((101, 100), "101×100"), ((1, 10_001), "1×10001"), ((100_000, 100_000), "10000000000 ")],
)
@pytest.mark.parametrize("on_disk", [True, False])
def test_too_large(patches, tmp_path: Path, size: Any, found: str, on_disk: bool) -> None:
    """A code with the size; Pillow's own error becomes the same one."""
    file: Any = png(*size)
    if on_disk:
        file = tmp_path / "a.png"
        file.write_bytes(png(*size).getvalue())
    with pytest.raises(ZImageError, match="ZI-PICTURE-LARGE") as caught:
        Image.open(file)
    assert found in str(caught.value)
    assert "10,000" in str(caught.value)


def test_just_small_enough(patches) -> None:
    """It opens, by position and by name."""
    assert Image.open(png(100, 100)).size == (100, 100)
    assert Image.open(fp=png(100, 100), formats=["PNG"]).size == (100, 100)


def test_other_errors_stay(patches) -> None:
    """What is no picture is told as before."""
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(b"no picture"))
    with pytest.raises(ValueError, match="bad mode"):
        Image.open(png(1, 1), "w")


def test_pictures_that_are_made_have_no_limit(patches) -> None:
    """A large upscale is saved, and may be cut."""
    made = Image.new("1", (400, 400))
    file = io.BytesIO()
    made.save(file, "PNG")
    assert made.crop((0, 0, 300, 300)).size == (300, 300)


def animation(size: tuple[int, int], frames: int) -> io.BytesIO:
    """A GIF of so many different frames."""
    first, *rest = (Image.new("L", size, number) for number in range(frames))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file


def test_frames_count_together(patches, helpers) -> None:
    """As the host goes through them; it keeps them all."""

    def load(frames: int) -> int:
        with helpers.pillow(Image.open, animation((100, 100), frames)) as picture:
            return len([helpers.pillow(bool, one) for one in ImageSequence.Iterator(picture)])

    assert load(4) == 4
    with pytest.raises(ZImageError, match="100×100×5"):
        load(5)


def test_a_later_frame_that_is_larger(patches, helpers) -> None:
    """Only the first is in the header."""
    file = io.BytesIO()
    pages = [Image.new("L", (10, 10)), Image.new("L", (200, 200))]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    with helpers.pillow(Image.open, file) as picture:
        frames = ImageSequence.Iterator(picture)
        helpers.pillow(bool, frames[0])
        with pytest.raises(ZImageError, match="200×200"):
            helpers.pillow(bool, frames[1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_brightness(patches, helpers, kind: str) -> None:
    """The host cuts everything above 255 of it; frames stay what they are when only opened."""
    file = io.BytesIO()
    made = Image.new("I;16", (2, 1))
    made.putpixel((0, 0), 65_535)
    made.putpixel((1, 0), 0x3200)
    made.save(file, kind)
    with helpers.pillow(Image.open, file) as picture:
        assert picture.format == kind
        grey = helpers.pillow(lambda one: one.copy(), picture)
    assert [grey.convert("RGB").getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (50,) * 3]


def test_no_picture_is_named(patches, helpers, tmp_path: Path) -> None:
    """Ours with a code; packs that expect Pillow's go on to other readers."""
    path = tmp_path / "照片.png"
    path.write_bytes(b"no picture")
    with pytest.raises(UnidentifiedImageError) as caught:
        helpers.pillow(Image.open, str(path))
    assert isinstance(caught.value, ZImageError)
    assert str(caught.value).startswith("[ZI-PICTURE-FILE] 无法读取图像“照片.png”")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        helpers.pillow(Image.open, str(tmp_path / "none.png"))


def test_applied_twice_and_undone(helpers) -> None:
    """Pillow and the host have their own functions again."""
    before = Image.open, helpers.pillow
    limit = ImageLimit(LIMIT)
    both = Patches(Patch(image_limits.OPEN, limit.open), Patch(image_limits.PILLOW, limit.pillow))
    for _ in range(2):
        both.apply()
        assert both.active
    both.revert()
    assert (Image.open, helpers.pillow) == before


def test_another_host_is_left_alone(helpers) -> None:
    """Neither of the two is changed when one does not fit."""
    before = Image.open
    helpers.pillow = lambda function, picture: None
    limit = ImageLimit(LIMIT)
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        Patches(
            Patch(image_limits.OPEN, limit.open), Patch(image_limits.PILLOW, limit.pillow)
        ).apply()
    assert Image.open is before


@pytest.mark.parametrize(
    ("content", "status"),
    [(png(100, 100), 200), (png(101, 100), 400), (io.BytesIO(b"video"), 200)],
    ids=["small", "large", "no picture"],
)
def test_uploads(
    helpers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: io.BytesIO, status: int
) -> None:
    """Judged before the host keeps them; what passes reaches the host whole."""

    async def answer(request: web.Request) -> web.Response:
        field: Any = (await request.post())["image"]
        return web.Response(body=field.file.read())

    server = SimpleNamespace(app=web.Application())
    server.app.add_routes([web.post("/upload/image", answer)])
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(
        PromptServer=SimpleNamespace(instance=server)))  # fmt: skip
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    monkeypatch.setenv("ZIMAGE_MAX_MEGAPIXELS", "1")
    monkeypatch.setattr(image_limits, "ImageLimit", lambda pixels: ImageLimit(pixels // 100))
    part = image_limits.create(slots(server.app)["pictures"])

    async def go() -> tuple[int, bytes]:
        form = FormData()
        form.add_field("image", content.getvalue(), filename="a.png")
        async with (
            TestClient(TestServer(server.app)) as client,
            client.post("/upload/image", data=form) as response,
        ):
            return response.status, await response.read()

    part.apply()
    try:
        found, body = asyncio.run(go())
    finally:
        part.revert()
    assert found == status
    assert (body == content.getvalue()) is (status == 200)
    assert (b"ZI-PICTURE-LARGE" in body) is (status == 400)


@pytest.mark.parametrize(
    ("text", "megapixels"),
    [("", MEGAPIXELS), ("150", 150.0), ("1.5", 1.5), ("0", None), ("179", None), ("many", None)],
)
def test_the_setting(text: str, megapixels: float | None) -> None:
    """Beyond 178 Pillow refuses by itself; the default counts, and the value is noted."""
    settings = Settings.from_environment({"ZIMAGE_MAX_MEGAPIXELS": text})
    assert settings.megapixels == (MEGAPIXELS if megapixels is None else megapixels)
    noted = [] if megapixels is not None else [("ZIMAGE_MAX_MEGAPIXELS", text, "1 … 178")]
    assert [*settings.unfit] == noted
