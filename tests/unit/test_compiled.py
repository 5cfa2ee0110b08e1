"""The decoder is compiled on CUDA only, once, and a failure costs nothing but a line in the log."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from zimage_comfyui.engine import compiled_decoder  # noqa: E402 - after the check for torch


class Module:
    """A decoder that doubles, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def decode(self, latent):
        self.calls += 1
        return latent * 2


def vae_on(device: str) -> SimpleNamespace:
    return SimpleNamespace(first_stage_model=Module(), device=device)


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_decoder, "_reported", False)


def test_cpu_is_never_compiled() -> None:
    """There it would cost a minute and save nothing."""
    vae = vae_on("cpu")
    assert compiled_decoder.decoder_of(vae, compiler=pytest.fail) == vae.first_stage_model.decode


def test_cuda_compiles_once_per_vae() -> None:
    """The second picture, and the second node, use the same compiled decoder."""
    made = []
    vae = vae_on("cuda")

    def compiler(function, **options):
        made.append(options)
        return function

    for _ in range(3):
        assert compiled_decoder.decoder_of(vae, compiler)(torch.ones(1)).item() == 2
    assert made == [{"dynamic": False}]


@pytest.mark.parametrize("when", ["compiling", "running"])
def test_failure_is_reported_once(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a C compiler, say: same result, one warning however many pictures and VAEs."""

    def broken(*_, **__):
        raise RuntimeError("no C compiler\nlong explanation")

    compiler = broken if when == "compiling" else lambda *_, **__: broken
    with caplog.at_level(logging.WARNING):
        for vae in (vae_on("cuda"), vae_on("cuda")):
            for _ in range(2):
                assert compiled_decoder.decoder_of(vae, compiler)(torch.ones(1)).item() == 2
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["VAE decoder runs uncompiled (RuntimeError: no C compiler)"]


def test_out_of_memory_is_not_swallowed() -> None:
    """Running out of memory is the host's business: it frees models and the user is told."""

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        compiled_decoder.decoder_of(vae_on("cuda"), lambda *_, **__: full)(torch.ones(1))
