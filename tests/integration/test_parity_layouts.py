"""Official weights fit ComfyUI's own classes, at full size without memory and at a small size."""

import pytest
import torch

from zimage_comfyui.engine import layouts
from zimage_comfyui.tests.fakes import official

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def host_transformer(config: dict, device: str) -> torch.nn.Module:
    from comfy import ops
    from comfy.ldm.lumina.model import NextDiT

    return NextDiT(**config, device=device, dtype=torch.float32, operations=ops.disable_weight_init)


@pytest.fixture(scope="module")
def full_transformer(comfy_modules) -> dict[str, torch.Tensor]:
    """The published configuration as diffusers builds it, converted."""
    with torch.device("meta"):
        return layouts.to_comfy(official.transformer(official.FULL).state_dict())


def test_full_size_transformer_is_recognised_by_the_host(full_transformer):
    """The host's detection takes the converted names for Z-Image and finds its configuration."""
    from comfy import model_detection

    found = model_detection.model_config_from_unet(full_transformer, "")
    assert type(found).__name__ == "ZImage"
    assert found.unet_config["dim"] == 3840
    assert found.unet_config["n_layers"] == 30
    assert found.unet_config["pad_tokens_multiple"] == 32


def test_full_size_transformer_has_the_hosts_names_and_shapes(full_transformer):
    """Every one of the 6.15 G parameters has its place; only the unused norm is not in the file."""
    from comfy import model_detection

    config = model_detection.detect_unet_config(full_transformer, "")
    config.pop("image_model")
    expected = shapes(host_transformer(config, "meta").state_dict())
    found = shapes(full_transformer)
    assert expected.keys() - found.keys() <= layouts.MAY_BE_MISSING
    assert found == {name: expected[name] for name in found}
    assert sum(tensor.numel() for tensor in full_transformer.values()) == pytest.approx(
        6.155e9, rel=1e-3
    )


def test_full_size_transformer_matches_our_own_detection(full_transformer):
    """Our description from shapes builds the same module as the host's own."""
    from zimage_comfyui.engine import architecture, host

    config = architecture.diffusion_config(shapes(full_transformer), "official")
    expected = host.diffusion_shapes(config)
    assert expected.keys() - full_transformer.keys() <= layouts.MAY_BE_MISSING
    assert shapes(full_transformer) == {name: expected[name] for name in full_transformer}


def test_full_size_vae_has_the_hosts_names_and_shapes(comfy_modules):
    """The Flux autoencoder: equal to the host's encoder and decoder, and to its own conversion."""
    from comfy import diffusers_convert
    from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder

    from zimage_comfyui.engine import architecture

    with torch.device("meta"):
        source = official.vae(official.FULL).state_dict()
    converted = layouts.vae_to_comfy(source)
    config = architecture.vae_config(shapes(converted), "official")["ddconfig"]
    with torch.device("meta"):
        parts = {"encoder": Encoder(**config), "decoder": Decoder(**config)}
    expected = {
        f"{part}.{name}": shape
        for part, module in parts.items()
        for name, shape in shapes(module.state_dict()).items()
    }
    assert shapes(converted) == expected
    assert shapes(converted) == shapes(diffusers_convert.convert_vae_state_dict(source))


def test_full_size_text_encoder_has_the_hosts_names_and_shapes(comfy_modules):
    """Qwen3-4B: the names that transformers writes are those that the host reads."""
    from zimage_comfyui.engine import architecture, host

    with torch.device("meta"):
        converted = layouts.text_to_comfy(official.text_encoder(official.FULL).state_dict())
    config = architecture.text_encoder_config(shapes(converted), "official")
    assert shapes(converted) == host.text_encoder_shapes(config)
    assert config["hidden_size"] == 2560


def test_small_weights_arrive_unchanged(comfy_modules):
    """Loaded into the host's module and split again, every value is the one diffusers had."""
    from zimage_comfyui.engine import architecture

    sizes = official.Sizes(layers=1)
    source = official.transformer(sizes).state_dict()
    converted = layouts.to_comfy(source)
    config = architecture.diffusion_config(shapes(converted), "small")
    config.pop("image_model")
    module = host_transformer(config, "cpu")
    missing, unexpected = module.load_state_dict(converted, strict=False)
    assert set(missing) <= layouts.MAY_BE_MISSING
    assert not unexpected
    loaded = module.state_dict()
    block = loaded["layers.0.attention.qkv.weight"].chunk(3)
    for part, tensor in zip("qkv", block, strict=True):
        assert torch.equal(tensor, source[f"layers.0.attention.to_{part}.weight"])
    total = sum(tensor.double().sum() for name, tensor in loaded.items() if name in converted)
    assert torch.equal(total, sum(tensor.double().sum() for tensor in converted.values()))
    assert {t.data_ptr() for t in source.values()} & {t.data_ptr() for t in converted.values()}
