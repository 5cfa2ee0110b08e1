"""Presets, overrides, and the refusal of values that cannot be sampled with."""

from __future__ import annotations

from typing import Any

import pytest

from zimage_comfyui.engine import presets, sizes
from zimage_comfyui.errors import ZImageError


def test_presets_are_the_official_ones() -> None:
    """Turbo: 8 steps without guidance; Base: 28 steps at guidance 4, Edit 50."""
    turbo = presets.resolve(model_variant="turbo")
    base = presets.resolve(model_variant="base")
    assert (turbo.steps, turbo.cfg, turbo.shift) == (8, 1.0, 3.0)
    assert (base.steps, base.cfg, base.shift) == (28, 5.0, 6.0)
    assert presets.resolve(model_variant="edit").steps == 50


def test_every_value_can_be_overridden() -> None:
    """A given value wins over the preset, a given preset over the model's variant."""
    found = presets.resolve(model_variant="turbo", preset="base", cfg=4.0, seed=7, denoise=0.5)
    assert (found.variant, found.steps, found.cfg, found.shift) == ("base", 28, 4.0, 6.0)
    assert (found.seed, found.denoise) == (7, 0.5)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"steps": 0}, "ZI-STEPS"),
        ({"steps": -2}, "ZI-STEPS"),
        ({"steps": 10**9}, "ZI-STEPS"),
        ({"cfg": 0.0}, "ZI-VALUE"),
        ({"cfg": 0.99}, "ZI-VALUE"),
        ({"cfg": float("nan")}, "ZI-VALUE"),
        ({"cfg": float("inf")}, "ZI-VALUE"),
        ({"shift": 0.0}, "ZI-VALUE"),
        ({"shift": float("nan")}, "ZI-VALUE"),
        ({"denoise": 0.0}, "ZI-VALUE"),
        ({"denoise": 1.5}, "ZI-VALUE"),
        ({"seed": -1}, "ZI-VALUE"),
        ({"seed": 2**64}, "ZI-VALUE"),
        ({"preset": "omni"}, "ZI-VALUE"),
    ],
)
def test_impossible_values(change: dict[str, Any], code: str) -> None:
    """Each is refused with its code."""
    with pytest.raises(ZImageError) as caught:
        presets.resolve(model_variant="turbo", **change)
    assert caught.value.code == code


def test_the_message_names_the_wrong_value() -> None:
    """The variant that a model has is not called a preset, and the preset is not a variant."""
    with pytest.raises(ZImageError) as caught:
        presets.resolve(model_variant="omni")
    assert "模型的 variant = omni" in caught.value.chinese
    assert "variant of the model = omni; expected turbo | base | edit" in caught.value.english
    with pytest.raises(ZImageError, match=r"preset = omni.* auto \| turbo"):
        presets.resolve(model_variant="turbo", preset="omni")
    assert presets.resolve(model_variant="omni", preset="base").variant == "base"


def test_expectations_are_in_both_languages() -> None:
    """A Chinese message has no English words but the names of values."""
    for change in ({"cfg": 0.0}, {"shift": 0.0}):
        with pytest.raises(ZImageError) as caught:
            presets.resolve(model_variant="turbo", **change)
        assert "-1 为预设值" in caught.value.chinese
        assert "-1 = preset" in caught.value.english


def test_description_states_guidance_in_both_languages() -> None:
    """cfg and guidance stand side by side, and whether the negative prompt counted."""
    chinese, english = presets.resolve(model_variant="base").describe(64, 80, 2).splitlines()
    assert "cfg 5 = guidance 4" in chinese
    assert "28 步" in chinese
    assert "使用负向提示词" in chinese
    assert "28 steps · negative prompt used" in english
    assert "not used" in presets.resolve(model_variant="turbo").describe(64, 64, 1)


def test_every_listed_size_is_possible() -> None:
    """Multiples of 16, the label says what it gives, landscape and portrait both."""
    for label, (width, height) in sizes.SIZES.items():
        assert sizes.resolve(label, 0, 0) == (width, height)
        assert label.startswith(f"{width}x{height} (")
        assert (height, width) in sizes.SIZES.values()
        across, down = (int(part) for part in label.split("(")[1].rstrip(")").split(":"))
        assert width / height == pytest.approx(across / down, rel=0.06)


@pytest.mark.parametrize(
    ("width", "height"),
    [(0, 0), (0, 512), (-16, 512), (48, 512), (1000, 512), (512, 1001), (4112, 512), (2**40, 16)],
)
def test_impossible_sizes(width: int, height: int) -> None:
    """Zero, negative, huge, and what is not a multiple of 16."""
    with pytest.raises(ZImageError, match="ZI-SIZE") as caught:
        sizes.resolve("custom", width, height)
    assert f"{width}×{height}" in str(caught.value)


def test_custom_size_and_batch() -> None:
    """The limits themselves are allowed, one beyond is not; an unknown label is named."""
    assert sizes.resolve("custom", 64, 4096) == (64, 4096)
    assert sizes.check_batch(sizes.MAX_BATCH) == sizes.MAX_BATCH
    for batch in (0, -1, sizes.MAX_BATCH + 1):
        with pytest.raises(ZImageError, match="ZI-BATCH"):
            sizes.check_batch(batch)
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        sizes.resolve("1x1", 64, 64)
