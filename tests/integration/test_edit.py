"""Pictures that people have, through ZImageEdit on a real server: used, or refused and why."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes import graphs

FORMATS = {"jpg": "JPEG", "tif": "TIFF"}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def picture(mode: str = "RGB", size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth picture with a bright left half."""
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    ramp[:, : size[0] // 2] //= 2
    return Image.fromarray(ramp).convert(mode)


def deep() -> Image.Image:
    """The same in 16-bit grey."""
    return Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)


def files() -> dict[str, bytes]:
    """Every kind of picture by file name."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    frames = [picture(), ImageOps.invert(picture())]
    clear = picture("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    made = {
        "plain.png": (picture(), {}),
        "alpha.png": (picture("RGBA"), {}),
        "grey.png": (picture("L"), {}),
        "palette.png": (picture("P"), {}),
        "deep.png": (deep(), {}),
        "deep.tif": (deep(), {}),
        "clear.png": (clear, {}),
        "cmyk.jpg": (picture("CMYK"), {}),
        "rotated.jpg": (picture(), {"exif": rotated}),
        "animated.webp": (frames[0], {"save_all": True, "append_images": frames[1:]}),
        "odd.png": (picture(size=(101, 77)), {}),
        "wide.png": (picture(size=(2400, 640)), {}),
        "dot.png": (picture(size=(1, 1)), {}),
        "strip.png": (picture(size=(4000, 20)), {}),
    }
    data = {}
    for name, (image, options) in made.items():
        buffer = io.BytesIO()
        image.save(buffer, FORMATS.get(name[-3:], name.rsplit(".")[-1]), **options)
        data[name] = buffer.getvalue()
    return data | {"corrupt.png": data["plain.png"][:8] + bytes(200), "text.png": b"no picture"}


@pytest.fixture(scope="module")
def pictures(studio: Server) -> Server:
    """The server with the files in its input folder."""
    folder = studio.folder / "input"
    folder.mkdir(exist_ok=True)
    for name, data in files().items():
        (folder / name).write_bytes(data)
    return studio


def run(server: Server, graph: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    """The error's message, and the size of the picture when there is one."""
    done = server.client.run(graph, timeout=600)
    if done.error:
        return done.error["exception_message"], (0, 0)
    with Image.open(io.BytesIO(server.client.view(done.images[0]))) as made:
        return "", made.size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("plain.png", (96, 80)), ("alpha.png", (96, 80)), ("grey.png", (96, 80)),
        ("palette.png", (96, 80)), ("deep.png", (96, 80)), ("deep.tif", (96, 80)),
        ("cmyk.jpg", (96, 80)), ("rotated.jpg", (80, 96)), ("animated.webp", (96, 80)),
        ("odd.png", (96, 80)), ("wide.png", (1984, 528)),
    ],
)  # fmt: skip
def test_pictures_that_can_be_used(pictures: Server, name: str, size: tuple[int, int]) -> None:
    """Turned upright, flattened, multiples of 16, at most a megapixel; frames are references."""
    assert run(pictures, graphs.edit("edit", name)) == ("", size)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dot.png", "[ZI-PICTURE-SIZE]"), ("strip.png", "[ZI-PICTURE-SIZE]"),
        ("corrupt.png", "[ZI-PICTURE-FILE]"), ("text.png", "[ZI-PICTURE-FILE]"),
    ],
)  # fmt: skip
def test_pictures_that_cannot(pictures: Server, name: str, reason: str) -> None:
    """A code, what was found and the file's name; the server goes on."""
    message, _ = run(pictures, graphs.edit("edit", name))
    assert message.startswith(reason)
    assert name in message or reason == "[ZI-PICTURE-SIZE]"
    assert pictures.client.answers()


