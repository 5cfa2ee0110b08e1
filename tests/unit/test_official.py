"""Official configurations in ComfyUI's terms."""

import pytest

from zimage_comfyui.engine import official
from zimage_comfyui.errors import ZImageError

TRANSFORMER = {
    "all_patch_size": [2],
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "cap_feat_dim": 2560,
    "dim": 3840,
    "n_heads": 30,
    "n_layers": 30,
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "latent_channels": 16,
    "layers_per_block": 2,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}


@pytest.mark.parametrize("dim", [1024, 1152, 3840])
def test_feed_forward_width_is_the_official_one(dim: int):
    """ComfyUI multiplies and rounds down; the result is int(dim / 3 * 8) for every width."""
    config = official.nextdit_config(TRANSFORMER | {"dim": dim})
    assert int(config["ffn_dim_multiplier"] * dim) == int(dim / 3 * 8)


def test_narrow_transformer_is_refused():
    """Below 1024 the two code bases build different timestep embedders."""
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        official.nextdit_config(TRANSFORMER | {"dim": 384})


def test_vae_levels():
    """Widths become multiples of the first."""
    config = official.vae_config(VAE)
    assert config["embed_dim"] == 16
    assert config["ddconfig"]["ch"] == 128
    assert config["ddconfig"]["ch_mult"] == [1, 2, 4, 4]


@pytest.mark.parametrize("wrong", [{"scaling_factor": 0.18215}, {"block_out_channels": [96, 100]}])
def test_other_vae_is_refused(wrong):
    """Another latent scaling or an uneven width is another model."""
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        official.vae_config(VAE | wrong)


def test_text_encoder_of_other_heads_is_refused():
    """ComfyUI takes heads of 128 as given."""
    with pytest.raises(ZImageError, match="head_dim"):
        official.qwen3_config({"head_dim": 64})


@pytest.mark.parametrize(("shift", "variant"), [(3.0, "turbo"), (6.0, "base")])
def test_variant_follows_from_the_shift(shift: float, variant: str):
    """The scheduler's shift tells the variants apart."""
    assert official.variant_of({"shift": shift}) == variant
