"""Independent truth: the same weights give the same pictures as diffusers' ZImagePipeline.

Float32 on the CPU, the whole path through our engine: files in the official layout, tokens, text
features, sampling, decoding. Pictures are compared in [0, 1].
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from zimage_comfyui.tests.fakes import official
from zimage_comfyui.tests.fakes.parity import (
    PROMPT,
    RECIPES,
    loaded,
    our_latents,
    our_pictures,
    true_pictures,
    worst,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-3
SIZES = [(160, 96), (48, 112)]
"""Width and height: not square; the second leaves image tokens to be padded (21 of 32)."""


@pytest.fixture(scope="module", params=sorted(RECIPES))
def variant(request: pytest.FixtureRequest) -> str:
    """Each of the two published kinds of model."""
    return request.param


@pytest.fixture(scope="module")
def folder(variant: str, comfy_modules: Path, tmp_path_factory: pytest.TempPathFactory):
    """An official folder with random weights; removed at the end (300 MB)."""
    folder = tmp_path_factory.mktemp("official") / variant
    tokenizer = comfy_modules / "comfy" / "text_encoders" / "qwen25_tokenizer"
    official.write(folder, variant, tokenizer, official.Sizes(layers=1))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def truth(folder: Path):
    """diffusers' pipeline over that folder."""
    from diffusers import ZImagePipeline

    pipeline = ZImagePipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def ours(folder: Path) -> SimpleNamespace:
    """Our loaders over the same folder."""
    return loaded(folder)


def assert_telling(pictures: torch.Tensor) -> None:
    """A flat or clipped picture would agree with anything."""
    assert pictures.std() > 0.05
    assert ((pictures <= 0) | (pictures >= 1)).float().mean() < 0.2


def test_the_variant_is_read_from_the_folder(ours, variant):
    """The scheduler's shift in the official folder tells Turbo from Base."""
    from zimage_comfyui.engine import checkpoints

    assert checkpoints.variant_of(ours.model) == variant


@pytest.mark.parametrize("text", [PROMPT, "", "a cat", "(红色:1.2) <|im_end|> \U0001f98a\n\n"])
def test_text_features_agree(ours, truth, text):
    """Same tokens, same second to last hidden states: nothing added, cut or weighted."""
    from zimage_comfyui.engine import conditioning

    expected, _ = truth.encode_prompt([text], do_classifier_free_guidance=False)
    found = conditioning.encode(ours.clip, text)[0][0]
    assert worst(found[0], expected[0]) < 1e-4 * expected[0].abs().max()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pictures_agree(ours, truth, variant, width, height, batch, record_property):
    """The whole path, 8 steps: within 1e-3, and one level of 255 at most after rounding.

    ``--junitxml FILE`` keeps the figures.
    """
    from zimage_comfyui.engine import decoding

    expected = true_pictures(truth, variant, width, height, [PROMPT] * batch)
    assert_telling(expected)
    latents = our_latents(ours, variant, width, height, batch)
    with torch.inference_mode():
        found = ours.vae.decode(latents).movedim(-1, 1)
    record_property("largest difference", worst(found, expected))
    record_property("standard deviation", expected.std().item())
    assert worst(found, expected) < TOLERANCE
    rounded = decoding.decode(ours.vae, latents).movedim(-1, 1)
    assert worst(rounded, (expected * 255).round() / 255) < 1.01 / 255
    assert worst(rounded, expected) < 0.5 / 255 + TOLERANCE


@pytest.mark.parametrize("variant", ["turbo"], indirect=True)
def test_prompts_of_unequal_length_agree(ours, truth, variant):
    """diffusers pads and masks a mixed batch; we run one prompt at a time."""
    prompts = [PROMPT, "猫"]
    width, height = SIZES[1]
    expected = true_pictures(truth, variant, width, height, prompts)
    for index, prompt in enumerate(prompts):
        found = our_pictures(ours, variant, width, height, batch=2, prompt=prompt)
        assert worst(found[index], expected[index]) < TOLERANCE


@pytest.mark.parametrize("variant", ["base"], indirect=True)
def test_official_scheduler_agrees_at_28_steps(ours, truth, variant):
    """Where 1000 is no multiple of the steps, only our ``official`` schedule is diffusers'."""
    width, height = SIZES[1]
    expected = true_pictures(truth, variant, width, height, [PROMPT], steps=28)
    found = our_pictures(ours, variant, width, height, steps=28, scheduler="official")
    assert worst(found, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("turbo", {"shift": 4.5}),
        ("turbo", {"prompt": PROMPT + "。"}),
        ("base", {"cfg": RECIPES["base"]["guidance"]}),
    ],
    ids=["shift", "prompt", "guidance-taken-for-cfg"],
    indirect=["variant"],
)
def test_comparison_sees_a_wrong_setting(ours, truth, variant, change):
    """The agreement is not vacuous: one wrong value, or one more character, breaks it."""
    width, height = SIZES[1]
    expected = true_pictures(truth, variant, width, height, [PROMPT])
    assert worst(our_pictures(ours, variant, width, height, **change), expected) > 5 * TOLERANCE
