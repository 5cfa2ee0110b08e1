"""Every layout that users have loads to the same model; what does not fit is named by its code."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import family, official

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def models(comfy_modules, tmp_path_factory) -> Path:
    """The tiny family in files."""
    return family.family(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def turbo(models: Path) -> Path:
    return models / "diffusion_models" / "tiny-turbo.safetensors"


@pytest.fixture(scope="module")
def qwen(models: Path) -> Path:
    return models / "text_encoders" / "tiny-qwen3.safetensors"


@pytest.fixture(scope="module")
def flux(models: Path) -> Path:
    return models / "vae" / "tiny-ae.safetensors"


def unfused(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names and split projections of the official files."""
    out = {}
    for name, tensor in state.items():
        if name.endswith("attention.qkv.weight"):
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                out[name.replace("qkv", f"to_{part}")] = piece.contiguous()
        elif name != "norm_final.weight":
            for new, old in (("attention.to_out.0.", "attention.out."), ("all_x_embedder.2-1.",
                "x_embedder."), ("all_final_layer.2-1.", "final_layer."),
                (".norm_q.", ".q_norm."), (".norm_k.", ".k_norm.")):  # fmt: skip
                name = name.replace(old, new)
            out[name] = tensor
    return out


def weights_of(model) -> dict[str, torch.Tensor]:
    state = model.model.diffusion_model.state_dict()
    return {name: tensor for name, tensor in state.items() if name != "norm_final.weight"}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def latent_of(model, seed: int = 5) -> torch.Tensor:
    """Two steps on fixed conditioning."""
    from zimage_comfyui.engine import presets, sampling

    features = torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(1))
    settings = presets.resolve(model_variant="turbo", steps=2, seed=seed)
    empty = {"samples": torch.zeros(1, 16, 6, 10)}
    return sampling.sample(model, [[features, {}]], None, empty, settings)["samples"]


