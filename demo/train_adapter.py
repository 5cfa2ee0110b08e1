"""Train the adapter that lets CLIP and a Chinese BERT speak to Z-Image in Qwen3's place.

    python demo/train_adapter.py --comfyui ~/ComfyUI --work /tmp/adapter
    python demo/train_adapter.py --comfyui ~/ComfyUI --work /tmp/big --prompts prompts.txt \\
        --model z_image_turbo_bf16.safetensors --qwen qwen_3_4b.safetensors \\
        --clip clip_l.safetensors --bert bert-base-chinese/model.safetensors --out models

``--clip`` and ``--bert`` go together; BERT's ``vocab.txt`` stands beside its file. Without both,
small encoders learn too, and the files that come with the pack are written anew.

1. Features: the adapter's queries learn the teacher's features, token by token (mean square and
   cosine, both relative).
2. Denoiser: through the frozen diffusion model, on its own way from noise to picture, what the
   student says has to lead to the same velocity as what the teacher says.
3. Hard: as the second, with the prompts whose velocity is furthest off. After the second stage
   the average says little: a few prompts, most of them with both colours in one language and the
   subject in the other, still mean something else.

The bundled files have as many steps as the defaults, in runs that were continued with changes
(until step 500 of the second stage a third of the prompts was in both languages, not half), so a
run from nothing gives other bits.

Every stage saves its state every minute and goes on from there. The report compares the adapter
with three controls on prompts that were never trained on: *zero* says nothing, *identity* hands
the encoders' states on as they are, *shuffled* says what belongs to another prompt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from demo import family, pack
from demo.train import Run, velocity

MODELS = Path(__file__).resolve().parent / "models"
TURBO = MODELS / "diffusion_models/zimage-small-turbo.safetensors"
BASE = MODELS / "diffusion_models/zimage-small-base.safetensors"
QWEN = MODELS / "text_encoders/zimage-small-qwen3.safetensors"


def feature_loss(said: torch.Tensor, meant: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Relative mean square plus one minus cosine, over the teacher's tokens.

    Args:
        said: (B, Q, W); meant: (B, L, W); mask: (B, L) bool. The shorter of Q and L counts.
    """
    count = min(said.shape[1], meant.shape[1])
    said, meant, mask = said[:, :count], meant[:, :count], mask[:, :count]
    square = (said - meant).square().mean(-1) / meant.square().mean(-1).clamp_min(1e-6)
    cosine = torch.nn.functional.cosine_similarity(said, meant, dim=-1)
    return ((square + 1 - cosine) * mask).sum() / mask.sum()


