"""A ComfyUI with the tiny family, its LoRAs, and files that are wrong in every way there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes import family

KINDS = ("diffusion_models", "text_encoders", "vae", "loras")


@pytest.fixture(scope="session")
def studio(host, comfy_modules, pack_dir: Path, tmp_path_factory) -> Iterator[Server]:
    """One server for all tests that render with the tiny family."""
    folder = tmp_path_factory.mktemp("studio")
    models = family.family(folder / "models")
    family.diffusion(models, "edit", 9)
    family.lora(models)
    family.lora(models, official_names=True)
    damage(models)
    config = folder / "models.yaml"
    places = {kind: str(models / kind) for kind in KINDS}
    config.write_text(json.dumps({"tiny": places}), encoding="utf-8")
    arguments = ("--extra-model-paths-config", str(config), "--preview-method", "latent2rgb")
    with Server(host, pack_dir, folder / "server", arguments, timeout=900) as running:
        yield running


def damage(models: Path) -> None:
    """Wrong files beside the good ones."""
    folder = models / "diffusion_models"
    good = (folder / "tiny-turbo.safetensors").read_bytes()
    (folder / "bad-truncated.safetensors").write_bytes(good[:-1000])
    (folder / "bad-lying.safetensors").write_bytes(good.replace(b'"BF16"', b'"F128"', 1))
    (folder / "bad-garbage.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "bad-pickle.ckpt").write_bytes(b"\x80\x02}q\x00.")
    (folder / "bad-renamed.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    integers = good.replace(b'"BF16"', b'"I16" ', 1)
    (folder / "bad-integers.safetensors").write_bytes(integers)
    flux = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2)}
    family.write(folder / "bad-flux.safetensors", flux)
    shapes = family.model_shapes("diffusion_shapes", family.DIFFUSION)
    shapes["layers.1.attention.out.weight"] = (256, 255)
    family.write(folder / "bad-shape.safetensors", family.random_state(shapes, 1))
    wide = {**family.TEXT_ENCODER, "hidden_size": 256, "vocab_size": 8}
    state = family.random_state(family.model_shapes("text_encoder_shapes", wide), 1)
    family.write(models / "text_encoders" / "bad-wide.safetensors", state)
    short = {**family.TEXT_ENCODER, "vocab_size": 8}
    state = family.random_state(family.model_shapes("text_encoder_shapes", short), 1)
    family.write(models / "text_encoders" / "bad-short.safetensors", state)
    sd = {"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}
    family.write(models / "vae" / "bad-sd.safetensors", sd)
    flat = {"decoder.conv_in.weight": torch.zeros(8, 16, 3, 3)}
    flat["decoder.norm_out.weight"] = torch.zeros(32)
    family.write(models / "vae" / "bad-flat.safetensors", flat)