def test_official_and_fused_layout_draw_the_same(turbo: Path, tmp_path: Path) -> None:
    """One file, a prefixed file and a folder of shards, split and fused: equal to the bit."""
    from zimage_comfyui.engine import checkpoints

    reference = checkpoints.load_model(turbo)
    state = load_file(turbo)
    split = unfused(state)
    save_file(split, tmp_path / "split_turbo.safetensors")
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in state.items()}
    save_file(prefixed, tmp_path / "prefixed.safetensors")
    folder = tmp_path / "Some-Turbo" / "transformer"
    folder.mkdir(parents=True)
    names = sorted(split)  # q, k and v of one layer end up in different files
    parts = {"a-1.safetensors": names[::2], "a-2.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: split[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "a.safetensors.index.json").write_text(json.dumps(index))
    for path in (tmp_path / "split_turbo.safetensors", tmp_path / "prefixed.safetensors", folder):
        model = checkpoints.load_model(path)
        assert_same(weights_of(model), weights_of(reference))
        assert torch.equal(latent_of(model), latent_of(reference))
        assert checkpoints.variant_of(model) == ("base" if path.stem == "prefixed" else "turbo")


def test_variant_travels_and_can_be_set(turbo: Path) -> None:
    """The declared variant survives the clones that LoRA and other nodes make."""
    from zimage_comfyui.engine import checkpoints

    assert checkpoints.variant_of(checkpoints.load_model(turbo).clone().clone()) == "turbo"
    assert checkpoints.variant_of(checkpoints.load_model(turbo, "base").clone()) == "base"


def test_precisions(turbo: Path) -> None:
    """bf16 weights are the file's own, so the CPU draws as with fp32; fp8 is near it."""
    from zimage_comfyui.engine import checkpoints

    exact = latent_of(checkpoints.load_model(turbo, dtype="fp32"))
    for dtype, kind in (("bf16", torch.bfloat16), ("fp8_e4m3fn", torch.float8_e4m3fn)):
        model = checkpoints.load_model(turbo, dtype=dtype)
        assert model.model.diffusion_model.layers[0].feed_forward.w1.weight.dtype == kind
        difference = (latent_of(model) - exact).abs().mean() / exact.abs().mean()
        assert difference < (1e-4 if dtype == "bf16" else 0.2)


def test_text_encoder_layouts(qwen: Path, tmp_path: Path) -> None:
    """Compact and full embedding, with and without prefix: the same features."""
    from zimage_comfyui.engine import checkpoints, conditioning

    reference = checkpoints.load_text_encoder(qwen, expected_width=128)
    full = reference.cond_stage_model.qwen3_4b.transformer.state_dict()
    bare = {name.removeprefix("model."): t.clone() for name, t in full.items()}
    save_file({**bare, "lm_head.weight": torch.zeros(4, 128)}, tmp_path / "model.safetensors")
    other = checkpoints.load_text_encoder(tmp_path)
    for prompt in ("一只红色的猫", "", "(x:1.2) 🦊\n"):
        a, b = (conditioning.encode(clip, prompt)[0][0] for clip in (reference, other))
        assert torch.equal(a, b)
    assert not torch.equal(a, conditioning.encode(other, "y")[0][0])


def test_vae_layouts(models: Path, flux: Path, tmp_path: Path) -> None:
    """A TAESD with and without metadata, a Flux one: 16 channels, pictures of 8x the size."""
    from zimage_comfyui.engine import checkpoints, decoding

    save_file(load_file(flux), tmp_path / "taef1.safetensors")
    pictures = []
    for path in (flux, tmp_path / "taef1.safetensors", models / "vae" / "tiny-flux-ae.safetensors"):
        vae = checkpoints.load_vae(path)
        assert vae.latent_channels == 16
        pictures.append(decoding.decode_bytes(vae, torch.ones(1, 16, 2, 3)))
        assert pictures[-1].shape == (1, 16, 24, 3)
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def broken(path: Path, target: Path, change, metadata: dict | None = None) -> Path:
    """A copy of a file with its tensors changed in place by ``change``."""
    state = load_file(path)
    change(state)
    save_file(state, target, metadata)
    return target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("layers.1.feed_forward.w2.weight"), "layers.1.feed_forward.w2.weight"),
        (lambda s: s.update({"final_layer.linear.bias": torch.zeros(65)}), r"\[65\].*\[64\]"),
        (lambda s: s.pop("x_pad_token"), "x_pad_token"),
    ],
    ids=["missing", "shape", "pad token"],
)
def test_incomplete_model(turbo: Path, tmp_path: Path, change, words: str) -> None:
    """A missing tensor or a wrong shape is named before any weight is read."""
    from zimage_comfyui.engine import checkpoints

    path = broken(turbo, tmp_path / "m.safetensors", change)
    with pytest.raises(ZImageError, match=f"ZI-MODEL-KEYS.*{words}"):
        checkpoints.load_model(path)


@pytest.mark.parametrize(
    "config",
    [{"dim": 512}, {"n_layers": 10**9}, {"axes_dims": [64]}, {"axes_dims": "x"},
     {"rope_theta": "256"}, {"time_scale": -1}, []],
    ids=str,
)  # fmt: skip
def test_lying_configuration(turbo: Path, tmp_path: Path, config) -> None:
    """Metadata that contradicts the tensors is refused."""
    from zimage_comfyui.engine import checkpoints

    metadata = {"zimage": json.dumps({"config": config})}
    path = broken(turbo, tmp_path / "m.safetensors", lambda state: None, metadata)
    with pytest.raises(ZImageError, match="ZI-MODEL-KEYS"):
        checkpoints.load_model(path)


def test_wrong_file_for_an_input(turbo: Path, qwen: Path, flux: Path) -> None:
    """Each file chosen for another input is recognised for what it is."""
    from zimage_comfyui.engine import checkpoints

    cases = [
        (checkpoints.load_model, qwen, "Qwen3"),
        (checkpoints.load_model, flux, "VAE"),
        (checkpoints.load_text_encoder, turbo, "Z-Image"),
        (checkpoints.load_vae, qwen, "Qwen3"),
    ]
    for load, path, found in cases:
        with pytest.raises(ZImageError, match=f"ZI-MODEL-KIND.*{found}"):
            load(path)
    with pytest.raises(ZImageError, match=r"ZI-TEXT-WIDTH.*128.*2560"):
        checkpoints.load_text_encoder(qwen, expected_width=2560)


