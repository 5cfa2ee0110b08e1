"""Decoding in strips is decoding in one piece, in less memory."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import family

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FLUX = {**family.VAE["ddconfig"], "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2}


@pytest.fixture(scope="module", params=["flux", "taesd"])
def vae(request, comfy_modules, tmp_path_factory):
    """A small Flux autoencoder, and a TAESD like the bundled one, as the host's VAE."""
    from zimage_comfyui.engine import checkpoints

    write = {"flux": family.flux_vae, "taesd": family.vae}[request.param]
    return checkpoints.load_vae(write(tmp_path_factory.mktemp("vae"), dtype=torch.float32))


def latent(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Smooth noise, so that pictures are neither flat nor clipped."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    small = torch.randn(batch, 16, height // 2 + 1, width // 2 + 1, generator=generator)
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


@pytest.mark.parametrize(("height", "width"), [(14, 18), (9, 33), (70, 6)])
@pytest.mark.parametrize("pixels", [1, 1000, 7000])
def test_strips_equal_the_whole(vae, monkeypatch, height: int, width: int, pixels: int) -> None:
    """Strips of two rows, of a few, and of many: no more than a rounding apart, so no seam."""
    from zimage_comfyui.engine import decoding, strips

    samples = latent(height, width, batch=2)
    whole = decoding.decode_bytes(vae, samples, "off")
    monkeypatch.setattr(strips, "STRIP_PIXELS", pixels)
    tiled = decoding.decode_bytes(vae, samples, "on")
    assert whole.shape == (2, height * 8, width * 8, 3)
    assert whole.float().std() > 10
    difference = (whole.int() - tiled.int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.01


def test_bytes_are_the_host_s_picture(vae) -> None:
    """Rounded to the nearest 8-bit value of what the host's own decode gives."""
    from zimage_comfyui.engine import decoding

    samples = latent(10, 12)
    with torch.inference_mode():
        exact = vae.decode(samples)
    found = decoding.decode(vae, samples)
    assert found.dtype == torch.float32
    assert found.shape == exact.shape
    assert (found - exact).abs().max() <= 0.5 / 255 + 1e-5


def test_auto_tiles_above_a_megapixel(vae, monkeypatch) -> None:
    """1024x1024 goes in one piece, one row of tokens more does not."""
    from zimage_comfyui.engine import decoding, strips

    taken = []
    flat = torch.zeros(1, 3, 1, 1)
    monkeypatch.setattr(strips, "decode", lambda vae, z: taken.append("strips") or flat)
    monkeypatch.setattr(decoding, "decoder_of", lambda vae: lambda z: taken.append("whole") or flat)
    for height in (128, 130):
        decoding.decode_bytes(vae, torch.zeros(1, 16, height, 128))
    assert taken == ["whole", "strips"]


def test_out_of_memory_goes_on_in_strips(vae, monkeypatch) -> None:
    """When one piece does not fit, the same picture comes from strips."""
    from zimage_comfyui.engine import decoding, host

    def full(_):
        raise host.OUT_OF_MEMORY("full")

    samples = latent(6, 8)
    whole = decoding.decode_bytes(vae, samples, "off")
    monkeypatch.setattr(decoding, "decoder_of", lambda vae: full)
    assert (decoding.decode_bytes(vae, samples, "off").int() - whole.int()).abs().max() <= 2


def test_foreign_decoder_goes_to_the_host(vae) -> None:
    """A decoder of other blocks is not guessed at."""
    from zimage_comfyui.engine import strips

    assert strips.fits(vae.first_stage_model) or hasattr(vae.first_stage_model, "taesd_decoder")
    assert not strips.fits(torch.nn.Linear(1, 1))
    picture = torch.rand(1, 16, 24, 3)
    other = SimpleNamespace(
        first_stage_model=torch.nn.Linear(1, 1), decode_tiled=lambda *_, **__: picture
    )
    raw = strips.decode(other, torch.zeros(1, 16, 2, 3))
    assert torch.allclose((raw.movedim(1, -1) + 1) / 2, picture, atol=1e-6)


class Memory(TorchDispatchMode):
    """Bytes of all tensors alive, and their peak, counted per storage."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[int, int] = {}
        self.bytes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return out

    def see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        self.users[key] = self.users.get(key, 0) + 1
        self.bytes[key] = storage.nbytes()
        weakref.finalize(tensor, self.forget, key)
        self.peak = max(self.peak, sum(self.bytes.values()))

    def forget(self, key: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key], self.bytes[key]


def peak_of(run, side: int) -> int:
    """Peak bytes of decoding ``side`` x ``side`` pixels, on the meta device."""
    with torch.inference_mode(), Memory() as memory:
        run(torch.empty(1, 16, side // 8, side // 8, dtype=torch.bfloat16, device="meta"))
    return memory.peak


@pytest.mark.parametrize("side", [1536, 2048, 4096])
def test_full_size_peak_is_at_least_37_percent_lower(
    comfy_modules, record_property, side: int
) -> None:
    """The real Flux decoder in bf16, every tensor counted; attention, equal in both, left out."""
    from comfy.ldm.modules.diffusionmodules.model import Decoder

    from zimage_comfyui.engine import strips

    with torch.device("meta"):
        decoder = Decoder(**FLUX).to(torch.bfloat16)
    decoder.mid.attn_1 = torch.nn.Identity()
    meta = torch.device("meta")
    whole = peak_of(decoder, side)
    tiled = peak_of(lambda z: strips._StripDecoder(meta, meta).decode(decoder, z), side)
    record_property("MiB", f"{side}: {whole / 2**20:.0f} whole, {tiled / 2**20:.0f} in strips")
    assert tiled < 0.63 * whole


def test_wrong_latents(vae) -> None:
    """Other channels, no pixels, or an unknown mode."""
    from zimage_comfyui.engine import decoding

    for shape in ((1, 4, 8, 8), (1, 16, 0, 8), (0, 16, 8, 8), (16, 8, 8)):
        with pytest.raises(ZImageError, match="ZI-VALUE"):
            decoding.decode(vae, torch.zeros(shape))
    with pytest.raises(ZImageError, match="ZI-VALUE"):
        decoding.decode(vae, latent(2, 2), "maybe")
    with pytest.raises(ZImageError, match="ZI-MODEL-KIND"):
        decoding.decode(SimpleNamespace(latent_channels=4), latent(2, 2))
