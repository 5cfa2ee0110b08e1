"""Edit: of unseen changes to unseen pictures, how many come out as said, and what else changed.

A picture is right when the checker (geometry and colour, nothing learned) reads back every field
of the wanted scene. *Kept* is the area where a perfect edit changes no pixel, two pixels away from
any change; its PSNR against the reference says what the model did to what it was not asked about.
The perfect edit through the autoencoder alone gives the upper bound of that figure. Each language
has edits of its own.

``--cfg`` is 2 and ``--steps`` 28 unless they are given: that suits the bundled small model, and the
Edit templates use it and say so. The preset's 5 and 50 (-1) are for official Edit models.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

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
    kept: dict[str, list[tuple[float, float]]] = {field: [] for field in edits.VALUES}
    shown = []
    for index, edit in enumerate(unseen(options.count, language, options.seed)):
        seed = options.seed * 100_000 + index
        before, wanted = edit.pictures(SIZE, seed)
        instruction = edit.instruction(language, rng)
        after = change(options, model, vae, clip, before, instruction, seed)
        fields = checker.read(after).matches(edit.after)
        tally[edit.field].update(all=1, right=int(all(fields.values())))
        wrong.update(name for name, matches in fields.items() if not matches)
        area = edits.kept(edit, SIZE, seed)
        if area.mean() > 0.05:  # a new background leaves little but the subject
            bound = edits.psnr(picture(vae, latent(vae, wanted)), before, area)
            kept[edit.field].append((edits.psnr(after, before, area), bound))
        shown += [before, after]
    if options.sheet:
        options.sheet.mkdir(parents=True, exist_ok=True)
        adherence.sheet(shown[:96]).save(options.sheet / f"edit-{language}.png")
    return {
        "right": sum(count["right"] for count in tally.values()),
        "of": options.count,
        "fields": {field: [count["right"], count["all"]] for field, count in tally.items()},
        "wrong": dict(wrong),
        "kept": {
            "all": summary([pair for pairs in kept.values() for pair in pairs]),
            **{field: summary(pairs) for field, pairs in kept.items()},
        },
    }


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Of PSNRs in dB, each with what the autoencoder alone would reach."""
    if not pairs:
        return {"of": 0}
    found, bound = zip(*pairs, strict=True)
    return {
        "of": len(pairs),
        "enough": sum(one >= WANTED_DB for one in found),
        "median": round(statistics.median(found), 1),
        "lowest": round(min(found), 1),
        "autoencoder": round(statistics.median(bound), 1),
        "autoencoder_enough": sum(one >= WANTED_DB for one in bound),
    }


def unseen(count: int, language: str, seed: int) -> list[Any]:
    """Edits of scenes that never occur in training; other ones for each language."""
    from zimage_comfyui.demo import edits

    return list(edits.unseen(count, f"{seed} {language} edits"))


def latent(vae: Any, shown: Any) -> Any:
    """The latent [1, 16, H/8, W/8] of a PIL picture."""
    import numpy as np
    import torch

    from zimage_comfyui.engine import references

    pixels = torch.from_numpy(np.asarray(shown, dtype=np.float32) / 255)[None]
    return references.encode(vae, [references.prepare(pixels)])[0]


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


def _table(figures: dict[str, Any]) -> str:
    fields = list(next(iter(figures.values()))["fields"])
    lines = [f"{'language':9} {'right':>9} {'share':>7}  " + "  ".join(f"{f:>10}" for f in fields)]
    for language, one in figures.items():
        each = "  ".join(f"{right:>6}/{of:<3}" for right, of in one["fields"].values())
        share = one["right"] / one["of"]
        lines.append(f"{language:9} {one['right']:>5}/{one['of']:<3} {share:>7.1%}  {each}")
    lines += [
        "",
        f"{'kept area':20} {'>= 30 dB':>9} {'median':>8} {'lowest':>8} {'autoencoder':>20}",
    ]
    for language, one in figures.items():
        for field, kept in one["kept"].items():
            if kept["of"]:
                lines.append(
                    f"{language:9} {field:10} {kept['enough']:>5}/{kept['of']:<3} "
                    f"{kept['median']:>5} dB {kept['lowest']:>5} dB {kept['autoencoder']:>9} dB "
                    f"{kept['autoencoder_enough']:>3}/{kept['of']:<3}"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
