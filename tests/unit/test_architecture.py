"""What a file holds is read from names and shapes alone."""

from __future__ import annotations

import pytest

from zimage_comfyui.engine import architecture
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes.shapes import TEXT

DIFFUSION = {
    "cap_embedder.1.weight": (3840, 2560),
    "x_embedder.weight": (3840, 64),
    "cap_pad_token": (1, 3840),
    **{f"noise_refiner.{i}.x": (1,) for i in range(2)},
    **{f"layers.{i}.x": (1,) for i in range(30)},
    "layers.0.adaLN_modulation.0.weight": (15360, 256),
    "layers.0.attention.q_norm.weight": (128,),
    "layers.0.attention.qkv.weight": (11520, 3840),
    "layers.0.feed_forward.w1.weight": (10240, 3840),
}
VAE = {
    "encoder.conv_in.weight": (128, 3, 3, 3),
    "decoder.conv_in.weight": (512, 16, 3, 3),
    "decoder.norm_out.weight": (128,),
    **{f"decoder.up.{i}.block.{j}.x": (1,) for i in range(4) for j in range(3)},
    **{
        f"decoder.up.{i}.block.0.conv2.weight": (width, width, 3, 3)
        for i, width in enumerate((128, 256, 512, 512))
    },
}


def code_of(function, shapes) -> str:
    with pytest.raises(ZImageError) as caught:
        function(shapes, "file.safetensors")
    return caught.value.code


def test_official_transformer() -> None:
    """The published sizes come out of the published shapes."""
    config = architecture.diffusion_config(DIFFUSION, "f")
    assert (config["dim"], config["n_layers"], config["n_refiner_layers"]) == (3840, 30, 2)
    assert (config["n_heads"], config["n_kv_heads"], config["axes_dims"]) == (30, 30, [32, 48, 48])
    assert config["pad_tokens_multiple"] == 32
    assert int(config["ffn_dim_multiplier"] * 3840) == 10240


def test_omni_transformer() -> None:
    """SigLIP2's width is read where there are weights for it, and not mentioned elsewhere."""
    omni = {**DIFFUSION, "siglip_embedder.1.weight": (3840, 1152)}
    assert architecture.diffusion_config(omni, "f")["siglip_feat_dim"] == 1152
    assert "siglip_feat_dim" not in architecture.diffusion_config(DIFFUSION, "f")
    wrong = {**DIFFUSION, "siglip_embedder.1.weight": (1152,)}
    assert code_of(architecture.diffusion_config, wrong) == "ZI-MODEL-KEYS"


def test_official_text_encoder_and_vae() -> None:
    """Qwen3-4B and the Flux autoencoder likewise."""
    assert architecture.text_encoder_config(TEXT, "f") == {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    config = architecture.vae_config(VAE, "f")["ddconfig"]
    assert (config["ch"], config["ch_mult"], config["num_res_blocks"]) == (128, [1, 2, 4, 4], 2)
    tiny = architecture.vae_config({"taesd_decoder.1.weight": (64, 16, 3, 3)}, "f")
    assert tiny == {"latent_channels": 16}


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "SDXL"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["transformer.layers.0.attention.to_q.lora_A.weight"], "LoRA"),
        (["lora_unet_layers_0_attention_to_q.lora_down.weight"], "LoRA"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "CLIP"),
        (["encoder.block.0.layer.0.SelfAttention.k.weight"], "T5"),
        (["model.layers.0.self_attn.k_proj.bias"], "Qwen2"),
        (["model.layers.0.post_feedforward_layernorm.weight"], "Gemma"),
        (["decoder.conv_in.weight"], "VAE"),
        (["something.else"], "something.else"),
        ([], "no tensors"),
    ],
)
def test_other_models_are_named(names: list[str], kind: str) -> None:
    """The error for a wrong file says what it is, whichever input it was chosen for."""
    found = architecture.describe(names)
    assert kind in found.english
    assert kind in found.chinese or kind == "no tensors"
    shapes = dict.fromkeys(names, (1, 1))
    for function in (architecture.diffusion_config, architecture.text_encoder_config):
        assert code_of(function, shapes) == "ZI-MODEL-KIND"


