"""Train the small Z-Image models: autoencoder, then text encoder and Base, then Turbo.

All models are trained on pictures of :mod:`world` and captions of :mod:`captions`, on a CPU or a
CUDA card. Each stage saves its state every minute; the script continues from it when it is started
again with the same ``--work`` folder.

    python demo/train.py --comfyui ~/ComfyUI --work /tmp/zimage-train
    python demo/train.py --comfyui ~/ComfyUI --work /tmp/more --start demo/models --rate 1e-3

1. Autoencoder: the encoder is computed, and the decoder is trained on slightly noisy latents.
2. Base: flow matching, x_s = (1 - s) * x_0 + s * noise, velocity = noise - x_0. The text encoder is
   trained with it. 10 % of the captions are empty, as classifier-free guidance requires.
3. Turbo: starts from Base and learns Base's *guided* velocity in one evaluation.

The bundled models were trained with the defaults. Their decoder had 1000 additional steps before,
with noise of 0.08. On two cores, a step takes about 0.65 s with ``--compile`` and 1 s without.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from demo import family
from demo.data import Batches, Vocabulary, picture, training_scenes
from demo.world import SIZES

LATENT_NOISE = 0.05
FILES = {
    "autoencoder": "vae/zimage-small-ae.safetensors",
    "text": "text_encoders/zimage-small-qwen3.safetensors",
    "base": "diffusion_models/zimage-small-base.safetensors",
    "turbo": "diffusion_models/zimage-small-turbo.safetensors",
}


def save_whole(tensors: dict[str, torch.Tensor], path: Path, **metadata: str) -> None:
    """Write a file atomically: a killed process leaves the old file or the complete new one."""
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata or None)
    partial.replace(path)


class Run:
    """Parameters, optimiser and progress of a training stage, saved as one safetensors file."""

    def __init__(
        self, args: argparse.Namespace, name: str, modules: dict, steps: int, rate: float
    ) -> None:
        self.modules = modules
        self.steps = steps
        self.rate = rate
        self.step = 0
        self.path = args.work / f"{name}.safetensors"
        self.save_seconds = args.save_seconds
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        wide = [p for p in self.parameters if p.ndim >= 2]
        thin = [p for p in self.parameters if p.ndim < 2]
        groups = [{"params": wide, "weight_decay": 0.01}, {"params": thin, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
        self.last_save = time.monotonic()
        if self.path.exists():
            self._load()
            print(f"{name} {self.step}/{steps} <- {self.path}", flush=True)

    def _load(self) -> None:
        tensors = load_file(self.path)
        with safe_open(self.path, "pt") as file:
            self.step = int(file.metadata()["step"])
        for name, module in self.modules.items():
            prefix = f"{name}/"
            own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        state = self.optimiser.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimiser/"):
                _, index, field = key.split("/")
                state["state"].setdefault(int(index), {})[field] = value
        self.optimiser.load_state_dict(state)

    def save(self) -> None:
        """Write parameters, optimiser and step."""
        tensors = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}/{k}": v.contiguous() for k, v in module.state_dict().items()}
        for index, fields in self.optimiser.state_dict()["state"].items():
            for field, value in fields.items():
                tensors[f"optimiser/{index}/{field}"] = value.contiguous()
        save_whole(tensors, self.path, step=str(self.step))

    def update(self, loss: torch.Tensor, report: str) -> None:
        """Take an optimiser step; the rate warms up over 4 % of the steps, then decays to zero."""
        warm = max(1, self.steps // 25)
        share = min((self.step + 1) / warm, 1 - (self.step - warm) / max(1, self.steps - warm))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * max(share, 0.0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        if self.step % 20 == 0 or self.step == self.steps:
            print(f"{self.path.stem} {self.step}/{self.steps} {report}", flush=True)
        if time.monotonic() - self.last_save > self.save_seconds or self.step == self.steps:
            self.save()
            self.last_save = time.monotonic()


def start(args: argparse.Namespace, name: str, module: torch.nn.Module, prefix: str = "") -> None:
    """Load the weights of an earlier model if ``--start`` names a folder."""
    if args.start is None:
        return
    tensors = load_file(args.start / FILES[name])
    own = {key.removeprefix(prefix): value.float() for key, value in tensors.items()}
    own.pop("embed_tokens.ids", None)  # another vocabulary would give another shape
    module.load_state_dict(own)


def build_autoencoder(args: argparse.Namespace) -> torch.nn.Module:
    """Build the autoencoder; its encoder is computed from 240 fixed pictures."""
    scenes = training_scenes()[: args.scenes]
    scenes = random.Random(0).sample(scenes, min(240, len(scenes)))
    pixels = torch.stack([picture(scene, (128, 128), i) for i, scene in enumerate(scenes)])
    cells = pixels.unfold(2, 8, 8).unfold(3, 8, 8)  # (N, 3, 16, 16, 8, 8)
    patches = cells.permute(0, 2, 3, 4, 5, 1).reshape(-1, 192)
    model = family.build_autoencoder(patches).to(args.device)
    start(args, "autoencoder", model)
    return model


def train_decoder(args: argparse.Namespace, model: torch.nn.Module) -> torch.nn.Module:
    """Train the decoder (stage 1) on crops of 64 x 64; it is convolutional, so any size works."""
    run = Run(args, "decoder", {"autoencoder": model}, args.decoder_steps, 1e-3)
    encoder = family.quick_encoder(model)
    rng = random.Random(run.step)
    scenes = training_scenes()[: args.scenes]
    pool = [
        picture(scene, SIZES[0], i)
        for i, scene in enumerate(rng.choices(scenes, k=min(768, len(scenes))))
        if run.step < run.steps
    ]
    while run.step < run.steps:
        crops = []
        for pixels in rng.choices(pool, k=12):
            top, left = 8 * rng.randrange(9), 8 * rng.randrange(9)
            crops.append(pixels[:, top : top + 64, left : left + 64])
        batch = torch.stack(crops).to(args.device, memory_format=torch.channels_last)
        with torch.no_grad():
            latent = encoder(batch)
            latent = latent + LATENT_NOISE * torch.randn_like(latent)
        error = model.taesd_decoder(latent) - batch
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        loss = error.abs().mean() + edges
        psnr = -10 * math.log10(error.detach().square().mean())
        run.update(loss, f"loss {loss.item():.4f} psnr {psnr:.1f} dB")
    return model.eval().requires_grad_(False)


@torch.no_grad()
def encode_world(args: argparse.Namespace, model: torch.nn.Module) -> dict:
    """Return latents (N, 16, H/8, W/8) float16 and scene numbers (N,) of all training pictures.

    The keys are ``SIZE/latent`` and ``SIZE/scene``. A file in ``--work`` caches them.
    """
    path = args.work / "latents.safetensors"
    scenes = training_scenes()[: args.scenes]
    tensors = load_file(path) if path.exists() else {}
    encoder = family.quick_encoder(model)
    for size, copies in zip(SIZES, (args.copies, 1, 1), strict=True):
        name = "x".join(map(str, size))
        if f"{name}/latent" in tensors:
            continue
        latents, numbers = [], [n for n in range(len(scenes)) for _ in range(copies)]
        for start in range(0, len(numbers), 32):
            part = range(start, min(start + 32, len(numbers)))
            batch = torch.stack([picture(scenes[numbers[i]], size, 10_000 + i) for i in part])
            batch = batch.to(args.device, memory_format=torch.channels_last)
            latents.append(encoder(batch).half().cpu().contiguous())
            if start % 640 == 0:
                print(f"latents {name} {start}/{len(numbers)}", flush=True)
        tensors |= {f"{name}/latent": torch.cat(latents), f"{name}/scene": torch.tensor(numbers)}
        save_whole(tensors, path)
    return tensors


def features(encoder: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Return Qwen3's second-to-last hidden state, (B, L, 128)."""
    return encoder(ids, intermediate_output=-2, final_layer_norm_intermediate=False)[1]