def test_embedding_ids_out_of_range(qwen: Path, tmp_path: Path) -> None:
    """Token ids beyond the vocabulary, or fewer than rows, are refused."""
    from zimage_comfyui.engine import checkpoints

    name = "model.embed_tokens.ids"
    for bad in (torch.full((7,), 151936), torch.full((7,), -1), torch.arange(3)):
        path = broken(qwen, tmp_path / "t.safetensors", lambda s, b=bad: s.update({name: b}))
        with pytest.raises(ZImageError, match="ZI-MODEL-KEYS"):
            checkpoints.load_text_encoder(path)


def full_size_file(path: Path, module: torch.nn.Module, prefix: str = "") -> Path:
    """A sparse file that takes no disk space and has a true header of a full-size model."""
    header, end = {}, 0
    for name, tensor in module.state_dict().items():
        size = prod(tensor.shape) * 2
        entry = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        header[prefix + name] = entry
        end += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)
    return path


@pytest.fixture(scope="module")
def on_meta() -> dict[str, torch.nn.Module]:
    """The published models as diffusers and transformers build them, without memory."""
    with torch.device("meta"):
        return {
            "diffusion": official.transformer(official.FULL),
            "text_encoder": official.text_encoder(official.FULL),
            "vae": official.vae(official.FULL),
        }


def test_official_files_at_full_size_fit(comfy_modules, on_meta, tmp_path: Path) -> None:
    """Headers of the real files in the official layout pass every check, with the real sizes."""
    from zimage_comfyui.engine import inspection

    files = {
        kind: full_size_file(tmp_path / f"{kind}.safetensors", module)
        for kind, module in on_meta.items()
    }
    assert files["diffusion"].stat().st_size > 12e9
    config = inspection.diffusion(files["diffusion"]).config
    assert (config["dim"], config["n_layers"], config["cap_feat_dim"]) == (3840, 30, 2560)
    config = inspection.text_encoder(files["text_encoder"], expected_width=2560).config
    assert (config["num_hidden_layers"], config["num_attention_heads"]) == (36, 32)
    config = inspection.vae(files["vae"]).config["ddconfig"]
    assert (config["ch"], config["ch_mult"], config["num_res_blocks"]) == (128, [1, 2, 4, 4], 2)


def test_comfyui_files_at_full_size_fit(comfy_modules, on_meta, tmp_path: Path) -> None:
    """The same for the fused layout, whose names are those of the host's own classes."""
    import comfy.ops
    from comfy.ldm.lumina.model import NextDiT
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    from zimage_comfyui.engine import inspection

    plan = inspection.diffusion(
        full_size_file(tmp_path / "official.safetensors", on_meta["diffusion"])
    )
    operations = comfy.ops.disable_weight_init
    arguments = {**plan.config, "device": "meta", "dtype": torch.bfloat16}
    fused = full_size_file(
        tmp_path / "z_image_turbo_bf16.safetensors", NextDiT(**arguments, operations=operations)
    )
    assert inspection.diffusion(fused).config == plan.config
    prefix = "model."
    qwen = full_size_file(tmp_path / "qwen_3_4b.safetensors", on_meta["text_encoder"], prefix)
    assert inspection.text_encoder(qwen).config["hidden_size"] == 2560
    params = inspection.vae(full_size_file(tmp_path / "v.safetensors", on_meta["vae"])).config
    base = "comfy.ldm.modules.diffusionmodules.model"
    engine = "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"
    with torch.device("meta"):
        ae = AutoencodingEngine(
            regularizer_config={"target": engine},
            encoder_config={"target": f"{base}.Encoder", "params": params["ddconfig"]},
            decoder_config={"target": f"{base}.Decoder", "params": params["ddconfig"]},
        )
    assert inspection.vae(full_size_file(tmp_path / "ae.safetensors", ae)).config == params