def test_relatives_are_not_taken_for_z_image() -> None:
    """Lumina 2 has the same names, Gemma 3 has query norms too, SD's VAEs have four channels."""
    lumina = {**DIFFUSION, "layers.0.adaLN_modulation.0.weight": (9216, 1024)}
    assert code_of(architecture.diffusion_config, lumina) == "ZI-MODEL-KIND"
    gemma = {**TEXT, "model.layers.0.post_feedforward_layernorm.weight": (2560,)}
    assert code_of(architecture.text_encoder_config, gemma) == "ZI-MODEL-KIND"
    tiny = {"taesd_decoder.1.weight": (64, 4, 3, 3)}
    assert code_of(architecture.vae_config, tiny) == "ZI-MODEL-KIND"
    sd = {**VAE, "decoder.conv_in.weight": (512, 4, 3, 3)}
    assert code_of(architecture.vae_config, sd) == "ZI-MODEL-KIND"


@pytest.mark.parametrize(
    ("function", "shapes", "name", "shape"),
    [
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.q_norm.weight", None),
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.q_norm.weight", (0,)),
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.qkv.weight", (11521, 3840)),
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.qkv.weight", (3840, 3840)),
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.qkv.weight", (256, 3840)),
        (architecture.diffusion_config, DIFFUSION, "layers.0.attention.qkv.weight", (5632, 3840)),
        (architecture.diffusion_config, DIFFUSION, "cap_embedder.1.weight", (3840,)),
        (architecture.diffusion_config, DIFFUSION, "x_embedder.weight", (3840, 63)),
        (architecture.diffusion_config, DIFFUSION, "x_embedder.weight", (3840, 128)),
        (architecture.text_encoder_config, TEXT, "model.embed_tokens.weight", None),
        (architecture.text_encoder_config, TEXT, "model.layers.0.self_attn.q_norm.weight", (64,)),
        (architecture.text_encoder_config, TEXT, "model.layers.2.x", None),
        (architecture.text_encoder_config, TEXT, "model.layers.0.self_attn.k_proj.weight", (0, 1)),
        (
            architecture.text_encoder_config,
            TEXT,
            "model.layers.0.self_attn.k_proj.weight",
            (384, 1),
        ),
        (architecture.vae_config, VAE, "decoder.norm_out.weight", None),
        (architecture.vae_config, VAE, "encoder.conv_in.weight", (0, 3, 3, 3)),
        (architecture.vae_config, VAE, "encoder.conv_in.weight", (16, 3, 3, 3)),
        (architecture.vae_config, VAE, "decoder.up.1.block.0.conv2.weight", (200, 200, 3, 3)),
    ],
)
def test_impossible_shapes(function, shapes, name: str, shape) -> None:
    """A missing or impossible tensor is a coded error, never an arithmetic one."""
    broken = {key: value for key, value in shapes.items() if key != name}
    if shape is not None:
        broken[name] = shape
    assert code_of(function, broken) == "ZI-MODEL-KEYS"


def test_declared_configuration() -> None:
    """Absent is empty; present it has to be a JSON object."""
    assert architecture.declared({}, "f") == {}
    assert architecture.declared({"zimage": '{"variant": "base"}'}, "f") == {"variant": "base"}
    for text in ("", "[1]", "{", "[" * 100_000):
        with pytest.raises(ZImageError, match="ZI-FILE-CORRUPT"):
            architecture.declared({"zimage": text}, "f")