def velocity(model, noisy, sigma, text, mask) -> torch.Tensor:
    """Predict the velocity (noise - picture) for captions of unequal length in one batch.

    The computation is that of NextDiT's own forward pass, which supports one length at a time.
    Positions after the end of a caption have the learned padding token.

    Args:
        model: the NextDiT.
        noisy: (B, 16, H, W).
        sigma: (B,) in 0..1.
        text: (B, L, 128).
        mask: (B, L) bool.
    """
    time_embedding = model.t_embedder((1 - sigma) * model.time_scale, dtype=noisy.dtype)
    caps = torch.where(mask[..., None], model.cap_embedder(text), model.cap_pad_token)
    tokens, _, sizes, starts, positions = model.patchify_and_embed(
        noisy, caps, None, time_embedding, caps.shape[1]
    )
    for layer in model.layers:
        tokens = layer(tokens, None, positions, time_embedding)
    return -model.unpatchify(model.final_layer(tokens, time_embedding), sizes, starts, True)


def weighted(error: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean square of an error (B, 16, H, W); weights are (B, 1, H, W)."""
    return (error.square() * weights).mean() / weights.mean()


def add_noise(clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noisy latents, their noise levels (B,) and the noise.

    Levels are logit-normal, shifted to high noise, where place and colour are determined.
    """
    noise = torch.randn_like(clean)
    sigma = torch.sigmoid(1.2 * torch.randn(len(clean), device=clean.device) + 0.8)
    level = sigma[:, None, None, None]
    return (1 - level) * clean + level * noise, sigma, noise


def compile_blocks(args: argparse.Namespace, *models: torch.nn.Module) -> None:
    """Compile each block, which takes two minutes and makes training 1.5 times as fast.

    Blocks are compiled one by one, because equal blocks share their code.
    """
    if not args.compile:
        return
    torch._dynamo.config.recompile_limit = 64
    for model in models:
        for name, block in model.named_modules():
            if name.rpartition(".")[0] in ("layers", "noise_refiner", "context_refiner"):
                block.compile(dynamic=False)


def train_base(args: argparse.Namespace, latents: dict, vocabulary: Vocabulary) -> tuple:
    """Train Base and the text encoder together (stage 2)."""
    encoder = family.build_text_encoder(len(vocabulary.ids) + 1).to(args.device)
    model = family.build_denoiser().to(args.device)
    start(args, "text", encoder, "model.")
    start(args, "base", model)
    compile_blocks(args, encoder, model)
    run = Run(args, "base", {"text": encoder, "denoiser": model}, args.base_steps, args.rate)
    batches = Batches(args, latents, vocabulary, seed=run.step)
    average = None
    while run.step < run.steps:
        clean, ids, mask, weights = batches.draw(empty=0.1)
        noisy, sigma, noise = add_noise(clean)
        output = velocity(model, noisy, sigma, features(encoder, ids), mask)
        loss = weighted(output - (noise - clean), weights)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.4f}")
    return tuple(m.eval().requires_grad_(False) for m in (encoder, model))