@torch.no_grad()
def on_the_way(model, text, mask, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents where the model comes by from noise to picture, and their noise levels (B,)."""
    x = torch.randn(len(text), *shape, device=text.device)
    middle, end = torch.sort(torch.rand(2, len(text), device=text.device), 0, True).values
    sigma = torch.ones_like(end)
    for goal in (middle, end):
        goal = 3 * goal / (1 + 2 * goal)  # Turbo's shift
        x = x + (goal - sigma)[:, None, None, None] * velocity(model, x, sigma, text, mask)
        sigma = goal
    return x, sigma


def teach_features(args, student, teacher, pairs) -> None:
    """Stage 1."""
    run = Run(args, "features", student.learning(), args.feature_steps, args.rate)
    rng, average = random.Random(run.step), None
    while run.step < run.steps:
        chosen = rng.sample(pairs, min(args.batch, len(pairs)))
        said = student([pair[0] for pair in chosen])
        meant, mask = teacher.read([pair[1] for pair in chosen], args.device)
        loss = feature_loss(said, meant, mask)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.4f}")


def teach_denoiser(args, student, teacher, pairs, models, *, name="denoiser", steps=0) -> None:
    """Stage 2, and stage 3 with its prompts; each starts where the one before it ended."""
    run = Run(args, name, student.learning(), steps or args.denoiser_steps, args.rate / 2)
    rng, average = random.Random(run.step), None
    side, batch = args.latent, max(1, args.batch // 2)
    while run.step < run.steps:
        chosen = rng.sample(pairs, min(batch, len(pairs)))
        text, mask = teacher.read([pair[1] for pair in chosen], args.device)
        model = models[run.step % len(models)]
        x, sigma = on_the_way(model, text, mask, (16, side, side))
        with torch.no_grad():
            wanted = velocity(model, x, sigma, text, mask)
        said = student([pair[0] for pair in chosen])
        whole = torch.ones(said.shape[:2], dtype=torch.bool, device=said.device)
        error = velocity(model, x, sigma, said, whole) - wanted
        loss = error.square().mean() / wanted.square().mean()
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.5f}")


@torch.no_grad()
def hardest(args, student, teacher, pairs, models) -> list:
    """The eighth of the prompts whose velocity is furthest off; chosen once, kept in a file."""
    kept = args.work / "hard.json"
    if kept.exists():
        return [tuple(pair) for pair in json.loads(kept.read_text(encoding="utf-8"))]
    student.eval()
    torch.manual_seed(2)
    errors: list[float] = []
    for start in range(0, len(pairs), args.batch):
        part = pairs[start : start + args.batch]
        meant, mask = teacher.read([pair[1] for pair in part], args.device)
        said = student([pair[0] for pair in part])
        whole = torch.ones(said.shape[:2], dtype=torch.bool, device=said.device)
        shape = (16, args.latent, args.latent)
        total = torch.zeros(len(part), device=said.device)
        for model in models:
            x, sigma = on_the_way(model, meant, mask, shape)
            wanted = velocity(model, x, sigma, meant, mask)
            error = (velocity(model, x, sigma, said, whole) - wanted).square()
            total += error.mean((1, 2, 3)) / wanted.square().mean((1, 2, 3))
        errors += total.tolist()
        print(f"hard {len(errors)}/{len(pairs)} looked at", flush=True)
    student.train()
    order = sorted(range(len(pairs)), key=errors.__getitem__, reverse=True)
    found = [pairs[number] for number in order[: max(1, len(pairs) // 8)]]
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    partial.replace(kept)
    return found


@torch.no_grad()
def report(args, student, teacher, pairs, models) -> dict[str, dict[str, float]]:
    """Errors of the adapter and of its controls on unseen prompts: features, velocity."""
    student.eval()
    torch.manual_seed(1)
    said = student([pair[0] for pair in pairs])
    meant, mask = teacher.read([pair[1] for pair in pairs], args.device)
    encoded = torch.cat([part.states for part in student.encoded([p[0] for p in pairs])], dim=1)
    width = said.shape[-1]
    plain = torch.nn.functional.pad(encoded, (0, max(0, width - encoded.shape[-1])))[..., :width]
    ways = {
        "adapter": said,
        "zero": torch.zeros_like(said),
        "identity": plain,
        "shuffled": said.roll(1, 0),
    }
    x, sigma = on_the_way(models[0], meant, mask, (16, args.latent, args.latent))
    wanted = velocity(models[0], x, sigma, meant, mask)
    found = {}
    for name, features in ways.items():
        whole = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        error = velocity(models[0], x, sigma, features, whole) - wanted
        found[name] = {
            "features": round(float(feature_loss(features, meant, mask)), 4),
            "velocity": round(float(error.square().mean() / wanted.square().mean()), 5),
        }
        print(
            f"{name:9} features {found[name]['features']:7.4f}  "
            f"velocity {found[name]['velocity']:.5f}"
        )
    return found


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    pack.load()
    from zimage_comfyui.cli.terminal import FAILED, USAGE, complain
    from zimage_comfyui.errors import ZImageError

    if bool(args.clip) != bool(args.bert):
        complain(ZImageError("ZI-TRAIN-ENCODERS"))
        return USAGE
    try:
        train(args)
    except ZImageError as error:
        complain(error)
        return FAILED
    return 0


def train(args: argparse.Namespace) -> None:
    """The stages, the report and the files."""
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    family.open_host(args.comfyui, args.device == "cpu")
    from demo import students
    from zimage_comfyui.engine import checkpoints

    loaded = [checkpoints.load_model(path) for path in args.model]
    models = [
        patcher.model.diffusion_model.to(args.device).requires_grad_(False) for patcher in loaded
    ]
    pairs, unseen = students.read_pairs(args.prompts, args.pairs)
    student = students.build(args, pairs, models[0]).to(args.device)
    teacher = students.Teacher(
        checkpoints.load_text_encoder(args.qwen), args.work / "cache.safetensors"
    )
    fresh = pairs
    if args.hard_steps and not args.prompts:
        fresh = students.world_pairs(args.hard_pairs, seed=2)
    teacher.learn([pair[1] for pair in [*pairs, *fresh, *unseen]])
    teach_features(args, student, teacher, pairs)
    teach_denoiser(args, student, teacher, pairs, models)
    if args.hard_steps:
        hard = hardest(args, student, teacher, fresh, models)
        teach_denoiser(args, student, teacher, hard, models, name="hard", steps=args.hard_steps)
    found = report(args, student, teacher, unseen, models)
    steps = args.feature_steps + args.denoiser_steps + args.hard_steps
    students.export(args.out, student, models, {"steps": steps, **found})
    (args.work / "report.json").write_text(json.dumps(found, indent=2) + "\n")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI folder")
    parser.add_argument("--work", type=Path, required=True, help="states go here")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--model", type=Path, nargs="+", default=[TURBO, BASE])
    parser.add_argument("--qwen", type=Path, default=QWEN, help="their own text encoder")
    parser.add_argument("--clip", type=Path, help="a CLIP-L file; stays as it is; needs --bert")
    parser.add_argument("--bert", type=Path, help="a Chinese BERT; stays as it is; needs --clip")
    parser.add_argument("--layers", type=int, help="of the adapter; 6, 3 for small encoders")
    parser.add_argument("--prompts", type=Path, help="one prompt per line (default: the world's)")
    parser.add_argument("--pairs", type=int, default=12000, help="prompts of the world")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--feature-steps", type=int, default=2750)
    parser.add_argument("--denoiser-steps", type=int, default=1700)
    parser.add_argument("--hard-steps", type=int, default=300)
    parser.add_argument(
        "--hard-pairs",
        type=int,
        default=5000,
        help="new prompts of the world that the hard ones are chosen from; of a file, all",
    )
    parser.add_argument("--latent", type=int, default=16, help="side of the latents of stage 2")
    parser.add_argument("--batch", type=int, default=64, help="of stage 1; stage 2 takes half")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--save-seconds", type=float, default=60, help="from save to save")
    return parser


if __name__ == "__main__":
    sys.exit(main())