def test_no_width_at_all() -> None:
    """Sizes of 0, and an autoencoder without levels."""
    empty = {**DIFFUSION, "cap_embedder.1.weight": (0, 2560)}
    empty["layers.0.adaLN_modulation.0.weight"] = (0, 0)
    assert code_of(architecture.diffusion_config, empty) == "ZI-MODEL-KEYS"
    flat = {name: shape for name, shape in VAE.items() if not name.startswith("decoder.up.")}
    assert code_of(architecture.vae_config, flat) == "ZI-MODEL-KEYS"


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (architecture.DIFFUSION, "n_refiner_layers", 3),
        (architecture.DIFFUSION, "n_kv_heads", 10),
        (architecture.DIFFUSION, "rope_theta", 10000.0),
        (architecture.DIFFUSION, "multiple_of", 1),
        (architecture.TEXT_ENCODER, "vocab_size", 152064),
        (architecture.TEXT_ENCODER, "intermediate_size", 9216),
        (architecture.TEXT_ENCODER, "num_key_value_heads", 4),
    ],
)
def test_full_size_is_judged_by_every_field(kind: str, key: str, value: object) -> None:
    """The host's loader takes all of them for granted, so one that differs is described to it."""
    own = {
        architecture.DIFFUSION: architecture.diffusion_config(DIFFUSION, "f"),
        architecture.TEXT_ENCODER: architecture.text_encoder_config(TEXT, "f"),
    }[kind]
    assert architecture.is_full(kind, own)
    assert not architecture.is_full(kind, {**own, key: value})


def test_vocabulary_covers_the_template() -> None:
    """Without a row for <|im_end|> every prompt would end in an index error."""
    architecture.check_vocabulary(151646, "f")
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*151645 token.*>= 151646"):
        architecture.check_vocabulary(151645, "f")


@pytest.mark.parametrize(
    "error",
    [ValueError(""), TypeError("x"), RuntimeError("a\nb"), IndexError(), OverflowError("x" * 999),
     KeyError("k")],
    ids=repr,
)  # fmt: skip
def test_anything_else_becomes_coded(error: Exception) -> None:
    """What no single check foresaw keeps its name and fits on one line; coded errors pass."""
    words = f"ZI-MODEL-KEYS.*{type(error).__name__}"
    with pytest.raises(ZImageError, match=words) as caught, architecture.coded("f"):
        raise error
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(ZImageError, match="ZI-FILE-CORRUPT"), architecture.coded("f"):
        raise ZImageError("ZI-FILE-CORRUPT", path="f", found="x", expected="y")


def test_long_names_are_cut() -> None:
    """A name fills no screen."""
    found = architecture.describe(["x" * 10_000])
    assert max(len(found.chinese), len(found.english)) < 120


ENCODERS = {
    architecture.CLIP: ("token_embedding", "position_embedding", "encoder.layers.0.mlp.fc1"),
    architecture.BERT: (
        "word_embeddings",
        "position_embeddings",
        "encoder.layer.0.intermediate.dense",
    ),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_of_the_dual_encoder(kind: str) -> None:
    """Sizes come from the shapes, and an impossible one is refused in both languages."""
    words, places, middle = ENCODERS[kind]
    shapes = {
        f"embeddings.{words}.weight": (100, 128),
        f"embeddings.{places}.weight": (77, 128),
        f"{middle}.weight": (512, 128),
    }
    if kind == architecture.BERT:
        shapes["embeddings.token_type_embeddings.weight"] = (2, 128)
    found = architecture.encoder_config(kind, shapes, "f", shapes)
    assert (found["hidden_size"], found["num_attention_heads"]) == (128, 2)
    shapes[f"embeddings.{places}.weight"] = (76, 128)
    with pytest.raises(ZImageError, match="ZI-MODEL-KEYS") as caught:
        architecture.encoder_config(kind, shapes, "f", shapes)
    assert "宽 128，76 个位置" in caught.value.chinese
    assert "128 wide, 76 positions" in caught.value.english
    with pytest.raises(ZImageError, match="ZI-MODEL-KIND"):
        architecture.encoder_config(kind, {}, "f", [])