def train_turbo(args, latents, vocabulary, encoder, base) -> torch.nn.Module:
    """Train Turbo (stage 3): one evaluation learns the guided result of two evaluations of Base."""
    model = family.build_denoiser().to(args.device)
    model.load_state_dict(base.state_dict())
    compile_blocks(args, model)
    run = Run(args, "turbo", {"denoiser": model}, args.turbo_steps, args.turbo_rate)
    batches = Batches(args, latents, vocabulary, seed=run.step)
    nothing, nothing_mask = (x.to(args.device) for x in vocabulary.encode([""]))
    average = None
    while run.step < run.steps:
        clean, ids, mask, weights = batches.draw(empty=0)
        noisy, sigma, _ = add_noise(clean)
        with torch.no_grad():
            text = features(encoder, ids)
            free = features(encoder, nothing).expand(len(clean), -1, -1)
            free_mask = nothing_mask.expand(len(clean), -1)
            target = velocity(base, noisy, sigma, text, mask)
            target += args.guidance * (target - velocity(base, noisy, sigma, free, free_mask))
        loss = weighted(velocity(model, noisy, sigma, text, mask) - target, weights)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        run.update(loss, f"loss {average:.4f}")
    return model.eval()


def export_all(folder: Path, autoencoder, vocabulary, encoder, base, turbo) -> None:
    """Write the four files that the pack's loader reads."""
    text = {f"model.{key}": value for key, value in encoder.state_dict().items()}
    text["model.embed_tokens.ids"] = torch.tensor(vocabulary.ids)
    parts = (
        ("autoencoder", autoencoder.state_dict(), "vae", family.AUTOENCODER, {}),
        ("text", text, "text_encoder", family.TEXT, {}),
        ("base", base.state_dict(), "diffusion", family.DIFFUSION, {"variant": "base"}),
        ("turbo", turbo.state_dict(), "diffusion", family.DIFFUSION, {"variant": "turbo"}),
    )
    for name, state, kind, config, more in parts:
        family.export(state, folder / FILES[name], kind, config, **more)


def main(argv: list[str] | None = None) -> int:
    """Run all stages and write the models; return 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for states and latents")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "models")
    parser.add_argument("--start", type=Path, help="a folder of models to continue from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--decoder-steps", type=int, default=2500)
    parser.add_argument("--only", choices=("decoder", "base"), help="stop after this stage")
    parser.add_argument("--base-steps", type=int, default=7800)
    parser.add_argument("--turbo-steps", type=int, default=450)
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    parser.add_argument("--scenes", type=int, help="number of scenes, for a trial")
    parser.add_argument("--copies", type=int, default=3, help="square pictures of each scene")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="highest learning rate of Base")
    parser.add_argument("--turbo-rate", type=float, default=6e-4)
    parser.add_argument("--guidance", type=float, default=2.5, help="guidance that Turbo learns")
    parser.add_argument("--save-seconds", type=float, default=60, help="time between two saves")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    family.open_host(args.comfyui, args.device == "cpu")
    autoencoder = build_autoencoder(args)
    if args.only != "base":
        train_decoder(args, autoencoder)
    if args.only == "decoder":
        return 0
    latents = encode_world(args, autoencoder)
    vocabulary = Vocabulary(args.comfyui)
    encoder, base = train_base(args, latents, vocabulary)
    if args.only == "base":
        return 0
    turbo = train_turbo(args, latents, vocabulary, encoder, base)
    export_all(args.out, autoencoder, vocabulary, encoder, base, turbo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
