"""Key conversion: what comes out of official files is what ComfyUI's classes expect."""

import pytest
import torch

from zimage_comfyui.engine import layouts
from zimage_comfyui.errors import ZImageError


def transformer(dim: int = 4) -> dict[str, torch.Tensor]:
    """The names that change, of one block, in the official layout."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "all_x_embedder.2-1.weight": rand(dim, 64),
        "all_final_layer.2-1.adaLN_modulation.1.bias": rand(dim),
        "cap_embedder.1.weight": rand(dim, 3),
        "layers.0.attention.to_q.weight": rand(dim, dim),
        "layers.0.attention.to_k.weight": rand(dim, dim),
        "layers.0.attention.to_v.weight": rand(dim, dim),
        "layers.0.attention.to_out.0.weight": rand(dim, dim),
        "layers.0.attention.norm_q.weight": rand(2),
        "layers.0.attention.norm_k.weight": rand(2),
        "layers.0.attention_norm1.weight": rand(dim),
        "x_pad_token": rand(1, dim),
    }


def test_transformer_gets_fused_names():
    """Every official name turns into the name of ComfyUI's module."""
    assert set(layouts.to_comfy(transformer())) == {
        "x_embedder.weight",
        "final_layer.adaLN_modulation.1.bias",
        "cap_embedder.1.weight",
        "layers.0.attention.qkv.weight",
        "layers.0.attention.out.weight",
        "layers.0.attention.q_norm.weight",
        "layers.0.attention.k_norm.weight",
        "layers.0.attention_norm1.weight",
        "x_pad_token",
    }


def test_omni_weights_are_converted_alike():
    """SigLIP2's blocks are fused like the others, what is around them keeps its name."""
    names = ("siglip_embedder.1.weight", "siglip_pad_token")
    block = {k.replace("layers.", "siglip_refiner."): v for k, v in transformer().items()}
    converted = layouts.to_comfy({**transformer(), **block, **dict.fromkeys(names, torch.ones(1))})
    extra = {name for name in converted if name.startswith("siglip_")}
    parts = ("qkv", "out", "q_norm", "k_norm")
    fused = {f"siglip_refiner.0.attention.{part}.weight" for part in parts}
    assert extra == {*names, *fused, "siglip_refiner.0.attention_norm1.weight"}


def test_fused_tensor_splits_into_its_parts():
    """Query, key and value lie one after the other and come back exactly."""
    source = transformer()
    fused = layouts.to_comfy(source)["layers.0.attention.qkv.weight"]
    for part, tensor in zip("qkv", fused.chunk(3), strict=True):
        assert torch.equal(tensor, source[f"layers.0.attention.to_{part}.weight"])


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "transformer."])
def test_prefixes_are_taken_off(prefix: str):
    """Checkpoints that nest the model under a prefix give the same result."""
    plain = layouts.to_comfy(transformer())
    nested = layouts.to_comfy({prefix + k: v for k, v in transformer().items()})
    assert nested.keys() == plain.keys()


def test_comfy_layout_is_left_alone():
    """A converted dictionary converts to itself, scales included, sharing every tensor."""
    once = layouts.to_comfy(transformer())
    once["layers.0.attention.qkv.scale_weight"] = torch.tensor(2.0)
    twice = layouts.to_comfy(once)
    assert twice.keys() == once.keys()
    assert all(twice[k] is once[k] for k in once)


def test_input_is_not_changed():
    """Conversion is pure: the dictionary given stays as it was."""
    source = transformer()
    names = list(source)
    layouts.to_comfy(source)
    assert list(source) == names


def test_missing_part_is_an_error_naming_file_and_found():
    """A file without one of the three parts is refused with what was found."""
    source = transformer()
    del source["layers.0.attention.to_k.weight"]
    with pytest.raises(ZImageError, match=r"\[ZI-MODEL-KEYS\].*broken\.safetensors.*q\+v"):
        layouts.to_comfy(source, "broken.safetensors")


def test_plain_fp8_stays_fp8():
    """fp8 weights without scales are joined byte by byte."""
    source = {k: v.to(torch.float8_e4m3fn) for k, v in transformer().items()}
    fused = layouts.to_comfy(source)["layers.0.attention.qkv.weight"]
    assert fused.dtype == torch.float8_e4m3fn
    part = fused.chunk(3)[1].view(torch.uint8)
    assert torch.equal(part, source["layers.0.attention.to_k.weight"].view(torch.uint8))


