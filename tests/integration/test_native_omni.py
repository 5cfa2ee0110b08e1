"""Hosts that take reference pictures themselves (0.11 and newer): their own forward pass."""

from __future__ import annotations

import pytest
import torch

from zimage_comfyui.tests.fakes import family
from zimage_comfyui.tests.fakes.references import inputs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def module(comfy_modules, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """A tiny transformer with SigLIP2 weights, of the host's own class."""
    from zimage_comfyui.engine import checkpoints, host_references

    if not host_references.reads_siglip():
        pytest.skip("this ComfyUI has no forward pass for reference pictures")
    config = {**family.DIFFUSION, "siglip_feat_dim": 48}
    state = family.random_state(family.model_shapes("diffusion_shapes", config), 4)
    path = tmp_path_factory.mktemp("tiny") / "omni.safetensors"
    family.write(path, state, kind="diffusion", config=config)
    return checkpoints.load_model(path, dtype="fp32").model.diffusion_model


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_host_s_own_pass_takes_our_conditioning(module: torch.nn.Module, count: int) -> None:
    """Each reference counts there as here, and both say nearly the same."""
    import comfy.ldm.lumina.model

    from zimage_comfyui.engine import omni

    given = inputs(count, siglip=True)
    with torch.no_grad():
        ours = omni.velocity(module, **given)
        theirs = comfy.ldm.lumina.model.NextDiT._forward(
            module, given["noisy"], given["sigma"], given["text"], given["text"].shape[1],
            ref_latents=given["references"], ref_contexts=given["around"],
            siglip_feats=given["siglip"],
        )  # fmt: skip
        theirs_without = comfy.ldm.lumina.model.NextDiT._forward(
            module, given["noisy"], given["sigma"], given["text"], given["text"].shape[1],
        )  # fmt: skip
    assert theirs.shape == ours.shape
    far = (theirs - ours).norm() / ours.norm()  # decision 0007 says where they differ
    assert far < 0.15
    assert (theirs_without - ours).norm() / ours.norm() > 2 * far
