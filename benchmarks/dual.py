"""Dual encoder: share of pictures that match unseen prompts encoded by CLIP and BERT.

Turbo and Base are measured in Chinese, in English and in both mixed. Three controls validate the
figures: *zero* gives no text features, *identity* gives the encoders' states without the adapter,
and *shuffled* gives the features of the next prompt. Their results should be near chance.
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
    """Make and check pictures; return exit code 0 if every picture could be made."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, default=200, help="prompts per variant and language")
    parser.add_argument("--controls", type=int, default=60, help="prompts per control")
    parser.add_argument("--variant", choices=("turbo", "base"), help="only this variant")
    parser.add_argument("--cfg", type=float, default=-1.0, help="instead of the preset")
    parser.add_argument("--seed", type=int, default=2, help="seed of prompts and noise")
    parser.add_argument("--sheet", type=Path, help="folder for sheets of the first 48 pictures")
    options = parser.parse_args(argv)
    adherence.open_host()
    figures: dict[str, Any] = {"adherence": {}, "controls": {}}
    for variant in (options.variant,) if options.variant else ("turbo", "base"):
        for language in LANGUAGES:
            _common.say(f"{variant} {language} …")
            result = measure(options, variant, language, "adapter", options.count)
            figures["adherence"][f"{variant}/{language}"] = result
    for control in CONTROLS:
        _common.say(f"{control} …")
        result = measure(options, options.variant or "turbo", "mixed", control, options.controls)
        figures["controls"][control] = result
    lines = adherence.rows("variant/language", figures["adherence"])
    lines += ["", *adherence.rows("control", figures["controls"])]
    return _common.finish("dual", options, figures, "\n".join(lines))


def measure(options: Any, variant: str, language: str, way: str, count: int) -> dict[str, Any]:
    """Return right pictures of a variant and language; ``way`` is ``adapter`` or a control."""
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
    images = adherence.pictures(options, model, vae, positives, conditioning.encode(clip, ""))
    return adherence.judge(options, scenes, images, f"dual-{variant}-{language}-{way}")


def without_adapter(clip: Any) -> None:
    """Replace the adapter by the encoders' states, truncated or padded to the caption width."""
    import torch

    class Identity(torch.nn.Module):
        def __init__(self, trained: Any) -> None:
            super().__init__()
            self.queries = trained.queries
            self.width = trained.config.caption_width

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