@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_scaled_fp8_keeps_its_values(end: str):
    """Scales that differ between q, k and v are multiplied out, and none is left behind."""
    source = {k: v.to(torch.float8_e4m3fn) for k, v in transformer().items()}
    scales = {"q": 0.5, "k": 2.0, "v": 8.0}
    for part, scale in scales.items():
        source[f"layers.0.attention.to_{part}.{end}"] = torch.tensor(scale)
    source["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    out = layouts.to_comfy(source)
    assert not [k for k in out if "scale" in k]
    for (part, scale), got in zip(
        scales.items(), out["layers.0.attention.qkv.weight"].chunk(3), strict=True
    ):
        stored = source[f"layers.0.attention.to_{part}.weight"].float()
        assert torch.equal(got.float(), stored * scale)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_scale_per_row(shape: tuple[int, ...]):
    """A scale for each row multiplies the rows, also those of a square weight."""
    source = transformer(2)
    name = "layers.0.attention.to_out.0"
    source[f"{name}.weight"] = torch.ones(2, 2).to(torch.float8_e4m3fn)
    source[f"{name}.scale_weight"] = torch.tensor([2.0, 4.0]).reshape(shape)
    out = layouts.to_comfy(source)["layers.0.attention.out.weight"]
    assert out.tolist() == [[2, 2], [4, 4]]


@pytest.mark.parametrize("shape", [(1, 2), (3,), (2, 2), (0,)])
def test_scale_of_another_shape_is_refused(shape: tuple[int, ...]):
    """A scale for columns, blocks or another number of rows is a coded error."""
    source = transformer(2)
    source["layers.0.attention.to_q.scale_weight"] = torch.ones(shape)
    with pytest.raises(ZImageError, match=r"\[ZI-MODEL-KEYS\].*scaled\.safetensors.*to_q"):
        layouts.to_comfy(source, "scaled.safetensors")


def test_vae_up_blocks_are_counted_the_other_way():
    """The first up block of diffusers is the last of the LDM layout, for any number of levels."""
    names = {
        "decoder.conv_in.weight": "decoder.conv_in.weight",
        "decoder.up_blocks.0.resnets.1.conv_shortcut.b": "decoder.up.2.block.1.nin_shortcut.b",
        "decoder.up_blocks.2.upsamplers.0.conv.weight": "decoder.up.0.upsample.conv.weight",
        "decoder.mid_block.resnets.1.norm2.bias": "decoder.mid.block_2.norm2.bias",
        "encoder.down_blocks.1.resnets.0.conv1.weight": "encoder.down.1.block.0.conv1.weight",
        "encoder.down_blocks.0.downsamplers.0.conv.bias": "encoder.down.0.downsample.conv.bias",
        "encoder.conv_norm_out.weight": "encoder.norm_out.weight",
    }
    out = layouts.vae_to_comfy({name: torch.zeros(1) for name in names})
    assert set(out) == set(names.values())


def test_vae_attention_becomes_convolutions():
    """Projections of shape [C, C] turn into 1x1 convolutions, biases stay."""
    source = {
        "decoder.conv_in.weight": torch.zeros(1),
        "decoder.up_blocks.0.resnets.0.norm1.bias": torch.zeros(1),
        "decoder.mid_block.attentions.0.to_q.weight": torch.arange(4.0).reshape(2, 2),
        "decoder.mid_block.attentions.0.to_out.0.bias": torch.zeros(2),
        "decoder.mid_block.attentions.0.group_norm.weight": torch.zeros(2),
    }
    out = layouts.vae_to_comfy(source)
    assert out["decoder.mid.attn_1.q.weight"].shape == (2, 2, 1, 1)
    assert out["decoder.mid.attn_1.proj_out.bias"].shape == (2,)
    assert out["decoder.mid.attn_1.norm.weight"].shape == (2,)


def test_text_encoder_gets_its_prefix_and_loses_its_head():
    """A bare model and a language model give the same names."""
    bare = {"embed_tokens.weight": torch.zeros(1), "layers.0.mlp.up_proj.weight": torch.zeros(1)}
    full = {f"model.{k}": v for k, v in bare.items()} | {"lm_head.weight": torch.zeros(1)}
    assert set(layouts.text_to_comfy(bare)) == set(layouts.text_to_comfy(full))
    assert "lm_head.weight" not in layouts.text_to_comfy(full)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (transformer().keys(), ("diffusion", "diffusers")),
        (["model.diffusion_model.cap_embedder.1.weight"], ("diffusion", "comfy")),
        (["decoder.conv_in.weight"], ("vae", "comfy")),
        (["vae.decoder.conv_in.weight", "vae.decoder.up_blocks.0.x"], ("vae", "diffusers")),
        (["model.embed_tokens.weight"], ("text_encoder", "hf")),
        (["blocks.0.weight"], ("unknown", "unknown")),
        ([], ("unknown", "unknown")),
    ],
)
def test_detect(names, expected):
    """Kind and layout follow from the names alone."""
    assert layouts.detect(names) == expected


@pytest.mark.parametrize(
    "part",
    [torch.zeros(4, 5), torch.zeros(4), torch.tensor(1.0), torch.zeros(4, 4).to(torch.float8_e5m2)],
    ids=["columns", "rank", "scalar", "type"],
)
def test_parts_that_do_not_fit_are_refused(part: torch.Tensor):
    """Query, key and value that cannot be joined are named with their shapes or types."""
    source = {**transformer(), "layers.0.attention.to_k.weight": part}
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*layers\.0\.attention\.qkv\.weight"):
        layouts.to_comfy(source)


def test_integers_are_not_multiplied_out():
    """What a packed format means is not known here; the type stays, to be refused later."""
    source = transformer()
    source["layers.0.attention.to_out.0.weight"] = torch.zeros(4, 2, dtype=torch.uint8)
    source["layers.0.attention.to_out.0.weight_scale"] = torch.tensor(2.0)
    assert layouts.to_comfy(source)["layers.0.attention.out.weight"].dtype == torch.uint8


@pytest.mark.parametrize(
    "name", ["decoder.up_blocks.x", f"decoder.up_blocks.{'9' * 5000}.resnets.0"]
)
def test_vae_without_numbered_up_blocks(name: str):
    """Nothing to count is no crash; what is missing is said by the check of the shapes."""
    out = layouts.vae_to_comfy({"decoder.conv_in.weight": torch.zeros(1), name: torch.zeros(1)})
    assert name in out
