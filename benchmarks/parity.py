"""Parity: largest difference between the pack's engine and diffusers with the same random weights.

Float32 on the CPU with random inputs. The comparisons are those of the tests
(tests/fakes/parity.py), which also check that a wrong input is detected.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import _common
import adherence
import torch

GOAL = 1e-4
OMNI_WIDTH = 48


def main(argv: list[str]) -> int:
    """Compare all results; return exit code 0 if every comparison could be made."""
    options = _common.parser(__doc__ or "", repeats=1).parse_args(argv)
    adherence.open_host()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        for variant in ("turbo", "base"):
            rows |= pipeline(Path(folder) / variant, variant)
        rows |= layouts(Path(folder) / "layouts")
        rows |= omni(Path(folder) / "omni")
    figures = {"goal": GOAL, "rows": rows}
    return _common.finish("parity", options, figures, _table(rows))


def difference(ours: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
    """Return the largest difference, absolute and relative to the largest value."""
    from zimage_comfyui.tests.fakes.parity import worst

    largest = worst(ours, true)
    greatest = true.abs().max().item()
    return {"absolute": largest, "relative": largest / greatest, "greatest_value": greatest}


def pipeline(folder: Path, variant: str) -> dict[str, Any]:
    """Compare text features, an evaluation and a picture (8 steps) of an official folder."""
    from diffusers import ZImagePipeline

    from zimage_comfyui.engine import conditioning
    from zimage_comfyui.tests.fakes import official, parity
    from zimage_comfyui.tests.fakes.references import inputs

    words = Path(_common.the_host().path) / "comfy/text_encoders/qwen25_tokenizer"
    official.write(folder, variant, words, official.Sizes())
    ours, truth = parity.loaded(folder), ZImagePipeline.from_pretrained(str(folder))
    _common.say(f"{variant} …")
    text, _ = truth.encode_prompt([parity.PROMPT], do_classifier_free_guidance=False)
    features = conditioning.encode(ours.clip, parity.PROMPT)[0][0][0]
    pictures = [parity.true_pictures(truth, variant, 160, 96, [parity.PROMPT])]
    pictures.insert(0, parity.our_pictures(ours, variant, 160, 96))
    rows = {f"{variant}: text features": difference(features, text[0])}
    for batch in (1, 2):
        both = parity.plain(ours.model, truth.transformer, inputs(0, batch))
        rows[f"{variant}: denoiser, batch {batch}"] = difference(*both)
    return rows | {f"{variant}: picture after 8 steps": difference(*pictures)}


def layouts(folder: Path) -> dict[str, Any]:
    """Compare the denoiser from diffusers' folder and from ComfyUI's file of the same weights."""
    from safetensors.torch import save_file

    from zimage_comfyui.engine import checkpoints
    from zimage_comfyui.engine.layouts import to_comfy
    from zimage_comfyui.tests.fakes import official, parity
    from zimage_comfyui.tests.fakes.references import inputs

    torch.manual_seed(2)
    truth = official.transformer(official.Sizes())
    truth.save_pretrained(str(folder / "transformer"))
    state = {name: tensor.contiguous() for name, tensor in to_comfy(truth.state_dict()).items()}
    save_file(state, folder / "single.safetensors")
    rows = {}
    for name, place in (("official folder", "transformer"), ("single file", "single.safetensors")):
        model = checkpoints.load_model(folder / place, dtype="fp32")
        rows[f"layout: {name}"] = difference(*parity.plain(model, truth, inputs(0, 2)))
    return rows


def omni(folder: Path) -> dict[str, Any]:
    """Compare reference pictures, with and without SigLIP2; diffusers unmodified and corrected."""
    from zimage_comfyui.engine import checkpoints
    from zimage_comfyui.tests.fakes import official, parity
    from zimage_comfyui.tests.fakes.references import WHOLE, inputs

    torch.manual_seed(0)
    truth = official.transformer(official.Sizes(siglip_width=OMNI_WIDTH))
    truth.save_pretrained(str(folder))
    model = checkpoints.load_model(folder, dtype="fp32")
    rows = {}
    for kind in ("as it is", "mended"):
        if kind == "mended":
            parity.mend(setattr)
        for count in (1, 2, 3):
            for siglip in (False, True):
                arguments = (
                    inputs(count, 2, siglip)
                    if kind == "mended"
                    else inputs(count, 1, siglip, WHOLE)
                )
                if kind == "as it is":
                    draw = torch.Generator().manual_seed(4)
                    arguments["text"] = torch.randn(1, 64, 128, generator=draw)
                    arguments["mask"] = torch.ones(1, 64, dtype=torch.bool)
                name = (
                    f"Omni, references: {count}{' + SigLIP2' if siglip else ''}; diffusers {kind}"
                )
                both = parity.found(model, arguments), parity.expected(truth, arguments)
                rows[name] = difference(*both)
    return rows


def _table(rows: dict[str, Any]) -> str:
    lines = [f"{'':52} {'absolute':>9} {'relative':>9}  goal {GOAL:.0e}"]
    for name, row in rows.items():
        met = "met" if row["absolute"] <= GOAL else "NOT MET"
        lines.append(f"{name:52} {row['absolute']:9.1e} {row['relative']:9.1e}  {met}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
