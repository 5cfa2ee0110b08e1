r"""Train the adapter with which CLIP and a Chinese BERT replace Qwen3 as text encoder of Z-Image.

    python demo/train_adapter.py --comfyui ~/ComfyUI --work /tmp/adapter
    python demo/train_adapter.py --comfyui ~/ComfyUI --work /tmp/big --prompts prompts.txt \
        --model z_image_turbo_bf16.safetensors --qwen qwen_3_4b.safetensors \
        --clip clip_l.safetensors --bert bert-base-chinese/model.safetensors --out models

``--clip`` and ``--bert`` must be given together; BERT's ``vocab.txt`` is in the folder of its file.
Without both, small encoders are trained as well, and the bundled files are written again.

1. Features: the adapter's queries learn the teacher's features, token by token (mean square and
   cosine, both relative).
2. Denoiser: at points of the frozen diffusion model's trajectory from noise to picture, the
   student's features learn to give the same velocity as the teacher's.
3. Hard: like stage 2, with the prompts whose velocity has the largest error. After stage 2, a few
   prompts still have another meaning, although the average error is small. Most of them have both
   colours in one language and the subject in the other.

The bundled files were trained with the default numbers of steps, in several runs: until step 500 of
stage 2, a third of the prompts was in both languages instead of half. A new run therefore gives
other weights.

Each stage saves its state every minute and continues from it. The report compares the adapter with
three controls on held-out prompts: *zero* gives no features, *identity* gives the encoders' states
without the adapter, and *shuffled* gives the features of another prompt.
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


def feature_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return relative mean square plus one minus cosine, averaged over the teacher's tokens.

    Args:
        student: features (B, Q, W).
        teacher: features (B, L, W); tokens beyond the shorter of Q and L are ignored.
        mask: (B, L) bool, the teacher's tokens.
    """
    count = min(student.shape[1], teacher.shape[1])
    student, teacher, mask = student[:, :count], teacher[:, :count], mask[:, :count]
    square = (student - teacher).square().mean(-1) / teacher.square().mean(-1).clamp_min(1e-6)
    cosine = torch.nn.functional.cosine_similarity(student, teacher, dim=-1)
    return ((square + 1 - cosine) * mask).sum() / mask.sum()


def all_tokens(features: torch.Tensor) -> torch.Tensor:
    """Return the mask [B, Q] of features [B, Q, W] without padding."""
    return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)


@torch.no_grad()
def trajectory_points(
    model, text, mask, shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents of the model's trajectory from noise to picture, and their levels (B,)."""
    x = torch.randn(len(text), *shape, device=text.device)
    middle, end = torch.sort(torch.rand(2, len(text), device=text.device), 0, True).values
    sigma = torch.ones_like(end)
    for time in (middle, end):
        target = 3 * time / (1 + 2 * time)  # Turbo's shift
        x = x + (target - sigma)[:, None, None, None] * velocity(model, x, sigma, text, mask)
        sigma = target
    return x, sigma


def teach_features(args, student, teacher, pairs) -> None:
    """Train the adapter on the teacher's features (stage 1)."""
    run = Run(args, "features", student.learning(), args.feature_steps, args.rate)
    rng, average = random.Random(run.step), None
    while run.step < run.steps:
        batch = rng.sample(pairs, min(args.batch, len(pairs)))
        predicted = student([pair[0] for pair in batch])
        target, mask = teacher.read([pair[1] for pair in batch], args.device)
        loss = feature_loss(predicted, target, mask)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.4f}")


