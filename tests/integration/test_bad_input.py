"""Every wrong file and value ends as a coded error in /history, and the server goes on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes import graphs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"load__model_name": "bad-truncated.safetensors"}, "ZI-FILE-CORRUPT", "data bytes"),
    ({"load__model_name": "bad-lying.safetensors"}, "ZI-FILE-CORRUPT", "F128"),
    ({"load__model_name": "bad-garbage.safetensors"}, "ZI-FILE-CORRUPT", "header length"),
    ({"load__model_name": "bad-pickle.ckpt"}, "ZI-FILE-PICKLE", "bad-pickle.ckpt"),
    ({"load__model_name": "bad-renamed.safetensors"}, "ZI-FILE-PICKLE", "bad-renamed"),
    ({"load__model_name": "bad-flux.safetensors"}, "ZI-MODEL-KIND", "Flux"),
    ({"load__model_name": "bad-shape.safetensors"}, "ZI-MODEL-KEYS", "[256, 255]"),
    ({"load__model_name": "bad-integers.safetensors"}, "ZI-MODEL-KEYS", "int16"),
    ({"load__text_encoder": "bad-short.safetensors"}, "ZI-MODEL-KEYS", "8 token embeddings"),
    ({"load__text_encoder": "bad-wide.safetensors"}, "ZI-TEXT-WIDTH", "256"),
    ({"load__vae": "bad-sd.safetensors"}, "ZI-MODEL-KIND", "4 channels"),
    ({"load__vae": "bad-flat.safetensors"}, "ZI-MODEL-KEYS", "widths []"),
    ({"size__size": "custom", "size__width": 0, "size__height": 0}, "ZI-SIZE", "0×0"),
    ({"size__size": "custom", "size__width": 1000, "size__height": 512}, "ZI-SIZE", "1000×512"),
    ({"size__size": "custom", "size__width": 16, "size__height": 10**9}, "ZI-SIZE", "16×4096"),
    ({"size__batch_size": 0}, "ZI-BATCH", "0"),
    ({"sample__steps": 0}, "ZI-STEPS", "0"),
    ({"sample__steps": 10**6}, "ZI-STEPS", "1000000"),
    ({"sample__cfg": 0.5}, "ZI-VALUE", "cfg = 0.5"),
    ({"sample__shift": 0.0}, "ZI-VALUE", "shift = 0"),
    ({"sample__denoise": 0.0}, "ZI-VALUE", "denoise = 0"),
    ({"sample__denoise": 1e-9}, "ZI-VALUE", "denoise = 1e-09"),
    ({"save__quality": 0}, "ZI-VALUE", "quality = 0"),
    ({"save__filename_prefix": "../outside"}, "ZI-VALUE", "../outside"),
    ({"save__filename_prefix": "blocked/picture"}, "ZI-OUTPUT", "blocked"),
]


@pytest.fixture(scope="module")
def blocked(studio: Server) -> None:
    """A file stands where a folder of pictures should be made."""
    (studio.folder / "output" / "blocked").write_text("in the way")


@pytest.mark.parametrize(
    ("changes", "code", "found"), CASES, ids=[f"{c[1]}-{n}" for n, c in enumerate(CASES)]
)
def test_coded_error_in_both_languages(
    studio: Server, blocked: None, changes: dict[str, Any], code: str, found: str
) -> None:
    """The message names the code, what was found, in Chinese and in English."""
    done = studio.client.run(graphs.render(**changes))
    assert not done.succeeded
    assert done.error is not None
    message = done.error["exception_message"]
    assert message.startswith(f"[{code}] ")
    chinese, _, english = message.partition(" / ")
    assert found in message
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert re.search(r"[A-Za-z]{4}", english)


@pytest.mark.parametrize("prompt", ["红色的\ufffd球", "a\ud83d", "x\u202ey", "\ue123", "\u0378"])
def test_unreadable_prompt_is_refused_before_anything_is_loaded(
    studio: Server, prompt: str
) -> None:
    """By /prompt itself, with code and position, also where another node holds the text."""
    status, answer = studio.client.submit(graphs.render(text__prompt=prompt))
    assert status == 400
    details = json.dumps(answer["node_errors"]["text"]["errors"], ensure_ascii=False)
    assert re.search(r"\[ZI-TEXT-[A-Z]+\] 提示词第 \d 个字符", details)
    graph = graphs.render()
    graph["words"] = {"class_type": "PrimitiveString", "inputs": {"value": prompt}}
    graph["text"]["inputs"]["prompt"] = ["words", 0]
    status, answer = studio.client.submit(graph)
    assert status == 400
    assert "[ZI-TEXT-" in json.dumps(answer["node_errors"]["words"])


@pytest.mark.parametrize(
    "prompt", ["a embedding: embedding:x", "红 embedding:foo 球", "(a:1.2) (("]
)
def test_syntax_of_other_encoders_is_plain_text(studio: Server, prompt: str) -> None:
    """No file is looked for, nothing fails, nothing vanishes."""
    done = studio.client.run(graphs.render(text__prompt=prompt))
    assert done.succeeded, done.error


def test_a_prompt_of_many_tokens_is_refused(studio: Server) -> None:
    """Its attention would fill the memory; the message has both numbers."""
    done = studio.client.run(graphs.render(text__prompt="龘𠮷" * 3000))
    assert done.error is not None
    assert "[ZI-TEXT-TOKENS]" in done.error["exception_message"]
    assert "4096" in done.error["exception_message"]


def test_latents_of_other_nodes(studio: Server) -> None:
    """A latent that is no Z-Image latent is refused with its shape."""
    graph = graphs.render(sample__denoise=0.5)
    graph["small"] = {
        "class_type": "EmptySD3LatentImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1},
    }
    upscale = {"upscale_method": "nearest-exact", "width": 8192, "height": 64, "crop": "disabled"}
    graph["big"] = {"class_type": "LatentUpscale", "inputs": {"samples": ["small", 0], **upscale}}
    graph["sample"]["inputs"]["latent_image"] = ["big", 0]
    done = studio.client.run(graph)
    assert done.error is not None
    assert "[ZI-VALUE] latent_image = [1, 16, 8, 1024]" in done.error["exception_message"]


def test_base_without_negative(studio: Server) -> None:
    """cfg above 1 needs the negative input; the message says so."""
    graph = graphs.render(load__model_name="tiny-base.safetensors")
    del graph["sample"]["inputs"]["negative"]
    done = studio.client.run(graph)
    assert done.error is not None
    assert "[ZI-VALUE] negative" in done.error["exception_message"]


def test_models_of_other_kinds(studio: Server) -> None:
    """A latent with other than 16 channels, where the VAE cannot take it."""
    graph = graphs.render()
    empty = {"width": 128, "height": 128, "batch_size": 1}
    graph["four"] = {"class_type": "EmptyLatentImage", "inputs": empty}
    graph["decode"]["inputs"]["samples"] = ["four", 0]
    done = studio.client.run(graph)
    assert done.error is not None
    assert "[ZI-VALUE] samples = [1, 4, 16, 16]" in done.error["exception_message"]


def test_server_is_unharmed(studio: Server) -> None:
    """After all of that a picture still comes out, and no half files lie about."""
    done = studio.client.run(graphs.render(sample__seed=99))
    assert done.succeeded, done.error
    assert studio.client.view(done.images[0])[8:12] == b"WEBP"
    assert not list((studio.folder / "output").rglob("*.part"))
