"""Pictures are written whole or not at all, and the page finds the workflow in them."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zimage_comfyui.engine import pictures
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import page

METADATA = {
    "prompt": {"1": {"class_type": "ZImageSave", "inputs": {"text": "红色的猫: {a} | é \n"}}},
    "workflow": {"nodes": [{"title": "保存"}], "version": 0.4},
    "other": [1, None],
}


def drawing(width: int = 97, height: int = 61, seed: int = 0) -> Image.Image:
    """A smooth picture with some detail; odd sides, so that chunks get odd lengths."""
    y, x = np.mgrid[0:height, 0:width] / 20
    waves = np.stack([np.sin(x + y), np.cos(x * y / 9 + seed), np.sin(x)], -1) * 0.5 + 0.5
    return pictures.to_image(waves)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("seed", range(6))
def test_the_page_finds_the_workflow_in_webp(tmp_path: Path, seed: int) -> None:
    """Prompt and workflow come back through the page's own way of reading EXIF."""
    path = tmp_path / "a.webp"
    pictures.save(drawing(97 + seed, 61, seed), path, "webp", 85, METADATA)
    assert read(path).format == "WEBP"
    found = page.from_webp(path.read_bytes())
    assert {key: json.loads(text) for key, text in found.items()} == METADATA


def test_the_page_finds_the_workflow_in_png(tmp_path: Path) -> None:
    """The same for PNG, whose pixels are also exact."""
    path = tmp_path / "a.png"
    pictures.save(drawing(), path, "png", 85, METADATA)
    assert np.array_equal(np.asarray(read(path)), np.asarray(drawing()))
    found = page.from_png(path.read_bytes())
    assert {key: json.loads(text) for key, text in found.items()} == METADATA


def test_jpeg_carries_it_and_leaves_out_what_does_not_fit(tmp_path: Path) -> None:
    """A JPEG segment is small: a huge workflow is left out and the picture still saved."""
    path = tmp_path / "a.jpg"
    pictures.save(drawing(), path, "jpeg", 85, METADATA)
    assert read(path).getexif()[0x010F].startswith("workflow:")
    pictures.save(drawing(), path, "jpeg", 85, {"workflow": "x" * 100_000})
    assert not read(path).getexif()


def test_no_metadata(tmp_path: Path) -> None:
    """An empty mapping writes none, and a missing workflow is not written as null."""
    pictures.save(drawing(), tmp_path / "a.webp", "webp", 85, {})
    assert page.from_webp((tmp_path / "a.webp").read_bytes()) == {}
    pictures.save(drawing(), tmp_path / "b.webp", "webp", 85, {"prompt": None})
    assert page.from_webp((tmp_path / "b.webp").read_bytes()) == {}


def test_a_large_workflow_fits_webp(tmp_path: Path) -> None:
    """Half a megabyte of graph is no problem."""
    path = tmp_path / "a.webp"
    pictures.save(drawing(), path, "webp", 85, {"workflow": "图" * 100_000})
    assert json.loads(page.from_webp(path.read_bytes())["workflow"]) == "图" * 100_000


def test_webp_is_much_smaller_than_png(tmp_path: Path) -> None:
    """At least 60 % smaller on a picture with fine detail."""
    noise = np.random.default_rng(0).normal(0, 0.01, (256, 256, 3))
    y, x = np.mgrid[0:256, 0:256] / 40
    picture = pictures.to_image(np.stack([np.sin(x + y)] * 3, -1) * 0.4 + 0.5 + noise)
    for format in ("webp", "png"):
        pictures.save(picture, tmp_path / f"a.{format}", format, 85, {})
    sizes = [(tmp_path / f"a.{format}").stat().st_size for format in ("webp", "png")]
    assert sizes[0] < 0.4 * sizes[1]


def test_rounding() -> None:
    """Nearest value; out of range is clipped, not wrapped; not-a-number is black."""
    values = np.array([[[0.0, 1.0, 0.5], [-3.0, 7.0, np.nan]]])
    assert np.asarray(pictures.to_image(values)).tolist() == [[[0, 255, 128], [0, 255, 0]]]
    every = np.arange(256, dtype=np.float32).repeat(3).reshape(1, 256, 3)
    assert np.array_equal(np.asarray(pictures.to_image(every / np.float32(255))), every)


class FullDisk(Image.Image):
    """Writes a little, then the disk is full."""

    def save(self, stream: Any, **_: Any) -> None:
        stream.write(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    def getexif(self) -> Image.Exif:
        return Image.Exif()


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """The error names the system's reason; neither a part nor a damaged old file remains."""
    path = tmp_path / "a.webp"
    pictures.save(drawing(), path, "webp", 85, {})
    before = path.read_bytes()
    with pytest.raises(ZImageError, match=r"ZI-OUTPUT.*No space left"):
        pictures.save(FullDisk(), path, "webp", 85, {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.webp"]
    assert path.read_bytes() == before


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A missing folder, or a file in its place."""
    (tmp_path / "file").write_text("")
    for folder in ("missing", "file"):
        with pytest.raises(ZImageError, match="ZI-OUTPUT"):
            pictures.save(drawing(), tmp_path / folder / "a.webp", "webp", 85, {})


@pytest.mark.parametrize(("format", "quality"), [("gif", 85), ("webp", 0), ("jpeg", 101)])
def test_unknown_format_or_quality(tmp_path: Path, format: str, quality: int) -> None:
    """Refused before anything is written."""
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        pictures.save(drawing(), tmp_path / "a", format, quality, {})
    assert list(tmp_path.iterdir()) == []


def test_files_can_be_read_by_others(tmp_path: Path) -> None:
    """Permissions follow the umask, as with any file the host writes."""
    pictures.save(drawing(), tmp_path / "a.png", "png", 85, {})
    other = tmp_path / "other"
    other.touch()
    assert (tmp_path / "a.png").stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize(
    ("channels", "format"), [(1, "jpeg"), (4, "jpeg"), (4, "png"), (1, "webp")]
)
def test_grey_and_transparent_pictures_are_saved(
    tmp_path: Path, channels: int, format: str
) -> None:
    """Other nodes give one or four channels; JPEG loses the transparency, nothing else is lost."""
    image = pictures.to_image(np.full((16, 24, channels), 0.5, dtype=np.float32))
    path = tmp_path / "a"
    pictures.save(image, path, format, 90, {"键": "红"})
    assert read(path).size == (24, 16)
    assert abs(np.asarray(read(path).convert("L")).mean() - 128) < 3


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (0, 4, 3), (4, 4, 5)])
def test_arrays_that_are_no_picture_are_refused(shape: tuple[int, ...]) -> None:
    """With the shape that was found."""
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        pictures.to_image(np.zeros(shape, dtype=np.float32))


def test_a_picture_too_wide_for_its_format_is_refused(tmp_path: Path) -> None:
    """WebP ends at 16383 pixels; PNG takes it."""
    image = Image.new("RGB", (16_384, 2))
    with pytest.raises(ZImageError, match="16383"):
        pictures.save(image, tmp_path / "a.webp", "webp", 85, {})
    pictures.save(image, tmp_path / "a.png", "png", 85, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