def test_pictures_look_as_in_a_viewer(pictures: Server) -> None:
    """What reaches the model: no mode of a file is brighter, turned or coloured otherwise."""
    kinds = {"plain.png": picture(), "alpha.png": picture(), "grey.png": picture("L"),
             "palette.png": picture("P"), "deep.png": picture("L"), "deep.tif": picture("L"),
             "cmyk.jpg": picture(), "rotated.jpg": picture().transpose(Image.Transpose.ROTATE_270),
             "animated.webp": picture(),
             "clear.png": Image.new("RGB", (96, 80), "white")}  # fmt: skip
    graph: dict[str, Any] = {}
    for name in kinds:
        graph[name] = {"class_type": "LoadImage", "inputs": {"image": name}}
        graph[f"see {name}"] = {"class_type": "PreviewImage", "inputs": {"images": [name, 0]}}
    alpha = {"image": ["clear.png", 0], "alpha": ["clear.png", 1]}
    graph["white"] = {"class_type": "JoinImageWithAlpha", "inputs": alpha}
    graph["see clear.png"]["inputs"]["images"] = ["white", 0]
    done = pictures.client.run(graph, timeout=600)
    assert done.succeeded, done.error
    for name, wanted in kinds.items():
        (seen,) = done.history["outputs"][f"see {name}"]["images"][:1]
        with Image.open(io.BytesIO(pictures.client.view(seen))) as made:
            if name == "clear.png":  # four channels reach ZImageEdit, which lays them on white
                made = Image.alpha_composite(Image.new("RGBA", made.size, "white"), made)
            found = np.asarray(made.convert("RGB"), dtype=float)
        far = np.abs(found - np.asarray(wanted.convert("RGB"), dtype=float)).mean()
        assert far < 3, (name, far)


def test_three_references_matter(pictures: Server, tmp_path: Path) -> None:
    """Each changes what an Edit model paints; Turbo refuses a second one."""
    made = {}
    for names in (("plain.png",), ("plain.png", "grey.png"), ("plain.png", "grey.png", "deep.png")):
        done = pictures.client.run(graphs.edit("edit", *names), timeout=600)
        made[names] = pictures.client.view(done.images[0])
    assert len(set(made.values())) == 3
    message, _ = run(pictures, graphs.edit("turbo", "plain.png", "grey.png"))
    assert message.startswith("[ZI-EDIT-MODEL]")


def batch(graph: dict[str, Any], first: str, *others: str) -> dict[str, Any]:
    """The graph with these pictures as one batch at the input ``image`` of the edit node."""
    link = [first, 0]
    for name in others:
        graph[name] = {"class_type": "LoadImage", "inputs": {"image": name}}
        inputs = {"image1": link, "image2": [name, 0]}
        graph[f"batch {name}"] = {"class_type": "ImageBatch", "inputs": inputs}
        link = [f"batch {name}", 0]
    graph["edit"]["inputs"]["image"] = link
    return graph


def test_each_picture_of_a_batch_is_a_reference(pictures: Server) -> None:
    """A batch gives an Edit model what the same pictures at inputs of their own give it."""
    names = ("plain.png", "grey.png", "deep.png")
    made = []
    for graph in (
        graphs.edit("edit", *names),
        batch(graphs.edit("edit", names[0]), *names),
        graphs.edit("edit", names[0]),
    ):
        done = pictures.client.run(graph, timeout=600)
        with Image.open(io.BytesIO(pictures.client.view(done.images[0]))) as image:
            made.append(image.tobytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("variant", "others", "inputs", "found"),
    [
        ("turbo", ["grey.png"], "image", 2),
        ("base", ["animated.webp"], "image", 3),
        ("edit", ["grey.png", "deep.png", "odd.png"], "image", 4),
        ("edit", ["animated.webp", "grey.png"], "image", 4),
    ],
)
def test_more_pictures_than_a_model_takes_are_refused(
    pictures: Server, variant: str, others: list[str], inputs: str, found: int
) -> None:
    """None is left out without a word; the message says how many came by which input."""
    graph = batch(graphs.edit(variant, "plain.png"), "plain.png", *others)
    message, _ = run(pictures, graph)
    assert message.startswith("[ZI-PICTURE-COUNT]")
    assert f"{inputs} has {found} pictures" in message


