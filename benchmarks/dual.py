"""Dual encoder: of unseen prompts read by CLIP and BERT, how many pictures show what they say.

In Chinese, English and both mixed, for Turbo and Base. Three controls say what the figures are
worth: *zero* gives the model nothing, *identity* hands it the encoders' states without the
adapter, *shuffled* gives it what belongs to the next prompt. They should be near chance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import _common
import adherence

LANGUAGES = ("zh", "en", "mixed")
CONTROLS = ("zero", "identity", "shuffled")


def main(argv: list[str]) -> int:
    """Draw and check; exit code 0 when every picture could be made."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, default=200, help="prompts per variant and language")
    parser.add_argument("--controls", type=int, default=60, help="prompts per control")
    parser.add_argument("--variant", choices=("turbo", "base"), help="only this one")
    parser.add_argument("--cfg", type=float, default=-1.0, help="instead of the preset's")
    parser.add_argument("--seed", type=int, default=2, help="which prompts and noise")
    parser.add_argument("--sheet", type=Path, help="write the first 48 pictures of each here")
    options = parser.parse_args(argv)
    adherence.open_host()
    figures: dict[str, Any] = {"adherence": {}, "controls": {}}
    for variant in (options.variant,) if options.variant else ("turbo", "base"):
        for language in LANGUAGES:
            _common.say(f"{variant} {language} …")
            found = measure(options, variant, language, "adapter", options.count)
            figures["adherence"][f"{variant}/{language}"] = found
    for control in CONTROLS:
        _common.say(f"{control} …")
        found = measure(options, options.variant or "turbo", "mixed", control, options.controls)
        figures["controls"][control] = found
    lines = adherence.rows("variant/language", figures["adherence"])
    lines += ["", *adherence.rows("control", figures["controls"])]
    return _common.finish("dual", options, figures, "\n".join(lines))


def measure(options: Any, variant: str, language: str, way: str, count: int) -> dict[str, Any]:
    """Right pictures of one variant and language; ``way`` is ``adapter`` or a control."""
    from zimage_comfyui.engine import conditioning, dual

    models = adherence.models()
    scenes, prompts = adherence.unseen(count, language, options.seed)
    model, vae = adherence.load(variant)
    files = [models / f"text_encoders/zimage-small-{name}.safetensors" for name in ("clip", "bert")]
    clip = dual.load(*files, models / "zimage_adapters/zimage-small-adapter.safetensors", model)
    if way == "shuffled":
        prompts = [*prompts[1:], prompts[0]]
    if way == "identity":
        without_adapter(clip)
    positives = (conditioning.encode(clip, prompt) for prompt in prompts)
    if way == "zero":
        positives = ([[pair[0] * 0, pair[1]] for pair in positive] for positive in positives)
    made = adherence.pictures(options, model, vae, positives, conditioning.encode(clip, ""))
    return adherence.judge(options, scenes, made, f"dual-{variant}-{language}-{way}")


def without_adapter(clip: Any) -> None:
    """Both encoders' states as they are, cut or filled to the width of captions."""
    import torch

    class Identity(torch.nn.Module):
        def __init__(self, trained: Any) -> None:
            super().__init__()
            self.queries, self.width = trained.queries, trained.config.caption_width

        def forward(self, clip: Any, bert: Any) -> torch.Tensor:
            states = [part.states[part.mask][None] for part in (clip, bert)]
            parts = [
                torch.nn.functional.pad(x, (0, max(0, self.width - x.shape[-1])))[..., : self.width]
                for x in states
            ]
            return torch.cat(parts, dim=1)

    model = clip.cond_stage_model
    model.adapter = Identity(model.adapter)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
