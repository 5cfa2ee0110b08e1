"""Edit: share of unseen edits that are right, and PSNR of the area that must not change.

A picture is right when the checker (geometry and colour, nothing learned) recognises every field of
the target scene. *Kept* is the area in which a perfect edit changes no pixel, two pixels away from
any change; its PSNR shows how much a picture changes there. Pictures are made as in the Edit
templates, with Z-Image Keep; the figures of the model alone are given as well. The perfect edit
after encoding and decoding is the upper bound of a model. Each language has its own edits.

The defaults ``--cfg`` 2 and ``--steps`` 28 suit the bundled small model, as in the Edit templates.
The preset's 5 and 50 (-1) are for official Edit models.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _common
import adherence

LANGUAGES = ("zh", "en")
SIZE = (128, 128)
WANTED_DB = 30.0


def main(argv: list[str]) -> int:
    """Run all edits; return exit code 0 if every picture could be made."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, default=200, help="edits per language")
    parser.add_argument("--cfg", type=float, default=2.0, help="-1 for the preset")
    parser.add_argument("--steps", type=int, default=28, help="-1 for the preset")
    parser.add_argument("--seed", type=int, default=3, help="seed of edits and noise")
    parser.add_argument("--sheet", type=Path, help="folder for sheets of pictures")
    options = parser.parse_args(argv)
    adherence.open_host()
    figures = {}
    for language in LANGUAGES:
        _common.say(f"{language} …")
        figures[language] = measure(options, language)
    return _common.finish("edit", options, {"cfg": options.cfg, "edits": figures}, _table(figures))


def measure(options: Any, language: str) -> dict[str, Any]:
    """Return right edits by field, wrong fields, and PSNR of the unchanged area."""
    from zimage_comfyui.demo import checker, edits
    from zimage_comfyui.engine import checkpoints

    model, vae = adherence.load("edit")
    files = adherence.models() / "text_encoders/zimage-small-qwen3.safetensors"
    clip = checkpoints.load_text_encoder(files)
    rng = random.Random(f"{options.seed} {language}")
    tally: dict[str, Counter[str]] = {field: Counter() for field in edits.VALUES}
    wrong: Counter[str] = Counter()
    alone = 0
    kept_areas: dict[str, list[Area]] = {field: [] for field in edits.VALUES}
    shown = []
    for index, edit in enumerate(unseen(options.count, language, options.seed)):
        seed = options.seed * 100_000 + index
        before, target = edit.pictures(SIZE, seed)
        instruction = edit.instruction(language, rng)
        painted = change(options, model, vae, clip, before, instruction, seed)
        after = with_original(painted, before)
        fields = checker.read(after).matches(edit.after)
        tally[edit.field].update(all=1, right=int(all(fields.values())))
        wrong.update(name for name, matches in fields.items() if not matches)
        alone += all(checker.read(painted).matches(edit.after).values())
        area = edits.kept(edit, SIZE, seed)
        if area.mean() > 0.05:  # with a new background, little more than the subject is unchanged
            through = picture(vae, latent(vae, target))
            psnr = (edits.psnr(image, before, area) for image in (after, painted, through))
            kept_areas[edit.field].append(Area(int(area.sum()), *psnr))
        shown += [before, after]
    if options.sheet:
        options.sheet.mkdir(parents=True, exist_ok=True)
        adherence.sheet(shown[:96]).save(options.sheet / f"edit-{language}.png")
    return {
        "right": sum(count["right"] for count in tally.values()),
        "right_model_alone": alone,
        "of": options.count,
        "fields": {field: [count["right"], count["all"]] for field, count in tally.items()},
        "wrong": dict(wrong),
        "kept": by_field(kept_areas),
    }


def by_field(kept_areas: dict[str, list[Area]]) -> dict[str, Any]:
    """Return the summary of all areas, then that of each kind of edit."""
    return {
        "all": summary([area for areas in kept_areas.values() for area in areas]),
        **{field: summary(areas) for field, areas in kept_areas.items()},
    }


class Area(NamedTuple):
    """The area of a picture that must not change: its size in pixels and its PSNRs in dB."""

    pixels: int
    restored: float
    model: float
    autoencoder: float


