"""Independent truth for reference pictures: diffusers' Omni transformer with the same weights.

Float32 on the CPU. diffusers (0.42) gives a padded caption piece more positions than it has
features, which shifts those of the pieces behind it; so it is compared as it is where only the
last piece is padded, and with the surplus cut off where others are.
"""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import official
from zimage_comfyui.tests.fakes.parity import expected, found, mend, worst
from zimage_comfyui.tests.fakes.references import FEATURES, LATENTS, WHOLE, inputs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-4
SIZES = official.Sizes(layers=2, siglip_width=48)


@pytest.fixture(scope="module")
def truth() -> torch.nn.Module:
    """The Omni transformer of diffusers with random weights."""
    torch.manual_seed(0)
    return official.transformer(SIZES)


@pytest.fixture(scope="module")
def folder(truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its official folder, written by diffusers."""
    folder = tmp_path_factory.mktemp("omni") / "transformer"
    truth.save_pretrained(str(folder), safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def ours(comfy_modules, folder: Path):
    """Our loader over that folder: a MODEL."""
    from zimage_comfyui.engine import checkpoints

    return checkpoints.load_model(folder, dtype="fp32")


@pytest.fixture(scope="module")
def clip(comfy_modules, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A random Qwen3: ours, and the one of transformers with its tokenizer."""
    from safetensors.torch import save_file
    from transformers import Qwen2Tokenizer

    from zimage_comfyui.engine import checkpoints

    torch.manual_seed(1)
    encoder = official.text_encoder(SIZES)
    path = tmp_path_factory.mktemp("clip") / "qwen3.safetensors"
    save_file({name: tensor.clone() for name, tensor in encoder.state_dict().items()}, path)
    words = comfy_modules / "comfy" / "text_encoders" / "qwen25_tokenizer"
    return SimpleNamespace(
        ours=checkpoints.load_text_encoder(path),
        pipeline=SimpleNamespace(
            text_encoder=encoder,
            tokenizer=Qwen2Tokenizer.from_pretrained(str(words)),
            _execution_device=torch.device("cpu"),
        ),
    )


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers with as many positions as features."""
    mend(monkeypatch.setattr)


@pytest.mark.parametrize("siglip", [False, True], ids=["latents", "siglip"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_velocity_agrees(ours, truth, mended, count, batch, siglip, record_property):
    """Up to three references of unequal sizes, captions of unequal lengths, pieces of any length.

    ``--junitxml FILE`` keeps the figures.
    """
    given = inputs(count, batch, siglip)
    true = expected(truth, given)
    assert true.std() > 0.3
    record_property("largest difference", worst(found(ours, given), true))
    assert worst(found(ours, given), true) < TOLERANCE


@pytest.mark.parametrize("siglip", [False, True], ids=["latents", "siglip"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_velocity_agrees_with_diffusers_as_it_is(ours, truth, count, siglip):
    """Where only the last piece is padded, diffusers needs no mending."""
    given = inputs(count, siglip=siglip, around=WHOLE)
    given["text"] = torch.randn(1, 64, 128, generator=torch.Generator().manual_seed(4))
    given["mask"] = torch.ones(1, 64, dtype=torch.bool)
    assert worst(found(ours, given), expected(truth, given)) < TOLERANCE


@pytest.mark.parametrize("change", ["order", "time", "features", "piece", "size"])
def test_comparison_sees_a_wrong_input(ours, truth, mended, change):
    """The agreement is not vacuous: one input changed breaks it."""
    given = inputs(2, siglip=True)
    true = expected(truth, given)
    if change == "order":
        given["references"].reverse()
    elif change == "time":
        given["sigma"] = given["sigma"] + 0.02
    elif change == "features":
        given["siglip"].reverse()
    elif change == "piece":
        given["around"] = given["around"][:-1]
    else:
        given["references"][0] = given["references"][0].mT
    assert worst(found(ours, given), true) > 10 * TOLERANCE


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_pieces_of_the_instruction_agree(clip, pictures):
    """The pipeline's own wording, piece by piece, with our features of each."""
    from diffusers import ZImageOmniPipeline

    from zimage_comfyui.engine import editing

    prompt = "把背景换成雪山, keep the fox"
    with torch.no_grad():
        true = ZImageOmniPipeline._encode_prompt(
            clip.pipeline, prompt, num_condition_images=pictures
        )[0]
    latents = [torch.zeros(1, 16, *size) for size in LATENTS[:pictures]]
    ((text, extras),) = editing.encode_instruction(clip.ours, prompt, latents)
    around = extras.get(editing.PIECES, [])
    pieces = [*around[:pictures], text, *around[pictures:]]
    assert len(pieces) == len(true)
    for piece, each in zip(pieces, true, strict=True):
        assert worst(piece[0], each) < 1e-4 * each.abs().max()


def test_sampling_agrees(ours, truth, clip, mended):
    """The host's sampler with guidance over our conditioning: diffusers' transformer in a loop."""
    from zimage_comfyui.engine import editing, host, presets, sampling, schedule

    draw = torch.Generator().manual_seed(5)
    latents = [torch.randn(1, 16, *size, generator=draw) for size in LATENTS[:2]]
    siglip = [torch.randn(1, *grid, 48, generator=draw) for grid in FEATURES[:2]]
    texts = ("一只红色的狐狸站在第二张图的雪山前", "模糊")
    given = [editing.encode_instruction(clip.ours, text, latents, siglip) for text in texts]
    settings = presets.resolve(model_variant="base", steps=3, cfg=5.0, seed=7)
    empty = {"samples": torch.zeros(2, 16, 10, 6)}
    model = editing.with_references(ours)
    out = sampling.sample(model, *given, empty, settings)["samples"]

    picture = host.comfy.sample.prepare_noise(empty["samples"], 7)
    sigmas = schedule.official_sigmas(settings.steps, settings.shift)
    clean = [model.model.process_latent_in(latent).expand(2, -1, -1, -1) for latent in latents]
    for sigma, following in itertools.pairwise(sigmas):
        branches = []
        for (features, extras), *_ in given:
            arguments = {
                "noisy": picture,
                "sigma": sigma.expand(2),
                "text": features.expand(2, -1, -1),
                "mask": torch.ones(2, features.shape[1], dtype=torch.bool),
                "references": clean,
                "around": extras[editing.PIECES],
                "siglip": siglip,
            }
            branches.append(expected(truth, arguments))
        positive, negative = branches
        velocity = negative + settings.cfg * (positive - negative)
        picture = picture + (following - sigma) * velocity
    true = model.model.process_latent_out(picture)
    assert true.std() > 0.5
    assert worst(out, true) < 1e-3


def test_official_weights_arrive_unchanged(ours, truth):
    """Every SigLIP2 tensor of the official folder is in the MODEL, its projections fused."""
    true = truth.state_dict()
    state = ours.model.diffusion_model.state_dict()
    extra = [name for name in true if name.startswith("siglip_") and ".attention." not in name]
    assert {"siglip_pad_token", "siglip_embedder.1.weight"} < set(extra)
    assert all(torch.equal(state[name], true[name]) for name in extra)
    block = "siglip_refiner.0.attention"
    for part, tensor in zip("qkv", state[f"{block}.qkv.weight"].chunk(3), strict=True):
        assert torch.equal(tensor, true[f"{block}.to_{part}.weight"])
    for name, own in (("out", "to_out.0"), ("q_norm", "norm_q"), ("k_norm", "norm_k")):
        assert torch.equal(state[f"{block}.{name}.weight"], true[f"{block}.{own}.weight"])


def test_incomplete_siglip_weights_are_refused(folder, tmp_path):
    """Half an Omni checkpoint is named as such before any weight is read."""
    from safetensors.torch import load_file, save_file

    from zimage_comfyui.engine import inspection

    state = load_file(next(folder.glob("*.safetensors")))
    del state["siglip_pad_token"]
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(ZImageError, match="siglip_pad_token") as caught:
        inspection.diffusion(tmp_path / "half.safetensors")
    assert caught.value.code == "ZI-MODEL-KEYS"
