"""MODEL, CLIP and VAE in the hands of a pack in a sandbox: as if it were in ComfyUI's process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow

PACK = Path(__file__).parents[1] / "fakes" / "packs_objects" / "objects_pack"
Graph = dict[str, dict[str, Any]]


def server_with(folder: Path, host: Host, pack_dir: Path, mode: str) -> Server:
    """A server with the pack, that is not started yet."""
    shutil.copytree(PACK, folder / "packs" / PACK.name)
    write_paths(folder / "paths.yaml", {"custom_nodes": str(folder / "packs")})
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    env = {**os.environ, "ZIMAGE_SANDBOX": mode}
    return Server(host, pack_dir, folder / "server", arguments, env=env)


@pytest.fixture(scope="module")
def inside(
    tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path
) -> Iterator[Server]:
    """The pack in a sandbox."""
    with server_with(tmp_path_factory.mktemp("inside"), host, pack_dir, "strict") as found:
        yield found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path) -> Iterator[Server]:
    """The pack in ComfyUI's process."""
    with server_with(tmp_path_factory.mktemp("bare"), host, pack_dir, "off") as found:
        yield found


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def graph(**more: Any) -> Graph:
    """The small Base model, a prompt in both parts, and an empty latent [1, 16, 8, 8]."""
    found = {
        "load": node(
            "ZImageLoader", model_name="zimage-small-base.safetensors", variant="auto",
            text_encoder="zimage-small-qwen3.safetensors", vae="zimage-small-ae.safetensors",
            dtype="auto",
        ),
        "yes": node("CLIPTextEncode", clip=["load", 1], text="a red star"),
        "no": node("CLIPTextEncode", clip=["load", 1], text="ink"),
        "size": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
    }  # fmt: skip
    return found | more


def sampled(model: Any, **more: Any) -> dict[str, Any]:
    """ComfyUI's KSampler with a model."""
    return node(
        "KSampler", model=model, seed=7, steps=3, cfg=2.0, sampler_name="euler",
        scheduler="simple", positive=["yes", 0], negative=["no", 0], latent_image=["size", 0],
        denoise=1.0, **more,
    )  # fmt: skip


def outcome(client: Client, prompt: Graph) -> dict[str, Any]:
    """The history entry of a prompt, once there is one."""
    status, answer = client.submit(prompt)
    assert status == 200, answer
    wait(lambda: answer["prompt_id"] in client.get(f"/history/{answer['prompt_id']}"))
    return client.get(f"/history/{answer['prompt_id']}")[answer["prompt_id"]]


def error(entry: dict[str, Any]) -> str:
    """What a prompt failed with, or nothing."""
    found = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    return found[0]["exception_message"] if found else ""


def tensor(server: Server, prompt: Graph, samples: Any) -> torch.Tensor:
    """What a graph gives as LATENT."""
    entry = outcome(server.client, prompt | {"keep": node(
        "SaveLatent", samples=samples, filename_prefix="kept")})  # fmt: skip
    assert not error(entry), error(entry)
    found = entry["outputs"]["keep"]["latents"][0]
    return load_file(server.folder / "output" / found["subfolder"] / found["filename"])[
        "latent_tensor"
    ]


def text(server: Server, prompt: Graph, value: Any) -> str:
    """What a graph gives as STRING."""
    entry = outcome(server.client, prompt | {"show": node("PreviewAny", source=value)})
    assert not error(entry), error(entry)
    return entry["outputs"]["show"]["text"][0]


def same(inside: Server, bare: Server, prompt: Graph, samples: Any) -> None:
    """Both give the same bits, and they are not nothing."""
    one, other = tensor(inside, prompt, samples), tensor(bare, prompt, samples)
    assert torch.equal(one, other), (one - other).abs().max()
    assert one.std() > 0


def test_the_pack_is_in_a_sandbox(inside: Server, bare: Server) -> None:
    """Otherwise the rest of this module would prove nothing."""
    prompt = graph(
        run=node("ObjectsTrespass", model=["load", 0], clip=["load", 1], how="raw", path="")
    )
    assert "PermissionError" in text(inside, prompt, ["run", 0])
    assert "TypeError" in text(bare, prompt, ["run", 0])


@pytest.mark.parametrize("output", [0, 1])
def test_text_is_encoded_alike(inside: Server, bare: Server, output: int) -> None:
    """By CLIP's methods and by ComfyUI's node, as seen by a KSampler."""
    prompt = graph(
        run=node("ObjectsEncode", clip=["load", 1], text="a blue vase"), sample=sampled(["load", 0])
    )
    prompt["sample"]["inputs"]["positive"] = ["run", output]
    same(inside, bare, prompt, ["sample", 0])


def test_latents_are_decoded_and_encoded_alike(inside: Server, bare: Server) -> None:
    """And the VAE's numbers are the same."""
    prompt = graph(
        sample=sampled(["load", 0]),
        run=node("ObjectsCodes", vae=["load", 2], samples=["sample", 0]),
    )
    same(inside, bare, prompt, ["run", 1])
    assert text(inside, prompt, ["run", 2]) == text(bare, prompt, ["run", 2])


def test_tensors_are_of_comfyuis_mode(inside: Server, bare: Server) -> None:
    """Made in inference mode, so that a parameter of a layer can bear them."""
    prompt = graph(
        sample=sampled(["load", 0]), run=node("ObjectsLayer", samples=["sample", 0])
    )  # fmt: skip
    same(inside, bare, prompt, ["run", 0])