@pytest.mark.parametrize("variant", ["turbo", "base"])
def test_turbo_and_base_repaint_the_picture(pictures: Server, variant: str) -> None:
    """Image to image: the less denoise, the nearer to the picture."""
    distance = []
    original = np.asarray(picture(), dtype=float)
    for denoise in (0.2, 0.5, 0.9):
        graph = graphs.edit(variant, "plain.png", sample__denoise=denoise, sample__steps=8)
        done = pictures.client.run(graph, timeout=600)
        with Image.open(io.BytesIO(pictures.client.view(done.images[0]))) as made:
            distance.append(np.abs(np.asarray(made, dtype=float) - original).mean())
    assert distance[0] < distance[1] < distance[2], distance


@pytest.mark.parametrize("variant", ["turbo", "base"])
def test_the_picture_is_not_left_out_in_silence(pictures: Server, variant: str) -> None:
    """With denoise 1, the sampler's default, nothing of it would be left."""
    message, _ = run(pictures, graphs.edit(variant, "plain.png", sample__denoise=1.0))
    assert message.startswith("[ZI-EDIT-DENOISE]")


@pytest.mark.parametrize("variant", ["turbo", "base", "edit"])
def test_outside_the_mask_nothing_changes(pictures: Server, variant: str) -> None:
    """Only the masked part differs from decoding the picture's own latent."""
    graph = graphs.edit(variant, "plain.png", edit__mask=["mask", 0], sample__steps=4)
    graph["black"] = {"class_type": "SolidMask", "inputs": {"value": 0, "width": 96, "height": 80}}
    graph["white"] = {"class_type": "SolidMask", "inputs": {"value": 1, "width": 48, "height": 80}}
    inputs = {"destination": ["black", 0], "source": ["white", 0], "x": 0, "y": 0,
              "operation": "add"}  # fmt: skip
    graph["mask"] = {"class_type": "MaskComposite", "inputs": inputs}
    graphs.save_latent(graph, "painted", "sample")
    graph["encoded"] = {"class_type": "VAEEncode",
                        "inputs": {"pixels": ["plain.png", 0], "vae": ["load", 2]}}  # fmt: skip
    graphs.save_latent(graph, "before", "encoded")
    done = pictures.client.run(graph, timeout=600)
    assert done.succeeded, done.error
    painted, before = (_latent(pictures, name) for name in ("painted", "before"))
    changed = np.abs(painted - before).max(axis=(0, 1, 2))
    assert changed[:6].min() > 1e-3
    assert changed[6:].max() < 1e-5


def test_keep_puts_the_original_back_around_an_edit(pictures: Server) -> None:
    """Half of the picture is painted over; the other half, a little off, is the file's again."""
    load = {"class_type": "LoadImage", "inputs": {"image": "plain.png"}}
    paint = {"width": 48, "height": 80, "batch_size": 1, "color": 0xFF0000}
    graph: dict[str, Any] = {
        "load": load,
        "red": {"class_type": "EmptyImage", "inputs": paint},
        "edit": {"class_type": "ImageCompositeMasked", "inputs": {
            "destination": ["off", 0], "source": ["red", 0], "x": 0, "y": 0,
            "resize_source": False}},
        "off": {"class_type": "ImageBlend", "inputs": {
            "image1": ["load", 0], "image2": ["red", 0], "blend_factor": 0.01,
            "blend_mode": "normal"}},
        "keep": {"class_type": "ZImageKeep", "inputs": {
            "image": ["edit", 0], "original": ["load", 0], "tolerance": 4}},
        "save": {"class_type": "SaveImage", "inputs": {
            "images": ["keep", 0], "filename_prefix": "kept"}},
    }  # fmt: skip
    done = pictures.client.run(graph, timeout=600)
    assert done.succeeded, done.error
    with Image.open(io.BytesIO(pictures.client.view(done.images[0]))) as made:
        found = np.asarray(made)
    original = np.asarray(picture())
    assert (found[:, 60:] == original[:, 60:]).all()  # smoothing reaches some pixels further
    assert (found[:, :40] == (255, 0, 0)).all()
    graph["keep"]["inputs"]["tolerance"] = 300
    assert run(pictures, graph)[0].startswith("[ZI-VALUE]")


def _latent(server: Server, name: str) -> np.ndarray:
    from safetensors.numpy import load_file

    newest = max((server.folder / "output" / "latents").glob(f"{name}_*"))
    return load_file(newest)["latent_tensor"]
