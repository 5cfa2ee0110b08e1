"""Our nodes in a real ComfyUI, over its HTTP and WebSocket interface."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from safetensors.torch import load_file

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes import graphs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def painter(studio: Server) -> Client:
    """A client of that ComfyUI."""
    return studio.client


def rerun(client: Client, graph: graphs.Graph):
    """Run a graph with nothing cached from earlier runs."""
    client.request("/free", {"unload_models": True, "free_memory": True})
    done = client.run(graph)
    assert done.succeeded, done.error
    return done


def saved_latent(studio: Server, done, name: str):
    """The tensor that a SaveLatent node wrote."""
    entry = done.history["outputs"][name]["latents"][0]
    file = studio.folder / "output" / entry["subfolder"] / entry["filename"]
    return load_file(file)["latent_tensor"]


def test_prompt_becomes_a_webp_with_its_graph_inside(painter: Client) -> None:
    """The whole path runs; the picture has the size asked for, progress was reported."""
    done = rerun(painter, graphs.render())
    picture = Image.open(io.BytesIO(painter.view(done.images[0])))
    assert (picture.format, picture.size) == ("WEBP", (144, 112))
    assert done.images[0]["subfolder"] == "测试"
    assert json.loads(picture.getexif()[0x0110].removeprefix("prompt:")) == graphs.render()
    steps = [e["data"]["value"] for e in done.events if e["type"] == "progress"]
    assert 8 in steps
    assert len(done.previews) == 8
    assert Image.open(io.BytesIO(done.previews[-1])).format in ("JPEG", "PNG")


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG")])
def test_other_formats(painter: Client, format: str, kind: str) -> None:
    """PNG and JPEG are real files of their kind and carry the prompt too."""
    done = painter.run(graphs.render(save__format=format))
    assert done.succeeded, done.error
    picture = Image.open(io.BytesIO(painter.view(done.images[0])))
    assert (picture.format, picture.size) == (kind, (144, 112))
    text = picture.info["prompt"] if kind == "PNG" else picture.getexif()[0x0110]
    assert "ZImageSampler" in text


def test_same_seed_gives_the_same_bytes(painter: Client) -> None:
    """Nothing cached, models unloaded in between: the file is the same to the byte."""
    graph = graphs.render(size__batch_size=2)
    first, second = rerun(painter, graph), rerun(painter, graph)
    assert len(first.images) == 2
    assert [painter.view(i) for i in first.images] == [painter.view(i) for i in second.images]
    other = rerun(painter, graphs.render(sample__seed=2))
    assert painter.view(other.images[0]) != painter.view(first.images[0])


@pytest.mark.parametrize(
    ("variant", "steps", "cfg", "shift"), [("turbo", 8, 1.0, 3.0), ("base", 6, 5.0, 6.0)]
)
def test_ksampler_gives_the_same_bits(studio: Server, variant, steps, cfg, shift) -> None:
    """Stock CLIPTextEncode, ModelSamplingAuraFlow and KSampler on our MODEL: the same latents."""
    done = rerun(studio.client, graphs.latents(variant, steps, cfg, shift))
    ours, stock = (saved_latent(studio, done, name) for name in ("ours", "stock"))
    assert ours.shape == (2, 16, 14, 18)
    assert ours.std() > 0.1
    assert ours.numpy().tobytes() == stock.numpy().tobytes()


@pytest.mark.parametrize("name", ["tiny.safetensors", "tiny-official.safetensors"])
def test_stock_lora_changes_the_result(studio: Server, name: str) -> None:
    """LoraLoaderModelOnly between loader and sampler works; strength 0 is no change at all."""
    graph = graphs.latents("turbo", 8, 1.0, 3.0)
    for strength in (0.0, 1.0):
        inputs = {"model": ["load", 0], "lora_name": name, "strength_model": strength}
        graph[f"lora{strength:g}"] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
        sampler = {**graph["sample"]["inputs"], "model": [f"lora{strength:g}", 0]}
        graph[f"sample{strength:g}"] = {"class_type": "ZImageSampler", "inputs": sampler}
        graphs.save_latent(graph, f"with{strength:g}", f"sample{strength:g}")
    done = rerun(studio.client, graph)
    plain, zero, one = (saved_latent(studio, done, n) for n in ("ours", "with0", "with1"))
    assert plain.equal(zero)
    assert (plain - one).abs().max() > 0.01


def test_sampler_says_what_it_used(painter: Client) -> None:
    """The info output states cfg and guidance, in both languages."""
    graph = graphs.render(load__model_name="tiny-base.safetensors", sample__steps=2)
    graph["show"] = {"class_type": "PreviewAny", "inputs": {"source": ["sample", 1]}}
    done = painter.run(graph)
    assert done.succeeded, done.error
    info = done.history["outputs"]["show"]["text"][0]
    assert "cfg 5 = guidance 4" in info
    assert "2 步" in info
    assert "2 steps" in info


def test_every_node_and_input_is_explained(painter: Client) -> None:
    """Node list, categories, tooltips and both translations reach the page."""
    about, words = painter.get("/object_info"), painter.get("/i18n")
    names = [name for name, node in about.items() if node["category"] == "Z-Image"]
    assert sorted(names) == sorted(
        ["ZImageLoader", "ZImageDualLoader", "ZImageTextEncode", "ZImageEdit", "ZImageLatent",
         "ZImageSampler", "ZImageDecode", "ZImageKeep", "ZImageSave"]
    )  # fmt: skip
    for name in names:
        inputs = {**about[name]["input"]["required"], **about[name]["input"].get("optional", {})}
        assert all(spec[1].get("tooltip") for spec in inputs.values())
        for language in ("zh", "en"):
            told = words[language]["nodeDefs"][name]
            assert told["display_name"]
            assert told["inputs"].keys() == inputs.keys()
            assert all(field["name"] and field["tooltip"] for field in told["inputs"].values())
            help_page = f"/extensions/z-image-comfyui/docs/{name}/{language}.md"
            assert painter.request(help_page)[0] == 200