def teach_denoiser(args, student, teacher, pairs, models, *, name="denoiser", steps=0) -> None:
    """Train the adapter through the denoiser (stages 2 and 3), from its current weights."""
    run = Run(args, name, student.learning(), steps or args.denoiser_steps, args.rate / 2)
    rng, average = random.Random(run.step), None
    size = min(max(1, args.batch // 2), len(pairs))
    while run.step < run.steps:
        batch = rng.sample(pairs, size)
        text, mask = teacher.read([pair[1] for pair in batch], args.device)
        model = models[run.step % len(models)]
        x, sigma = trajectory_points(model, text, mask, (16, args.latent, args.latent))
        with torch.no_grad():
            target = velocity(model, x, sigma, text, mask)
        predicted = student([pair[0] for pair in batch])
        error = velocity(model, x, sigma, predicted, all_tokens(predicted)) - target
        loss = error.square().mean() / target.square().mean()
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.5f}")


@torch.no_grad()
def hardest(args, student, teacher, pairs, models) -> list:
    """Return the eighth of the prompts with the largest velocity error; a file caches them."""
    cache = args.work / "hard.json"
    if cache.exists():
        return [tuple(pair) for pair in json.loads(cache.read_text(encoding="utf-8"))]
    student.eval()
    torch.manual_seed(2)
    errors: list[float] = []
    for start in range(0, len(pairs), args.batch):
        part = pairs[start : start + args.batch]
        text, mask = teacher.read([pair[1] for pair in part], args.device)
        predicted = student([pair[0] for pair in part])
        total = torch.zeros(len(part), device=predicted.device)
        for model in models:
            x, sigma = trajectory_points(model, text, mask, (16, args.latent, args.latent))
            target = velocity(model, x, sigma, text, mask)
            error = velocity(model, x, sigma, predicted, all_tokens(predicted)) - target
            total += error.square().mean((1, 2, 3)) / target.square().mean((1, 2, 3))
        errors += total.tolist()
        print(f"hard {len(errors)}/{len(pairs)} evaluated", flush=True)
    student.train()
    order = sorted(range(len(pairs)), key=errors.__getitem__, reverse=True)
    hard = [pairs[index] for index in order[: max(1, len(pairs) // 8)]]
    partial = cache.with_suffix(".partial")
    partial.write_text(json.dumps(hard, ensure_ascii=False), encoding="utf-8")
    partial.replace(cache)
    return hard


@torch.no_grad()
def report(args, student, teacher, pairs, models) -> dict[str, dict[str, float]]:
    """Return feature and velocity errors of the adapter and its controls on held-out prompts."""
    student.eval()
    torch.manual_seed(1)
    predicted = student([pair[0] for pair in pairs])
    text, mask = teacher.read([pair[1] for pair in pairs], args.device)
    encoded = torch.cat([part.states for part in student.encoded([p[0] for p in pairs])], dim=1)
    width = predicted.shape[-1]
    plain = torch.nn.functional.pad(encoded, (0, max(0, width - encoded.shape[-1])))[..., :width]
    candidates = {
        "adapter": predicted,
        "zero": torch.zeros_like(predicted),
        "identity": plain,
        "shuffled": predicted.roll(1, 0),
    }
    x, sigma = trajectory_points(models[0], text, mask, (16, args.latent, args.latent))
    target = velocity(models[0], x, sigma, text, mask)
    errors = {}
    for name, features in candidates.items():
        error = velocity(models[0], x, sigma, features, all_tokens(features)) - target
        errors[name] = {
            "features": round(float(feature_loss(features, text, mask)), 4),
            "velocity": round(float(error.square().mean() / target.square().mean()), 5),
        }
        print(
            f"{name:9} features {errors[name]['features']:7.4f}  "
            f"velocity {errors[name]['velocity']:.5f}"
        )
    return errors


def main(argv: list[str] | None = None) -> int:
    """Train the adapter; return the exit code of the command line."""
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
    """Run the stages, write the report and the models."""
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    family.open_host(args.comfyui, args.device == "cpu")
    from demo import students
    from zimage_comfyui.engine import checkpoints

    loaded = [checkpoints.load_model(path) for path in args.model]
    models = [
        patcher.model.diffusion_model.to(args.device).requires_grad_(False) for patcher in loaded
    ]
    pairs, held_out = students.read_pairs(args.prompts, args.pairs)
    student = students.build(args, pairs, models[0]).to(args.device)
    teacher = students.Teacher(
        checkpoints.load_text_encoder(args.qwen), args.work / "cache.safetensors"
    )
    candidates = pairs
    if args.hard_steps and not args.prompts:
        candidates = students.world_pairs(args.hard_pairs, seed=2)
    teacher.learn([pair[1] for pair in [*pairs, *candidates, *held_out]])
    teach_features(args, student, teacher, pairs)
    teach_denoiser(args, student, teacher, pairs, models)
    if args.hard_steps:
        hard = hardest(args, student, teacher, candidates, models)
        teach_denoiser(args, student, teacher, hard, models, name="hard", steps=args.hard_steps)
    errors = report(args, student, teacher, held_out, models)
    steps = args.feature_steps + args.denoiser_steps + args.hard_steps
    students.export(args.out, student, models, {"steps": steps, **errors})
    (args.work / "report.json").write_text(json.dumps(errors, indent=2) + "\n")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for states")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--model", type=Path, nargs="+", default=[TURBO, BASE])
    parser.add_argument("--qwen", type=Path, default=QWEN, help="text encoder of these models")
    parser.add_argument("--clip", type=Path, help="a CLIP-L file, not trained; needs --bert")
    parser.add_argument("--bert", type=Path, help="a Chinese BERT, not trained; needs --clip")
    parser.add_argument(
        "--layers", type=int, help="layers of the adapter (default: 6; 3 for small encoders)"
    )
    parser.add_argument(
        "--prompts", type=Path, help="a file, one prompt per line (default: generated)"
    )
    parser.add_argument("--pairs", type=int, default=12000, help="number of generated prompts")
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
    parser.add_argument(
        "--batch", type=int, default=64, help="prompts of a step; stage 2 takes half"
    )
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--save-seconds", type=float, default=60, help="time between two saves")
    return parser


if __name__ == "__main__":
    sys.exit(main())
