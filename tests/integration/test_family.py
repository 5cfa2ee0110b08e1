"""The small models that come with the pack: they are what they say, and paint what is asked."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from safetensors import safe_open

FILES = {
    "diffusion_models/zimage-small-turbo.safetensors": ("diffusion", "turbo"),
    "diffusion_models/zimage-small-base.safetensors": ("diffusion", "base"),
    "text_encoders/zimage-small-qwen3.safetensors": ("text_encoder", None),
    "vae/zimage-small-ae.safetensors": ("vae", None),
}
DUAL = {
    "text_encoders/zimage-small-clip.safetensors": ("clip", None),
    "text_encoders/zimage-small-bert.safetensors": ("bert", None),
    "zimage_adapters/zimage-small-adapter.safetensors": ("adapter", None),
}
EDIT = {"diffusion_models/zimage-small-edit.safetensors": ("diffusion", "edit")}


@pytest.fixture(scope="module")
def models(pack_dir: Path) -> Path:
    return pack_dir / "demo" / "models"


def test_weights_are_small_and_describe_themselves(models: Path):
    """24 MB or less, 32 with the dual encoder; kind, variant and configuration in the metadata."""
    files = sorted(path.relative_to(models).as_posix() for path in models.rglob("*.safetensors"))
    assert files == sorted(FILES | DUAL | EDIT)
    assert sum((models / name).stat().st_size for name in FILES) <= 24_000_000
    assert sum((models / name).stat().st_size for name in FILES | DUAL) <= 32_000_000
    for name, (kind, variant) in (FILES | DUAL | EDIT).items():
        with safe_open(models / name, "np") as file:
            about = json.loads(file.metadata()["zimage"])
        assert (about["format"], about["kind"], about.get("variant")) == (1, kind, variant)
        assert about["config"]


@pytest.mark.parametrize(
    ("variant", "dual_encoder", "count", "steps", "share"),
    [("turbo", False, 40, -1, 0.9), ("base", False, 20, 14, 0.9), ("turbo", True, 40, -1, 0.8)],
)
def test_pictures_show_what_unseen_prompts_say(
    comfy_modules: Path, models: Path, variant: str, dual_encoder: bool, count: int, steps: int,
    share: float,
):  # fmt: skip
    """Held-out combinations in both languages, most of them right in every field.

    The benchmarks ``adherence`` and ``dual`` measure the share itself, over 200 prompts each.
    """
    import torch
    from PIL import Image

    from zimage_comfyui.demo import captions, checker, world
    from zimage_comfyui.engine import checkpoints, conditioning, decoding, dual, presets, sampling

    model = checkpoints.load_model(models / f"diffusion_models/zimage-small-{variant}.safetensors")
    clip = checkpoints.load_text_encoder(models / "text_encoders/zimage-small-qwen3.safetensors")
    if dual_encoder:
        clip = dual.load(*(models / name for name in DUAL), model)
    vae = checkpoints.load_vae(models / "vae/zimage-small-ae.safetensors")
    rng = random.Random(5)
    held_out = [scene for scene in world.all_scenes() if world.is_held_out(scene)]
    right, wrong = 0, Counter()
    for index, scene in enumerate(rng.sample(held_out, count)):
        prompt = captions.full_caption(scene, ("zh", "en")[index % 2], rng)
        settings = presets.resolve(model_variant=variant, seed=index, steps=steps)
        latent = sampling.sample(
            model,
            conditioning.encode(clip, prompt),
            conditioning.encode(clip, ""),
            {"samples": torch.zeros(1, 16, 16, 16)},
            settings,
        )
        pixels = decoding.decode_bytes(vae, latent["samples"])[0]
        matches = checker.read(Image.fromarray(pixels.numpy())).matches(scene)
        right += all(matches.values())
        wrong.update(field for field, same in matches.items() if not same)
    assert right >= count * share, wrong


def test_unseen_edits_come_out_as_said(comfy_modules: Path, models: Path):
    """Held-out pictures and instructions in both languages; what is not meant stays as it was.

    The benchmark ``edit`` measures the share itself, over 200 edits in each language.
    """
    import numpy as np
    import torch
    from PIL import Image

    from zimage_comfyui.demo import checker, edits
    from zimage_comfyui.engine import (
        checkpoints,
        decoding,
        editing,
        presets,
        reference_images,
        sampling,
    )

    model = checkpoints.load_model(models / next(iter(EDIT)))
    clip = checkpoints.load_text_encoder(models / "text_encoders/zimage-small-qwen3.safetensors")
    vae = checkpoints.load_vae(models / "vae/zimage-small-ae.safetensors")
    rng = random.Random(5)
    right, kept = [], []
    for index, edit in enumerate(edits.unseen(15, seed=11)):
        before, _ = edit.pictures((128, 128), index)
        pixels = torch.from_numpy(np.asarray(before, dtype=np.float32) / 255)[None]
        latents = reference_images.encode(vae, [reference_images.prepare(pixels)])
        instruction = edit.instruction(("zh", "en")[index % 2], rng)
        positive, negative = (
            editing.encode_instruction(clip, text, latents) for text in (instruction, "")
        )
        settings = presets.resolve(model_variant="edit", seed=index, steps=14)
        start = {"samples": torch.zeros_like(latents[0])}
        latent = sampling.sample(model, positive, negative, start, settings)
        after = Image.fromarray(decoding.decode_bytes(vae, latent["samples"])[0].numpy())
        right.append(all(checker.read(after).matches(edit.after).values()))
        kept.append(edits.psnr(after, before, edits.kept(edit, (128, 128), index)))
    assert sum(right) >= 13
    assert np.median(kept) >= 26


def test_the_prompt_s_tokens_are_told(comfy_modules: Path, models: Path) -> None:
    """In ``info``: how many of the official 512, and what it means to have more."""
    from zimage_comfyui.engine import checkpoints, conditioning

    clip = checkpoints.load_text_encoder(models / "text_encoders/zimage-small-qwen3.safetensors")
    assert conditioning.describe(clip, "[EN] a red ball") == "\n".join(["Qwen3 11/512"] * 2)
    long = conditioning.describe(clip, "红" * 600, "b")
    assert "Qwen3 608/512 · 超过官方上限，可能读不准" in long
    assert "Qwen3 608/512 · above the official limit, may be misread" in long
    assert "反向提示词：Qwen3 9/512\nNegative: Qwen3 9/512" in long