@pytest.mark.parametrize("how", ["common", "node", "custom", "own", "guider", "whole"])
def test_a_pack_samples_alike(inside: Server, bare: Server, how: str) -> None:
    """In the host, with samplers of ComfyUI's and of the pack's own."""
    prompt = graph(
        run=node(
            "ObjectsSample", model=["load", 0], positive=["yes", 0], negative=["no", 0],
            latent=["size", 0], how=how,
        )
    )  # fmt: skip
    same(inside, bare, prompt, ["run", 0])


@pytest.mark.parametrize(
    "how", ["cfg", "post", "wrapper", "outer", "options", "sampling", "levels", "bare levels"]
)
def test_a_patched_model_is_sampled_alike(inside: Server, bare: Server, how: str) -> None:
    """The host calls the pack's functions long after the node has ended."""
    prompt = graph(
        patch=node("ObjectsPatch", model=["load", 0], how=how), sample=sampled(["patch", 0])
    )
    same(inside, bare, prompt, ["sample", 0])
    if how != "options":
        plain = tensor(inside, graph(sample=sampled(["load", 0])), ["sample", 0])
        assert not torch.equal(tensor(inside, prompt, ["sample", 0]), plain)


@pytest.mark.parametrize(
    ("patch", "how"), [("cfg", "common"), ("levels", "custom"), ("bare levels", "custom")]
)
def test_a_patched_model_in_the_packs_own_hands(
    inside: Server, bare: Server, patch: str, how: str
) -> None:
    """The worker waits for the sampler, and the sampler calls the worker."""
    prompt = graph(
        patch=node("ObjectsPatch", model=["load", 0], how=patch),
        run=node(
            "ObjectsSample", model=["patch", 0], positive=["yes", 0], negative=["no", 0],
            latent=["size", 0], how=how,
        ),
    )  # fmt: skip
    same(inside, bare, prompt, ["run", 0])


def test_a_function_that_fails_or_dies(inside: Server) -> None:
    """The sampler's node fails with what happened; the next prompt has a new process."""
    prompt = graph(
        patch=node("ObjectsPatch", model=["load", 0], how="raises"),
        sample=sampled(["patch", 0]), out=node("PreviewAny", source=["sample", 0]),
    )  # fmt: skip
    assert "no such key" in error(outcome(inside.client, prompt))
    prompt["patch"]["inputs"]["how"] = "dies"
    assert "ZI-SANDBOX-DIED" in error(outcome(inside.client, prompt))
    prompt["patch"]["inputs"]["how"] = "cfg"
    assert not error(outcome(inside.client, prompt))


@pytest.mark.parametrize("how", ["weights", "changed", "node"])
def test_models_are_loaded_alike(inside: Server, bare: Server, how: str) -> None:
    """In the host, from a file or from tensors."""
    prompt = graph(
        run=node("ObjectsLoad", model=["load", 0], vae="zimage-small-ae.safetensors", how=how),
        sample=sampled(["load", 0]),
        codes=node("ObjectsCodes", vae=["run", 0], samples=["sample", 0]),
    )
    same(inside, bare, prompt, ["codes", 1])
    assert text(inside, prompt, ["run", 1]) == text(bare, prompt, ["run", 1])


def test_a_handle_is_the_object(inside: Server, bare: Server) -> None:
    """Identity, equality, copies, classes and plain attributes."""
    prompt = graph(
        run=node("ObjectsSame", one=["load", 0], other=["load", 0], clip=["load", 1]),
        sample=sampled(["run", 0]),
    )
    assert text(inside, prompt, ["run", 1]) == text(bare, prompt, ["run", 1])
    same(inside, bare, prompt, ["sample", 0])


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("attribute", "AttributeError"),
        ("raw", "PermissionError"),
        ("raw read", "PermissionError"),
        ("object", "PermissionError"),
        ("shared", "clone this MODEL"),
        ("shared options", "clone this MODEL"),
        ("function", "there is no function"),
        ("node", "is not run for packs"),
        ("patch", "PermissionError"),
        ("pickle", "cannot be pickled"),
    ],
)
def test_what_is_not_offered_is_refused(inside: Server, how: str, found: str) -> None:
    """The pack hears why, and the host goes on."""
    run = node("ObjectsTrespass", model=["load", 0], clip=["load", 1], how=how, path="")
    assert found in text(inside, graph(run=run), ["run", 0])


def test_no_path_leads_out_of_the_folders_of_models(inside: Server, tmp_path: Path) -> None:
    """Whatever it looks like; nor is a pickle in such a folder loaded."""
    models = Path(__file__).parents[2] / "demo" / "models"
    outside = tmp_path / "model.safetensors"
    shutil.copy(models / "diffusion_models" / "zimage-small-base.safetensors", outside)
    up = f"{models}/vae/../../../README.safetensors"
    for path in (
        str(outside),
        "/etc/passwd",
        up,
        f"{models}/vae/none.safetensors",
        f"{models}/x.ckpt",
    ):
        run = node("ObjectsTrespass", model=["load", 0], clip=["load", 1], how="path", path=path)
        assert "PermissionError" in text(inside, graph(run=run), ["run", 0]), path


def test_a_forged_handle_ends_the_sandbox(inside: Server) -> None:
    """A number that it was never given is no mistake."""
    run = node("ObjectsTrespass", model=["load", 0], clip=["load", 1], how="forged", path="")
    found = error(outcome(inside.client, graph(run=run, out=node("PreviewAny", source=["run", 0]))))
    assert "ZI-SANDBOX-DIED" in found
    assert "bad message" in found


def test_cost_of_a_callback(inside: Server, record_property: Any) -> None:
    """A call of a pack's function by a sampler takes milliseconds, not tens of them."""
    run = node("ObjectsCost", model=["load", 0], positive=["yes", 0], latent=["size", 0], steps=3)
    took = float(text(inside, graph(run=run), ["run", 0]))
    record_property("milliseconds", took)
    assert took < 20