def summary(areas: list[Area]) -> dict[str, float]:
    """Return medians, minimum, number above the goal, and the PSNR of all areas together."""
    if not areas:
        return {"of": 0}
    pixels, restored, model, bound = zip(*areas, strict=True)
    return {
        "of": len(areas),
        "enough": enough(restored),
        "together": together(pixels, restored),
        "median": round(statistics.median(restored), 1),
        "lowest": round(min(restored), 1),
        "model": round(statistics.median(model), 1),
        "model_together": together(pixels, model),
        "model_enough": enough(model),
        "autoencoder": round(statistics.median(bound), 1),
        "autoencoder_enough": enough(bound),
    }


def enough(decibels: Sequence[float]) -> int:
    """Return the number of values that reach the goal."""
    return sum(value >= WANTED_DB for value in decibels)


def together(pixels: Sequence[int], decibels: Sequence[float]) -> float:
    """Return the PSNR in dB of all areas as one: the mean squared error of all pixels."""
    errors = (n * 10 ** (-value / 10) for n, value in zip(pixels, decibels, strict=True))
    return round(-10 * math.log10(sum(errors) / sum(pixels)), 1)


def unseen(count: int, language: str, seed: int) -> list[Any]:
    """Return edits between held-out scenes; each language has other edits."""
    from zimage_comfyui.demo import edits

    return list(edits.unseen(count, f"{seed} {language} edits"))


def latent(vae: Any, shown: Any) -> Any:
    """Return the latent [1, 16, H/8, W/8] of a PIL picture."""
    import numpy as np
    import torch

    from zimage_comfyui.engine import reference_images

    pixels = torch.from_numpy(np.asarray(shown, dtype=np.float32) / 255)[None]
    return reference_images.encode(vae, [reference_images.prepare(pixels)])[0]


def picture(vae: Any, latent: Any) -> Any:
    """Return the PIL picture of a latent."""
    from PIL import Image

    from zimage_comfyui.engine import decoding

    return Image.fromarray(decoding.decode_bytes(vae, latent)[0].numpy())


def change(
    options: Any, model: Any, vae: Any, clip: Any, before: Any, instruction: str, seed: int
) -> Any:
    """Return the edited picture as a PIL picture."""
    import torch

    from zimage_comfyui.engine import editing, presets, sampling

    latents = [latent(vae, before)]
    positive, negative = (
        editing.encode_instruction(clip, text, latents) for text in (instruction, "")
    )
    settings = presets.resolve(
        model_variant="edit", steps=options.steps, cfg=options.cfg, seed=seed
    )
    start = {"samples": torch.zeros_like(latents[0])}
    return picture(vae, sampling.sample(model, positive, negative, start, settings)["samples"])


def with_original(after: Any, before: Any) -> Any:
    """Return the result of Z-Image Keep for an edit and its original, all as PIL pictures."""
    import numpy as np
    import torch
    from PIL import Image

    from zimage_comfyui.engine import edit_restore

    pair = (
        torch.from_numpy(np.asarray(image, np.float32) / 255)[None] for image in (after, before)
    )
    pixels = edit_restore.put_back(*pair)[0][0].numpy() * 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def _table(figures: dict[str, Any]) -> str:
    fields = list(next(iter(figures.values()))["fields"])
    lines = [f"{'language':9} {'right':>9} {'share':>7}  " + "  ".join(f"{f:>10}" for f in fields)]
    for language, result in figures.items():
        each = "  ".join(f"{right:>6}/{of:<3}" for right, of in result["fields"].values())
        share = result["right"] / result["of"]
        lines.append(f"{language:9} {result['right']:>5}/{result['of']:<3} {share:>7.1%}  {each}")
    head = ("kept area", ">= 30 dB", "together", "median", "lowest", "model alone", "autoencoder")
    widths = (20, 10, 9, 8, 8, 22, 22)
    lines += ["", "".join(f"{name:>{width}}" for name, width in zip(head, widths, strict=True))]
    for language, result in figures.items():
        for field, area in result["kept"].items():
            if area["of"]:
                of = area["of"]
                lines.append(
                    f"{language:9} {field:10} {area['enough']:>4}/{of:<4}"
                    f"{area['together']:>6} dB{area['median']:>6} dB{area['lowest']:>5} dB"
                    f"{area['model']:>8} dB, {area['model_enough']:>3}/{of:<4}"
                    f"{area['autoencoder']:>8} dB, {area['autoencoder_enough']:>3}/{of:<4}"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
