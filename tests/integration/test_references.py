"""Models that take reference pictures, those that do not, and what the host does around them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import family
from zimage_comfyui.tests.fakes.parity import found, worst
from zimage_comfyui.tests.fakes.references import inputs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def edit(comfy_modules, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the bundled family that declares itself an Edit model; no SigLIP2."""
    return family.diffusion(tmp_path_factory.mktemp("tiny"), "edit", dtype=torch.float32)


@pytest.fixture(scope="module")
def omni_file(comfy_modules, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with SigLIP2 weights and nothing declared about references."""
    config = {**family.DIFFUSION, "siglip_feat_dim": 48}
    state = family.random_state(family.model_shapes("diffusion_shapes", config), 4)
    path = tmp_path_factory.mktemp("tiny") / "omni.safetensors"
    return family.write(path, state, kind="diffusion", config=config)


def tiny_sample(model, given, batch: int = 1, cfg: float = 1.0, seed: int = 5) -> torch.Tensor:
    from zimage_comfyui.engine import presets, sampling

    settings = presets.resolve(model_variant="turbo", steps=2, seed=seed, cfg=cfg)
    empty = {"samples": torch.zeros(batch, 16, 6, 10)}
    return sampling.sample(model, given, given, empty, settings)["samples"]


def tiny_conditioning(count: int):
    """Conditioning of the host's keys, with references drawn at random."""
    from zimage_comfyui.engine import editing

    given = inputs(count)
    extras = {editing.LATENTS: given["references"], editing.PIECES: given["around"]}
    return [[given["text"], extras if count else {}]]


def test_without_references_nothing_changes(edit, tmp_path):
    """The same weights loaded as Edit and as Base draw the same to the bit."""
    from safetensors.torch import load_file

    from zimage_comfyui.engine import checkpoints, omni

    path = family.write(
        tmp_path / "base.safetensors", load_file(edit), variant="base", config=family.DIFFUSION
    )
    plain, ours = checkpoints.load_model(path), checkpoints.load_model(edit)
    text = tiny_conditioning(0)
    assert torch.equal(tiny_sample(plain, text), tiny_sample(ours, text))
    given = inputs(0)
    module = plain.model.diffusion_model
    with torch.no_grad():
        own = module(given["noisy"], given["sigma"], given["text"], 40)
        assert worst(omni.velocity(module, **given), own) < 1e-5


def test_batch_guidance_and_lora_go_on_working(edit, tmp_path):
    """Two pictures at once are those of one at a time; a LoRA is applied."""
    import comfy.sd
    from safetensors.torch import load_file

    from zimage_comfyui.engine import checkpoints

    model, text = checkpoints.load_model(edit), tiny_conditioning(2)
    two = tiny_sample(model, text, batch=2, cfg=3.0)
    one = tiny_sample(model, text, batch=1, cfg=3.0)
    assert worst(two[:1], one) < 1e-4
    assert worst(two[:1], two[1:]) > 0.1
    assert worst(tiny_sample(model, tiny_conditioning(1), cfg=3.0), one) > 1e-3
    for official_names in (False, True):
        lora = load_file(family.lora(tmp_path, official_names))
        changed, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
        assert worst(tiny_sample(changed, text, cfg=3.0), one) > 1e-3


def test_a_batch_gives_each_what_it_gets_alone(edit):
    """Captions of unequal lengths, for a trainer: padding of the longer one is not seen."""
    from zimage_comfyui.engine import checkpoints

    model = checkpoints.load_model(edit, dtype="fp32")
    for count in (0, 1, 2):
        given = inputs(count, batch=2)
        both = found(model, given)
        for i, length in enumerate((40, 17)):
            single = {name: given[name][i : i + 1] for name in ("noisy", "sigma")}
            single["text"] = given["text"][i : i + 1, :length]
            single["references"] = [latent[i : i + 1] for latent in given["references"]]
            assert (
                worst(both[i : i + 1], found(model, {"around": given["around"], **single})) < 1e-5
            )


def test_velocity_can_be_trained(edit, monkeypatch):
    """Every weight that takes part has a finite gradient, and small steps do what it says."""
    import comfy.model_management

    from zimage_comfyui.engine import checkpoints, omni

    # Newer hosts have kernels without a gradient, and this name to do without them.
    monkeypatch.setattr(comfy.model_management, "in_training", True, raising=False)
    module = checkpoints.load_model(edit, dtype="fp32").model.diffusion_model
    given = inputs(2, batch=2)
    learned = [given["text"].requires_grad_(), *(r.requires_grad_() for r in given["references"])]
    weights = {n: p.requires_grad_() for n, p in module.named_parameters()}
    target = torch.randn(2, 16, 10, 6, generator=torch.Generator().manual_seed(8))

    def loss() -> torch.Tensor:
        return (omni.velocity(module, **given) * target).sum()

    loss().backward()
    lacking = {name for name, weight in weights.items() if weight.grad is None}
    assert lacking <= {"norm_final.weight"}  # which newer hosts do not have
    assert all(w.grad.isfinite().all() for n, w in weights.items() if n not in lacking)
    for tensor in [*learned, weights["layers.0.feed_forward.w1.weight"]]:
        step = 2e-2 * tensor.grad / tensor.grad.norm()
        said = 2 * (step * tensor.grad).sum().item()
        with torch.no_grad():
            tensor.add_(step)
            further = loss()
            tensor.sub_(2 * step)
            back = loss()
            tensor.add_(step)
        assert (further - back).item() == pytest.approx(said, rel=0.03)


@pytest.mark.parametrize("variant", ["turbo", "base"])
def test_other_models_refuse_references(comfy_modules, tmp_path, variant):
    """Turbo and Base would leave them out; the message says what to do instead."""
    from zimage_comfyui.engine import checkpoints, editing

    model = checkpoints.load_model(family.diffusion(tmp_path, variant))
    assert not editing.supports_references(model)
    editing.check_references(model, tiny_conditioning(0), None)
    with pytest.raises(ZImageError) as caught:
        editing.check_references(model, tiny_conditioning(0), tiny_conditioning(1))
    assert caught.value.code == "ZI-EDIT-MODEL"
    for text in (caught.value.chinese, caught.value.english):
        assert "denoise" in text
        assert "Edit" in text


def test_edit_and_omni_models_take_references(omni_file, edit):
    """Told from the weights or from what the file declares; clones are the same kind."""
    from zimage_comfyui.engine import checkpoints, editing

    for path in (omni_file, edit):
        model = checkpoints.load_model(path)
        assert editing.supports_references(model)
        editing.check_references(editing.with_references(model).clone(), tiny_conditioning(1))


@pytest.mark.parametrize(
    ("shapes", "features", "name"),
    [
        ([(1, 16, 4, 4)] * 4, None, "references"),
        ([(1, 16, 5, 4)], None, "reference"),
        ([(2, 16, 4, 4)], None, "reference"),
        ([(1, 4, 4, 4)], None, "reference"),
        ([(1, 16, 4, 4)] * 2, [(1, 2, 2, 48)], "siglip"),
        ([(1, 16, 4, 4)], [(1, 4, 48)], "siglip"),
    ],
)
def test_wrong_references_are_named(comfy_modules, shapes, features, name):
    """Too many, odd sizes, batches, other channels, features that do not belong to them."""
    from zimage_comfyui.engine import editing

    latents = [torch.zeros(shape) for shape in shapes]
    siglip = features and [torch.zeros(shape) for shape in features]
    with pytest.raises(ZImageError) as caught:
        editing.encode_instruction(None, "x", latents, siglip)
    assert caught.value.code == "ZI-VALUE"
    assert caught.value.found["name"] == name


@pytest.mark.parametrize("dual", [False, True])
def test_only_a_qwen3_encodes_instructions(comfy_modules, dual):
    """The wording needs its special tokens; a dual encoder or anything else is refused."""
    from zimage_comfyui.engine import editing

    clip = SimpleNamespace(cond_stage_model=None)
    if dual:  # as wide as a Qwen3, and with the tokenizer of a dual encoder
        inner = SimpleNamespace(hidden_size=128)
        for name in ("config", "model", "transformer", "qwen3_4b", "cond_stage_model"):
            inner = SimpleNamespace(**{name: inner})
        clip = SimpleNamespace(**vars(inner), tokenizer=SimpleNamespace(read=None))
    with pytest.raises(ZImageError) as caught:
        editing.encode_instruction(clip, "x", [torch.zeros(1, 16, 4, 4)])
    assert caught.value.code == "ZI-MODEL-KIND"
