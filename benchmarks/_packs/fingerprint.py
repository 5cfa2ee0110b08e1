"""Fingerprints of values, to compare two runs; a model is represented by its outputs."""

import hashlib

import comfy.sample
import comfy.samplers
import torch

from . import inputs

DEEPEST, LONGEST, SEEN = 12, 200, 48


def fingerprint(value, depth=0):
    """Return a JSON value that is equal for equal values."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, float) else repr(value)
    if isinstance(value, str):
        return value[:2000]
    if depth > DEEPEST:
        return "…"
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, dict):
        return {
            str(k): fingerprint(v, depth + 1)
            for k, v in list(value.items())[:LONGEST]
            if k != "uuid"
        }
    if hasattr(value, "_fields"):  # a named tuple is a class of the pack
        return "object"
    if isinstance(value, list | tuple):
        return [fingerprint(item, depth + 1) for item in value[:LONGEST]]
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    if type(value).__module__ == "numpy":
        return _tensor(torch.as_tensor(value.copy())) if value.ndim else value.item()
    return _object(value, depth)


def _tensor(value):
    """Return type, shape, digest and some numbers, to compare with a tolerance."""
    value = value.detach().cpu().contiguous()
    data = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    flat = value.reshape(-1).to(torch.float64) if value.dtype != torch.complex64 else value.real
    flat = flat.reshape(-1)
    some = flat[:: max(1, flat.numel() // SEEN)][:SEEN].tolist()
    kind = f"{str(value.dtype)[6:]}{list(value.shape)}"
    whole = [flat.mean().item(), flat.abs().mean().item()] if data else []
    return {"tensor": kind, "sha": hashlib.sha256(data).hexdigest()[:16], "near": whole + some}


def _object(value, depth):
    for name, kind in _kinds():
        if isinstance(value, kind):
            return {name: fingerprint(_TRIED[name](value), depth + 1)}
    if callable(value):
        return "function"
    return "object"  # a class of the pack, which only its own nodes use


def _kinds():
    import comfy.clip_vision
    import comfy.controlnet
    import comfy.model_patcher
    import comfy.sd
    from comfy_api.latest import Input

    yield "model", comfy.model_patcher.ModelPatcher
    yield "clip", comfy.sd.CLIP
    yield "vae", comfy.sd.VAE
    yield "sampler", comfy.samplers.Sampler
    yield "guider", comfy.samplers.CFGGuider
    yield "control", comfy.controlnet.ControlBase
    yield "vision", comfy.clip_vision.ClipVisionModel
    yield "output", comfy.clip_vision.Output
    yield "video", Input.Video
    yield "noise", _Noise


class _Draws(type):
    def __instancecheck__(cls, value):
        return hasattr(value, "generate_noise")


class _Noise(metaclass=_Draws):
    """Any object that generates noise."""


def _fixed(kind):
    torch.manual_seed(sum(kind.encode()))
    return inputs.MAKERS[kind]()


def _sampled(model, sampler=None, conditioning=None):
    """Sample two steps with fixed noise; changes of the model change the samples."""
    torch.manual_seed(3)
    latent, cond = torch.zeros(1, 4, 8, 12), conditioning or _fixed("CONDITIONING")
    noise, sigmas = torch.randn(latent.shape), torch.tensor([8.0, 2.0, 0.0])
    sampler = sampler or comfy.samplers.sampler_object("euler")
    return comfy.sample.sample_custom(
        model, noise, 2.0, sampler, sigmas, cond, cond, latent, disable_pbar=True, seed=1
    )


def _guided(guider):
    torch.manual_seed(3)
    latent = torch.zeros(1, 4, 8, 12)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([8.0, 2.0, 0.0])
    return guider.sample(torch.randn(latent.shape), latent, sampler, sigmas, disable_pbar=True)


def _controlled(control):
    hinted = control.copy().set_cond_hint(_fixed("IMAGE")[:1].movedim(-1, 1))
    (cond, extras), *others = _fixed("CONDITIONING")
    extras = {**extras, "control": hinted, "control_apply_to_uncond": True}
    return _sampled(inputs.MAKERS["MODEL"](), conditioning=[[cond, extras], *others])


_TRIED = {
    "model": _sampled,
    "clip": lambda one: one.encode_from_tokens_scheduled(one.tokenize("a red cat")),
    "vae": lambda one: one.decode(torch.ones(1, 4, 4, 4)),
    "sampler": lambda one: _sampled(inputs.MAKERS["MODEL"](), one),
    "guider": _guided,
    "control": _controlled,
    "vision": lambda one: one.encode_image(_fixed("IMAGE"))["last_hidden_state"],
    "output": lambda one: {k: v for k, v in vars(one).items() if torch.is_tensor(v)},
    "video": lambda one: one.get_components().images,
    "noise": lambda one: one.generate_noise({"samples": torch.zeros(1, 4, 8, 12)}),
}
