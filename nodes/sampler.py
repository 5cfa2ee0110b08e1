"""Denoise a latent with the preset of the variant; every value can be overridden."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import checkpoints, host, presets, sampling
from .types import CATEGORY, FLOAT_MAX, FLOAT_MIN, INT_MAX, INT_MIN

_number = {"min": FLOAT_MIN, "max": FLOAT_MAX, "step": 0.1, "round": 0.01}


class ZImageSampler(io.ComfyNode):
    """Runs the host's sampler with Z-Image's shift; results equal those of KSampler bit by bit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageSampler",
            display_name="Z-Image Sampler · 采样",
            category=CATEGORY,
            description="Makes the latent picture. Leave a number at -1 to use the preset: "
            "Turbo 8 steps, cfg 1 (guidance 0), shift 3; Base 28 and Edit 50 steps, "
            "both cfg 5 (guidance 4), shift 6.",
            inputs=[*_sockets(), *_numbers(), *_choices()],
            outputs=[
                io.Latent.Output(display_name="latent"),
                io.String.Output(display_name="info", tooltip="What was used, in one line."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        latent_image,
        seed: int,
        preset: str,
        steps: int,
        cfg: float,
        shift: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        negative=None,
    ) -> io.NodeOutput:
        """Return the denoised LATENT and a description of the settings."""
        settings = presets.resolve(
            model_variant=checkpoints.variant_of(model),
            preset=preset,
            steps=steps,
            cfg=cfg,
            shift=shift,
            seed=seed,
            sampler=sampler_name,
            scheduler=scheduler,
            denoise=denoise,
        )
        callback = host.preview_callback(model, settings.steps)
        out = sampling.sample(model, positive, negative, latent_image, settings, callback)
        batch, _, height, width = out["samples"].shape
        info = settings.describe(width * 8, height * 8, batch)
        return io.NodeOutput(out, info + sampling.remark(model, width * 8, height * 8))


def _sockets() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="A Z-Image model; LoRA nodes may stand in between."),
        io.Conditioning.Input("positive", tooltip="What the picture should show."),
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="What to avoid. Needed when cfg is above 1 (Base); not evaluated at cfg 1.",
        ),
        io.Latent.Input("latent_image", tooltip="The size, or a picture to change (denoise < 1)."),
    ]


def _numbers() -> list[io.Input]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=presets.MAX_SEED,
            control_after_generate=True,
            tooltip="The same seed and settings give the same picture, byte for byte.",
        ),
        io.Combo.Input(
            "preset",
            options=list(presets.VARIANTS),
            default="auto",
            tooltip="Where values left at -1 come from. auto: the variant the loader found.",
        ),
        io.Int.Input(
            "steps",
            default=-1,
            min=INT_MIN,
            max=INT_MAX,
            tooltip="-1 = preset (Turbo 8, Base 28, Edit 50). Otherwise 1 to 200; "
            "official Base: 28 to 50.",
        ),
        io.Float.Input(
            "cfg",
            default=-1.0,
            **_number,
            tooltip="-1 = preset (Turbo 1, others 5). This is ComfyUI's cfg = official guidance "
            "+ 1: guidance 0 is cfg 1, guidance 4 is cfg 5. At cfg 1 the negative prompt has no "
            "effect.",
        ),
        io.Float.Input(
            "shift",
            default=-1.0,
            **_number,
            tooltip="-1 = preset (Turbo 3, others 6). Flow shift, as in ModelSamplingAuraFlow; "
            "replaces the shift of such a node in front.",
        ),
    ]


def _choices() -> list[io.Input]:
    return [
        io.Combo.Input(
            "sampler_name",
            options=sampling.SAMPLERS,
            default="euler",
            tooltip="euler is what the official pipelines use.",
        ),
        io.Combo.Input(
            "scheduler",
            options=sampling.SCHEDULERS,
            default=sampling.OFFICIAL,
            tooltip="official: the time steps of the official pipeline. simple is ComfyUI's "
            "nearest one, the very same at 8 steps.",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=FLOAT_MIN,
            max=FLOAT_MAX,
            step=0.01,
            round=0.01,
            tooltip="1 draws from nothing. Lower values keep more of a given picture. "
            "Above 0 to 1.",
        ),
    ]
