"""The same weights through our engine and through diffusers: what is compared, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

SEED = 7
# More than 32 tokens, so that it is padded to another length than the negative prompt.
PROMPT = (
    "电商海报：一只红色的狐狸坐在蓝色的雪山前，木桌上放着三只陶瓷杯, a red fox sits in front of "
    "blue snowy mountains, product photo, centred, soft light, 高清，留白，暖色调"
)
RECIPES = {
    "turbo": {"guidance": 0.0, "negative": ""},
    "base": {"guidance": 4.0, "negative": "模糊, low quality"},
}


def loaded(folder: Path) -> SimpleNamespace:
    """Our ``model``, ``clip`` and ``vae`` of an official folder, float32."""
    from zimage_comfyui.engine import checkpoints

    return SimpleNamespace(
        model=checkpoints.load_model(folder / "transformer", dtype="fp32"),
        clip=checkpoints.load_text_encoder(folder / "text_encoder"),
        vae=checkpoints.load_vae(folder / "vae", dtype="fp32"),
    )


def noise_of(width: int, height: int, batch: int) -> torch.Tensor:
    """The noise that ComfyUI draws for SEED, ``[B, 16, H/8, W/8]``."""
    import comfy.sample

    return comfy.sample.prepare_noise(torch.zeros(batch, 16, height // 8, width // 8), SEED)


def true_pictures(
    pipeline, variant: str, width: int, height: int, prompts: list[str], steps: int = 8
) -> torch.Tensor:
    """``[B, 3, H, W]`` in [0, 1] from diffusers, one picture per prompt."""
    recipe = RECIPES[variant]
    return pipeline(
        list(prompts),
        negative_prompt=[recipe["negative"]] * len(prompts),
        guidance_scale=recipe["guidance"],
        num_inference_steps=steps,
        width=width,
        height=height,
        latents=noise_of(width, height, len(prompts)),
        output_type="pt",
    ).images


def our_latents(ours, variant: str, width: int, height: int, batch: int = 1, **change):
    """``[B, 16, H/8, W/8]`` from our engine; ``change`` overrides single settings."""
    from zimage_comfyui.engine import conditioning, presets, sampling

    given = {"steps": 8, "prompt": PROMPT, "cfg": RECIPES[variant]["guidance"] + 1} | change
    settings = presets.resolve(
        model_variant=variant,
        steps=given["steps"],
        cfg=given["cfg"],
        shift=given.get("shift", -1.0),
        scheduler=given.get("scheduler", "simple"),
        seed=SEED,
    )
    positive = conditioning.encode(ours.clip, given["prompt"])
    negative = conditioning.encode(ours.clip, RECIPES[variant]["negative"])
    empty = {"samples": torch.zeros(batch, 16, height // 8, width // 8)}
    return sampling.sample(ours.model, positive, negative, empty, settings)["samples"]


def our_pictures(ours, variant: str, width: int, height: int, batch: int = 1, **change):
    """``[B, 3, H, W]`` in [0, 1] from our engine, before rounding to 8 bits."""
    latents = our_latents(ours, variant, width, height, batch, **change)
    with torch.inference_mode():  # as the host runs nodes
        return ours.vae.decode(latents).movedim(-1, 1)


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference of any value."""
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def mend(setattr: Callable[..., None]) -> None:
    """Gives diffusers' Omni as many positions as features (see test_parity_omni)."""
    from diffusers import ZImageTransformer2DModel

    flawed = ZImageTransformer2DModel._pad_with_ids

    def cut(self, *arguments, **named):
        features, places, *rest = flawed(self, *arguments, **named)
        return features, places[: len(features)], *rest

    setattr(ZImageTransformer2DModel, "_pad_with_ids", cut)


def expected(truth, given) -> torch.Tensor:
    """Velocity of diffusers, which takes a list of lists and gives the negative."""
    count = len(given["references"])
    pictures, captions, features = [], [], []
    for i, noisy in enumerate(given["noisy"]):
        pictures.append([each[i][:, None] for each in [*given["references"], given["noisy"]]])
        pieces = [piece[0] for piece in given["around"]]
        captions.append([*pieces[:count], given["text"][i][given["mask"][i]], *pieces[count:]])
        given_features = given["siglip"]
        features.append(given_features and [*(each[0] for each in given_features), None])
        assert noisy.shape == given["noisy"][0].shape
    with torch.no_grad():
        out = truth(
            pictures,
            1 - given["sigma"],
            captions,
            siglip_feats=features,
            image_noise_mask=[[0] * count + [1]] * len(pictures),
            return_dict=False,
        )[0]
    return -torch.stack([each[:, 0] for each in out])


def found(model, given) -> torch.Tensor:
    """Velocity of our engine for the arguments of ``references.inputs``."""
    from zimage_comfyui.engine import omni

    with torch.no_grad():
        return omni.velocity(model.model.diffusion_model, **given)


def plain(model, truth, given) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocity without references, by the host's own forward pass and by diffusers."""
    noisy, sigma, text, mask = (given[name] for name in ("noisy", "sigma", "text", "mask"))
    captions = [one[seen] for one, seen in zip(text, mask, strict=True)]
    with torch.no_grad():
        # One at a time, as the engine runs prompts of unequal length.
        ours = [
            model.model.diffusion_model(noisy[i : i + 1], sigma[i : i + 1], one[None], len(one))
            for i, one in enumerate(captions)
        ]
        true = truth([one[:, None] for one in noisy], 1 - sigma, captions, return_dict=False)[0]
    return torch.cat(ours), -torch.stack([one[:, 0] for one in true])
