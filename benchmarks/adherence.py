"""Adherence: share of the small models' pictures that match their prompts.

The prompts do not occur in training. Turbo and Base are measured in Chinese and in English, with
their presets and the engine of the nodes. A picture is right when the checker (geometry and colour,
nothing learned) recognises subject, colour, background, place and style.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import _common

LANGUAGES = ("zh", "en")


def main(argv: list[str]) -> int:
    """Make and check pictures; return exit code 0 if every picture could be made."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, default=200, help="prompts per variant and language")
    parser.add_argument("--variant", choices=("turbo", "base"), help="only this variant")
    parser.add_argument("--cfg", type=float, default=-1.0, help="instead of the preset")
    parser.add_argument("--seed", type=int, default=1, help="seed of prompts and noise")
    parser.add_argument("--sheet", type=Path, help="folder for sheets of the first 48 pictures")
    options = parser.parse_args(argv)
    open_host()
    variants = (options.variant,) if options.variant else ("turbo", "base")
    figures: dict[str, Any] = {"prompts": options.count, "checker": check_truth(options.count)}
    figures["adherence"] = {}
    for variant in variants:
        for language in LANGUAGES:
            _common.say(f"{variant} {language} …")
            figures["adherence"][f"{variant}/{language}"] = measure(options, variant, language)
    return _common.finish("adherence", options, figures, _table(figures))


def open_host() -> None:
    """Make pack and host importable, without progress bars."""
    _common.load_pack()
    sys.path.insert(0, str(_common.the_host().path))
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    comfy.cli_args.args.use_pytorch_cross_attention = True
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def check_truth(count: int) -> dict[str, Any]:
    """Return how many rendered scenes the checker recognises."""
    from zimage_comfyui.demo import checker, world

    rng = random.Random()
    right = 0
    for _ in range(count):
        scene = rng.choice(world.all_scenes())
        picture = world.render(scene, rng.choice(world.SIZES), rng.randrange(2**32))
        right += all(checker.read(picture).matches(scene).values())
    return {"right": right, "of": count}


def measure(options: Any, variant: str, language: str) -> dict[str, Any]:
    """Return right pictures and wrong fields of the held-out prompts of a language."""
    from zimage_comfyui.engine import checkpoints, conditioning

    scenes, prompts = unseen(options.count, language, options.seed)
    model, vae = load(variant)
    clip = checkpoints.load_text_encoder(models() / "text_encoders/zimage-small-qwen3.safetensors")
    negative = conditioning.encode(clip, "")
    positives = (conditioning.encode(clip, prompt) for prompt in prompts)
    images = pictures(options, model, vae, positives, negative)
    return judge(options, scenes, images, f"{variant}-{language}")


def models() -> Path:
    """Return the folder of the bundled models."""
    return _common.pack_dir() / "demo" / "models"


def unseen(count: int, language: str, seed: int) -> tuple[list[Any], list[str]]:
    """Return held-out scenes and a prompt for each, in zh, en or mixed."""
    from zimage_comfyui.demo import captions, world

    rng = random.Random(f"{seed} {language}")
    held_out = [scene for scene in world.all_scenes() if world.is_held_out(scene)]
    scenes = [rng.choice(held_out) for _ in range(count)]
    if language == "mixed":
        return scenes, [captions.mixed_caption(scene, rng) for scene in scenes]
    return scenes, [captions.full_caption(scene, language, rng) for scene in scenes]


def load(variant: str) -> tuple[Any, Any]:
    """Load a small diffusion model and the VAE."""
    from zimage_comfyui.engine import checkpoints

    name = f"diffusion_models/zimage-small-{variant}.safetensors"
    vae = checkpoints.load_vae(models() / "vae/zimage-small-ae.safetensors")
    return checkpoints.load_model(models() / name), vae


def judge(options: Any, scenes: list[Any], images: Any, name: str) -> dict[str, Any]:
    """Return right pictures and wrong fields; with ``--sheet``, write the first pictures."""
    from zimage_comfyui.demo import checker

    wrong: Counter[str] = Counter()
    right, shown = 0, []
    for scene, picture in zip(scenes, images, strict=True):
        fields = checker.read(picture).matches(scene)
        right += all(fields.values())
        wrong.update(name for name, matches in fields.items() if not matches)
        shown.append(picture)
    if options.sheet:
        options.sheet.mkdir(parents=True, exist_ok=True)
        sheet(shown[:48]).save(options.sheet / f"{name}.png")
    return {"right": right, "of": len(scenes), "wrong": dict(wrong)}


def pictures(options: Any, model: Any, vae: Any, positives: Any, negative: Any) -> Any:
    """Yield PIL pictures of 128 x 128 with ascending seeds."""
    import torch
    from PIL import Image

    from zimage_comfyui.engine import checkpoints, decoding, presets, sampling

    for index, positive in enumerate(positives):
        settings = presets.resolve(
            model_variant=checkpoints.variant_of(model),
            seed=options.seed * 100_000 + index,
            cfg=options.cfg,
        )
        latent = {"samples": torch.zeros(1, 16, 16, 16)}
        latent = sampling.sample(model, positive, negative, latent, settings)
        pixels = decoding.decode_bytes(vae, latent["samples"])[0]
        yield Image.fromarray(pixels.numpy())


def sheet(pictures: list[Any]) -> Any:
    """Return pictures of 128 x 128 in rows of eight as a PIL picture."""
    from PIL import Image

    sheet = Image.new("RGB", (8 * 132 + 4, -(-len(pictures) // 8) * 132 + 4), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (4 + index % 8 * 132, 4 + index // 8 * 132))
    return sheet


def _table(figures: dict[str, Any]) -> str:
    truth = figures["checker"]
    lines = [f"checker on rendered truth: {truth['right']}/{truth['of']}", ""]
    return "\n".join([*lines, *rows("variant/language", figures["adherence"])])


def rows(title: str, results: dict[str, Any]) -> list[str]:
    """Return the lines of a table: right pictures and wrong fields."""
    lines = [f"{title:20} {'right':>9} {'share':>7}  wrong fields"]
    for name, row in results.items():
        share = row["right"] / row["of"]
        wrong = ", ".join(f"{k} {v}" for k, v in sorted(row["wrong"].items())) or "-"
        lines.append(f"{name:20} {row['right']:>5}/{row['of']:<3} {share:>7.1%}  {wrong}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
