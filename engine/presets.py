"""Sampling presets of each variant of Z-Image, and their combination with widget values.

Official code uses *guidance* g and computes ``pos + g * (pos - neg)``. ComfyUI uses *cfg* and
computes ``neg + cfg * (pos - neg)``. Both are equal with ``cfg = g + 1``: guidance 0 is cfg 1 (one
evaluation per step), and the official guidance 3-5 is cfg 4-6.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ZImageError
from ..errors.bilingual import Bilingual

TURBO, BASE, EDIT, AUTO = "turbo", "base", "edit", "auto"
VARIANTS = (AUTO, TURBO, BASE, EDIT)
OPTION = "zimage_variant"
"""Key of the variant in the ``model_options`` of a MODEL."""
MAX_STEPS = 200
MAX_CFG = 100.0
MAX_SHIFT = 100.0
MAX_SEED = 2**64 - 1
MIN_DENOISE = 0.01
"""The schedule has steps / denoise levels, so a tiny value would exhaust the memory."""
TOLERANCE = 4.0
"""Difference in 0..255 up to which a pixel of an edit may count as unchanged."""


@dataclass(frozen=True)
class Preset:
    """Steps, cfg (= guidance + 1) and flow shift of one variant."""

    steps: int
    cfg: float
    shift: float


PRESETS = {
    TURBO: Preset(steps=8, cfg=1.0, shift=3.0),
    BASE: Preset(steps=28, cfg=5.0, shift=6.0),
    EDIT: Preset(steps=50, cfg=5.0, shift=6.0),
}


@dataclass(frozen=True)
class SamplingSettings:
    """All inputs of a run, apart from model, conditioning and latent.

    Attributes:
        variant: the preset that default values come from, a key of :data:`PRESETS`.
        steps: function evaluations per guidance branch, 1 to :data:`MAX_STEPS`.
        cfg: ComfyUI's cfg, guidance + 1; at exactly 1 the negative prompt is not evaluated.
        shift: flow shift of the time schedule, as in ``ModelSamplingAuraFlow``.
        seed: seed of the noise, 0 to :data:`MAX_SEED`.
        sampler: name of a sampler of the host.
        scheduler: ``official``, or name of a scheduler of the host.
        denoise: part of the schedule that is run, 0.01 to 1.
    """

    variant: str
    steps: int
    cfg: float
    shift: float
    seed: int = 0
    sampler: str = "euler"
    scheduler: str = "official"
    denoise: float = 1.0

    def describe(self, width: int, height: int, batch: int) -> str:
        """Describe a run in a Chinese and an English line; sizes are in pixels."""
        guidance = f"cfg {self.cfg:g} = guidance {self.cfg - 1:g}"
        common = (
            f"Z-Image {self.variant.capitalize()} · {width}×{height} × {batch} · {guidance} · "
            f"shift {self.shift:g} · {self.sampler}/{self.scheduler} · seed {self.seed}"
        )
        denoise = "" if self.denoise >= 1 else f" · denoise {self.denoise:g}"
        negative = self.cfg != 1
        chinese = "使用负向提示词" if negative else "不使用负向提示词"
        english = "negative prompt used" if negative else "negative prompt not used"
        return (
            f"{common} · {self.steps} 步{denoise} · {chinese}\n"
            f"{common} · {self.steps} steps{denoise} · {english}"
        )


def resolve(
    *,
    model_variant: str,
    preset: str = AUTO,
    steps: int = -1,
    cfg: float = -1.0,
    shift: float = -1.0,
    seed: int = 0,
    sampler: str = "euler",
    scheduler: str = "official",
    denoise: float = 1.0,
) -> SamplingSettings:
    """Replace every value of -1 by that of the preset, and check all other values.

    Args:
        model_variant: the variant of the model; used when ``preset`` is ``auto``.
        preset: one of :data:`VARIANTS`.
        steps: see :class:`SamplingSettings`, as for the following ones.
        cfg: guidance + 1.
        shift: flow shift.
        seed: seed of the noise.
        sampler: name of the sampler.
        scheduler: name of the scheduler.
        denoise: part of the schedule that is run.

    Raises:
        ZImageError: ``ZI-STEPS`` or ``ZI-VALUE``.
    """
    if preset not in VARIANTS:
        raise _invalid_value("preset", preset, " | ".join(VARIANTS))
    variant = model_variant if preset == AUTO else preset
    if variant not in PRESETS:  # another node may have stored it
        name = Bilingual("模型的 variant", "variant of the model")
        raise _invalid_value(name, variant, " | ".join(PRESETS))
    defaults = PRESETS[variant]
    if steps != -1 and not 1 <= steps <= MAX_STEPS:
        raise ZImageError("ZI-STEPS", found=steps, maximum=MAX_STEPS, preset=defaults.steps)
    if cfg != -1 and not 1.0 <= cfg <= MAX_CFG:
        guidance = f"= guidance 0 … {MAX_CFG - 1:g}"
        raise _invalid_value("cfg", cfg, _or_preset(f"1 … {MAX_CFG:g} ({guidance})"))
    if shift != -1 and not 0.0 < shift <= MAX_SHIFT:
        raise _invalid_value("shift", shift, _or_preset(f"0 < shift ≤ {MAX_SHIFT:g}"))
    if not MIN_DENOISE <= denoise <= 1.0:
        raise _invalid_value("denoise", denoise, f"{MIN_DENOISE:g} … 1")
    if not 0 <= seed <= MAX_SEED:
        raise _invalid_value("seed", seed, f"0 … {MAX_SEED}")
    return SamplingSettings(
        variant=variant,
        steps=defaults.steps if steps == -1 else steps,
        cfg=defaults.cfg if cfg == -1 else cfg,
        shift=defaults.shift if shift == -1 else shift,
        seed=seed,
        sampler=sampler,
        scheduler=scheduler,
        denoise=denoise,
    )


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is not a number from 0 to 255.

    Raises:
        ZImageError: ``ZI-VALUE``.
    """
    if not 0 <= tolerance <= 255:
        raise _invalid_value("tolerance", tolerance, "0 … 255")


def _or_preset(expected: str) -> Bilingual:
    return Bilingual(f"{expected}，-1 为预设值", f"{expected}, -1 = preset")


def _invalid_value(name: Bilingual | str, found: object, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-VALUE", name=name, found=found, expected=expected)
