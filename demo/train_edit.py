"""Train the small Edit model: from a reference picture and an instruction to the edited picture.

    python demo/train_edit.py --comfyui ~/ComfyUI --work /tmp/zimage-edit

It starts from Base and is trained by flow matching in the Omni layout, in which the clean latents
of the reference precede the noisy latents. Text encoder and autoencoder are not trained, because
Turbo and Base share them. The state is saved every minute, and training continues from it.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from demo import family, pack
from demo.data import Vocabulary, picture, training_scenes
from demo.edits import VALUES, Edit, siblings
from demo.train import FILES, Run, add_noise, features, save_whole
from demo.world import SIZES, is_held_out

MODELS = Path(__file__).resolve().parent / "models"
FILE = "diffusion_models/zimage-small-edit.safetensors"


def families(count: int, seed: int = 0) -> list[tuple]:
    """Return scenes with a size and a seed; edits change a scene to one of its siblings."""
    rng = random.Random(seed)
    return [
        (rng.choice(training_scenes()), rng.choices(SIZES, (4, 1, 1))[0], rng.randrange(10**6))
        for _ in range(count)
    ]


@torch.no_grad()
def encode_families(args: argparse.Namespace, autoencoder: torch.nn.Module) -> dict:
    """Return latents (N, 16, H/8, W/8) of the siblings of every scene, by number and field.

    A file in ``--work`` caches them.
    """
    path = args.work / "families.safetensors"
    tensors = load_file(path) if path.exists() else {}
    known = len(tensors) // len(VALUES)
    encoder = family.quick_encoder(autoencoder)
    for number, (scene, size, seed) in list(enumerate(families(args.families)))[known:]:
        for field in VALUES:
            drawn = torch.stack([picture(s, size, seed, scene) for s in siblings(scene, field)])
            tensors[f"{number}/{field}"] = encoder(drawn.to(args.device)).half().cpu().contiguous()
        if number % 50 == 0:
            print(f"families {number}/{args.families}", flush=True)
    save_whole(tensors, path)
    return tensors


class Edits:
    """Random batches of edits; all pictures of a batch have the same size."""

    def __init__(self, args: argparse.Namespace, latents: dict, seed: int) -> None:
        self.latents = latents
        self.batch = args.batch
        self.device = args.device
        self.rng = random.Random(seed)
        self.families = list(enumerate(families(args.families)))
        self.by_size = {s: [f for f in self.families if f[1][1] == s] for s in SIZES}
        # With few families, a size may be missing.
        self.weights = [w if self.by_size[s] else 0 for s, w in zip(SIZES, (4, 1, 1), strict=True)]

    def draw(self) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """Return instructions, latents before and latents after; 10 % of them are empty."""
        size = self.rng.choices(SIZES, self.weights)[0]
        texts, before, after = [], [], []
        while len(texts) < self.batch:
            number, (scene, _, _) = self.rng.choice(self.by_size[size])
            field = self.rng.choice(sorted(VALUES))
            scenes = siblings(scene, field)
            allowed = [i for i, sibling in enumerate(scenes) if not is_held_out(sibling)]
            if len(allowed) < 2:
                continue
            a, b = self.rng.sample(allowed, 2)
            edit = Edit(field, scenes[a], scenes[b])
            text = edit.instruction(self.rng.choice(("zh", "en")), self.rng)
            texts.append("" if self.rng.random() < 0.1 else text)
            before.append(self.latents[f"{number}/{field}"][a])
            after.append(self.latents[f"{number}/{field}"][b])
        pair = (torch.stack(part).float().to(self.device) for part in (before, after))
        return texts, *pair


def focus(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return loss weights (B, 1, H, W): 2 where latents change, 1 elsewhere.

    Changed areas are small and would otherwise have little influence on the loss.
    """
    changed = (before - after).abs().amax(1, keepdim=True) > 0.2
    return 1 + torch.nn.functional.max_pool2d(changed.float(), 3, 1, 1)


def compile_blocks(args: argparse.Namespace) -> None:
    """Compile the block function, which all blocks share; this takes some minutes."""
    from zimage_comfyui.engine import omni

    if args.compile:
        torch._dynamo.config.recompile_limit = 64
        omni.modulated = torch.compile(omni.modulated, dynamic=False)


def pieces(encoder, vocabulary: Vocabulary, texts: list[str]) -> tuple:
    """Return features of the instructions, their mask, and features of the template's pieces."""
    from zimage_comfyui.engine import omni

    middle, around = omni.templates(1)
    ids, mask = vocabulary.encode(texts, middle)
    fixed = [vocabulary.encode([""], piece) for piece in around]
    device = encoder.embed_tokens.weight.device
    with torch.no_grad():
        text = features(encoder, ids.to(device))
        outer = [features(encoder, i.to(device))[:, : int(m.sum())] for i, m in fixed]
    return text, mask.to(device), outer


def train(args: argparse.Namespace, latents: dict, vocabulary, encoder, model) -> None:
    """Train by flow matching with one reference."""
    from zimage_comfyui.engine import omni

    run = Run(args, "edit", {"denoiser": model}, args.steps, args.rate)
    edits = Edits(args, latents, seed=run.step)
    average = None
    while run.step < run.steps:
        texts, before, after = edits.draw()
        text, mask, around = pieces(encoder, vocabulary, texts)
        noisy, sigma, noise = add_noise(after)
        output = omni.velocity(model, noisy, sigma, text, mask, [before], around)
        weights = focus(before, after)
        loss = ((output - (noise - after)).square() * weights).mean() / weights.mean()
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.4f}")


def main(argv: list[str] | None = None) -> int:
    """Train the Edit model and write it; return 0."""
    args = arguments().parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pack.load()
    family.open_host(args.comfyui, args.device == "cpu")
    from comfy.taesd.taesd import TAESD

    autoencoder = TAESD(**family.AUTOENCODER)
    autoencoder.load_state_dict(_weights(FILES["autoencoder"]))
    latents = encode_families(args, autoencoder.to(args.device))
    vocabulary = Vocabulary(args.comfyui)
    encoder = family.build_text_encoder(len(vocabulary.ids) + 1).to(args.device)
    state = {k.removeprefix("model."): v for k, v in _weights(FILES["text"]).items()}
    state.pop("embed_tokens.ids")
    encoder.load_state_dict(state)
    model = family.build_denoiser().to(args.device)
    model.load_state_dict(_weights(FILES["base"]))
    compile_blocks(args)
    train(args, latents, vocabulary, encoder.eval().requires_grad_(False), model)
    family.export(
        model.state_dict(), args.out / FILE, "diffusion", family.DIFFUSION, variant="edit"
    )
    return 0


def _weights(name: str) -> dict[str, torch.Tensor]:
    return {key: value.float() for key, value in load_file(MODELS / name).items()}


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for states and latents")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--families", type=int, default=400)
    parser.add_argument("--steps", type=int, default=2900)
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--save-seconds", type=float, default=60, help="time between two saves")
    return parser


if __name__ == "__main__":
    sys.exit(main())
