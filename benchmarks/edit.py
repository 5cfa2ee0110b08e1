"""Edit: of unseen changes to unseen pictures, how many come out as said, and what else changed.

A picture is right when the checker (geometry and colour, nothing learned) reads back every field
of the wanted scene. *Kept* is the area where a perfect edit changes no pixel, two pixels away from
any change; its PSNR against the reference says what the model did to what it was not asked about.
Pictures are judged as the Edit templates make them, after Z-Image Keep; the model without it
stands beside. The perfect edit through the autoencoder alone bounds what a model can reach. Each
language has edits of its own.

``--cfg`` is 2 and ``--steps`` 28 unless they are given: that suits the bundled small model, and the
Edit templates use it and say so. The preset's 5 and 50 (-1) are for official Edit models.
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
    """Edit and check; exit code 0 when every picture could be made."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, default=200, help="edits per language")
    parser.add_argument("--cfg", type=float, default=2.0, help="-1 for the preset's")
    parser.add_argument("--steps", type=int, default=28, help="-1 for the preset's")
    parser.add_argument("--seed", type=int, default=3, help="which edits and noise")
    parser.add_argument("--sheet", type=Path, help="write pairs of before and after here")
    options = parser.parse_args(argv)
    adherence.open_host()
    figures = {}
    for language in LANGUAGES:
        _common.say(f"{language} …")
        figures[language] = measure(options, language)
    return _common.finish("edit", options, {"cfg": options.cfg, "edits": figures}, _table(figures))


def measure(options: Any, language: str) -> dict[str, Any]:
    """Right edits in all and by what they change, wrong fields, and PSNR on what is kept."""
    from zimage_comfyui.demo import checker, edits
    from zimage_comfyui.engine import checkpoints

    model, vae = adherence.load("edit")
    files = adherence.models() / "text_encoders/zimage-small-qwen3.safetensors"
    clip = checkpoints.load_text_encoder(files)
    rng = random.Random(f"{options.seed} {language}")
    tally: dict[str, Counter[str]] = {field: Counter() for field in edits.VALUES}
    wrong: Counter[str] = Counter()
    alone = 0
    kept: dict[str, list[Area]] = {field: [] for field in edits.VALUES}
    shown = []
    for index, edit in enumerate(unseen(options.count, language, options.seed)):
        seed = options.seed * 100_000 + index
        before, wanted = edit.pictures(SIZE, seed)
        instruction = edit.instruction(language, rng)
        painted = change(options, model, vae, clip, before, instruction, seed)
        after = with_original(painted, before)
        fields = checker.read(after).matches(edit.after)
        tally[edit.field].update(all=1, right=int(all(fields.values())))
        wrong.update(name for name, matches in fields.items() if not matches)
        alone += all(checker.read(painted).matches(edit.after).values())
        area = edits.kept(edit, SIZE, seed)
        if area.mean() > 0.05:  # a new background leaves little but the subject
            through = picture(vae, latent(vae, wanted))
            psnr = (edits.psnr(one, before, area) for one in (after, painted, through))
            kept[edit.field].append(Area(int(area.sum()), *psnr))
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
        "kept": {
            "all": summary([area for areas in kept.values() for area in areas]),
            **{field: summary(areas) for field, areas in kept.items()},
        },
    }


class Area(NamedTuple):
    """What was not to change in one picture: its size in pixels and its PSNRs in dB."""

    pixels: int
    found: float
    model: float
    autoencoder: float


def summary(areas: list[Area]) -> dict[str, float]:
    """Medians, lowest, how many are enough, and *together*: all their pixels as one area."""
    if not areas:
        return {"of": 0}
    pixels, found, model, bound = zip(*areas, strict=True)
    return {
        "of": len(areas),
        "enough": enough(found),
        "together": together(pixels, found),
        "median": round(statistics.median(found), 1),
        "lowest": round(min(found), 1),
        "model": round(statistics.median(model), 1),
        "model_together": together(pixels, model),
        "model_enough": enough(model),
        "autoencoder": round(statistics.median(bound), 1),
        "autoencoder_enough": enough(bound),
    }


def enough(decibels: Sequence[float]) -> int:
    """How many reach what is wanted."""
    return sum(one >= WANTED_DB for one in decibels)


def together(pixels: Sequence[int], decibels: Sequence[float]) -> float:
    """PSNR in dB of all areas as one: the mean of their squared errors, by pixels."""
    errors = (n * 10 ** (-one / 10) for n, one in zip(pixels, decibels, strict=True))
    return round(-10 * math.log10(sum(errors) / sum(pixels)), 1)


def unseen(count: int, language: str, seed: int) -> list[Any]:
    """Edits of scenes that never occur in training; other ones for each language."""
    from zimage_comfyui.demo import edits

    return list(edits.unseen(count, f"{seed} {language} edits"))


def latent(vae: Any, shown: Any) -> Any:
    """The latent [1, 16, H/8, W/8] of a PIL picture."""
    import numpy as np
    import torch

    from zimage_comfyui.engine import reference_images

    pixels = torch.from_numpy(np.asarray(shown, dtype=np.float32) / 255)[None]
    return reference_images.encode(vae, [reference_images.prepare(pixels)])[0]


def picture(vae: Any, latent: Any) -> Any:
    """The PIL picture of a latent."""
    from PIL import Image

    from zimage_comfyui.engine import decoding

    return Image.fromarray(decoding.decode_bytes(vae, latent)[0].numpy())


def change(
    options: Any, model: Any, vae: Any, clip: Any, before: Any, instruction: str, seed: int
) -> Any:
    """The edited picture, as a PIL picture."""
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
    """The picture as Z-Image Keep makes it of an edit and its original; PIL pictures all."""
    import numpy as np
    import torch
    from PIL import Image

    from zimage_comfyui.engine import edit_restore

    pair = (torch.from_numpy(np.asarray(one, np.float32) / 255)[None] for one in (after, before))
    pixels = edit_restore.put_back(*pair)[0][0].numpy() * 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def _table(figures: dict[str, Any]) -> str:
    fields = list(next(iter(figures.values()))["fields"])
    lines = [f"{'language':9} {'right':>9} {'share':>7}  " + "  ".join(f"{f:>10}" for f in fields)]
    for language, one in figures.items():
        each = "  ".join(f"{right:>6}/{of:<3}" for right, of in one["fields"].values())
        share = one["right"] / one["of"]
        lines.append(f"{language:9} {one['right']:>5}/{one['of']:<3} {share:>7.1%}  {each}")
    head = ("kept area", ">= 30 dB", "together", "median", "lowest", "model alone", "autoencoder")
    widths = (20, 10, 9, 8, 8, 22, 22)
    lines += ["", "".join(f"{name:>{width}}" for name, width in zip(head, widths, strict=True))]
    for language, one in figures.items():
        for field, kept in one["kept"].items():
            if kept["of"]:
                of = kept["of"]
                lines.append(
                    f"{language:9} {field:10} {kept['enough']:>4}/{of:<4}"
                    f"{kept['together']:>6} dB{kept['median']:>6} dB{kept['lowest']:>5} dB"
                    f"{kept['model']:>8} dB, {kept['model_enough']:>3}/{of:<4}"
                    f"{kept['autoencoder']:>8} dB, {kept['autoencoder_enough']:>3}/{of:<4}"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
