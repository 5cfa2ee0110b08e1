"""CLIP and BERT in every layout, the adapter that joins them, and what does not belong together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes import family

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PROMPT = "product poster，画面中间一个 red 的礼盒，T恤 light blue 背景"


@pytest.fixture(scope="module")
def parts(comfy_modules, tmp_path_factory) -> Path:
    """A tiny model and tiny encoders in files that belong together."""
    from zimage_comfyui.engine import checkpoints
    from zimage_comfyui.tests.fakes import encoders

    folder = family.family(tmp_path_factory.mktemp("parts"))
    clip, bert = encoders.state_of(encoders.clip()), encoders.state_of(encoders.bert())
    for kind, layouts in (
        ("clip", encoders.clip_layouts(clip)),
        ("bert", encoders.bert_layouts(bert)),
    ):
        for name, state in layouts.items():
            save_file(
                {n: t.contiguous().clone() for n, t in state.items()}, folder / f"{kind} {name}"
            )
    model = checkpoints.load_model(folder / "diffusion_models" / "tiny-turbo.safetensors")
    weight = model.model.diffusion_model.cap_embedder[1].weight
    encoders.write_adapter(folder / "adapter", weight, clip, bert)
    encoders.write_adapter(folder / "zero", weight, clip, bert, zero=True)
    encoders.write_adapter(folder / "untrained", weight, clip, bert, trained={})
    encoders.write_adapter(folder / "other", weight.roll(1, 0), clip, bert)
    return folder


@pytest.fixture(scope="module")
def model(parts: Path):
    """The tiny Turbo."""
    from zimage_comfyui.engine import checkpoints

    return checkpoints.load_model(parts / "diffusion_models" / "tiny-turbo.safetensors")


@pytest.fixture(scope="module")
def clip(parts: Path, model):
    """The dual encoder as the host's CLIP."""
    from zimage_comfyui.engine import dual

    return dual.load(parts / "clip hugging-face", parts / "bert bare", parts / "adapter", model)


@pytest.mark.parametrize("layout", ["hugging-face", "whole", "checkpoint", "bare", "openai"])
def test_clip_in_every_layout(parts: Path, layout: str) -> None:
    """The host's class with these weights agrees with transformers' own."""
    from zimage_comfyui.engine import dual_files
    from zimage_comfyui.tests.fakes import encoders

    ids = torch.tensor([[49406, 320, 736, 3155, 49407, 49407]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0]])
    ours = dual_files.load_clip(parts / f"clip {layout}", torch.float32, "cpu")
    with torch.inference_mode():
        expected = encoders.clip()(input_ids=ids, attention_mask=mask).last_hidden_state
        # The host adds all 77 positions, so it has to be given 77 tokens.
        rest = 77 - ids.shape[1]
        whole = [torch.nn.functional.pad(x, (0, rest)) for x in (ids, mask)]
        given = ours(whole[0], attention_mask=whole[1], dtype=torch.float32)[0]
    assert (given[:, :5] - expected[:, :5]).abs().max() < 1e-4


@pytest.mark.parametrize("layout", ["bare", "with heads", "gamma and beta"])
def test_bert_in_every_layout(parts: Path, layout: str) -> None:
    """As for CLIP."""
    from zimage_comfyui.engine import dual_files
    from zimage_comfyui.tests.fakes import encoders

    ids, mask = torch.tensor([[101, 5273, 5682, 4851, 102, 0]]), torch.tensor([[1, 1, 1, 1, 1, 0]])
    ours = dual_files.load_bert(parts / f"bert {layout}", torch.float32, "cpu")
    with torch.inference_mode():
        expected = encoders.bert()(input_ids=ids, attention_mask=mask).last_hidden_state
        given = ours(ids, attention_mask=mask, dtype=torch.float32)[0]
    assert (given[:, :5] - expected[:, :5]).abs().max() < 1e-4


def test_conditioning(clip) -> None:
    """A fixed number of features of the model's width; every part of the prompt has a say."""
    from zimage_comfyui.engine import conditioning

    features = conditioning.encode(clip, PROMPT)[0][0]
    assert features.shape == (1, 32, 128)
    assert torch.equal(features, conditioning.encode(clip, f"[ZH] {PROMPT}")[0][0])
    for other in (PROMPT.replace("red", "green"), PROMPT.replace("礼盒", "花瓶"), f"[EN]{PROMPT}"):
        assert not torch.allclose(features, conditioning.encode(clip, other)[0][0])


def test_words_of_both_languages_stay_together(clip) -> None:
    """The same words in another order are another prompt, also across the encoders."""
    from zimage_comfyui.engine import conditioning

    first = conditioning.encode(clip, "一个 red 的礼盒，white 背景")[0][0]
    second = conditioning.encode(clip, "一个 white 的礼盒，red 背景")[0][0]
    third = conditioning.encode(clip, "一个的礼盒，red white 背景")[0][0]
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, third)


def test_the_stock_node_reads_it_too(clip) -> None:
    """A CLIP of the host's own type."""
    import nodes
    from zimage_comfyui.engine import conditioning

    ((features, _),) = nodes.CLIPTextEncode().encode(clip, PROMPT)[0]
    assert torch.equal(features, conditioning.encode(clip, PROMPT)[0][0])


@pytest.mark.parametrize(
    "prompt", ["", "   ", "中" * 10_000, "word " * 10_000, "👍" * 500, "𠀀é‍中a", PROMPT * 50]
)
def test_any_length_of_prompt(clip, prompt: str) -> None:
    """Nothing fails; what is cut is told."""
    from zimage_comfyui.engine import conditioning

    assert conditioning.encode(clip, prompt)[0][0].isfinite().all()
    told = conditioning.describe(clip, prompt)
    assert ("截去" in told) == ("cut" in told) == (len(prompt) > 200)


def test_the_node_tells_what_was_cut_of_both_prompts(clip) -> None:
    """In its ``info`` output and in what ``/history`` keeps; nothing where all was read."""
    from zimage_comfyui.nodes.text_encode import ZImageTextEncode

    plain = ZImageTextEncode.execute(clip, "红色 car", "")
    assert plain.ui is None
    assert "Negative" not in plain.args[2]
    told = ZImageTextEncode.execute(clip, "红色 car", "中" * 80)
    assert told.ui == {"zimage_cut": [{"field": "negative_prompt", "encoder": "BERT",
                                       "cut": "中" * 5}]}  # fmt: skip
    assert "反向提示词：[ZH] CLIP 2/77 · BERT 82/77 · BERT 截去“中中中中中”" in told.args[2]
    assert 'Negative: [ZH] CLIP 2/77 · BERT 82/77 · BERT cut "中中中中中"' in told.args[2]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("clip bare", "bert bare", "untrained"), "ZI-DUAL-UNTRAINED"),
        (("clip bare", "bert bare", "zero"), "ZI-DUAL-UNTRAINED"),
        (("clip bare", "bert bare", "other"), "ZI-DUAL-OTHER"),
        (("bert bare", "bert bare", "adapter"), "ZI-MODEL-KIND"),
        (("clip bare", "clip bare", "adapter"), "ZI-MODEL-KIND"),
        (("clip bare", "bert bare", "clip bare"), "ZI-MODEL-KIND"),
        (("clip bare", "bert bare", "nothing"), "ZI-FILE-MISSING"),
    ],
)
def test_what_does_not_belong_together(parts: Path, model, names, code: str) -> None:
    """Refused with a code before anything is painted."""
    from zimage_comfyui.engine import dual

    with pytest.raises(ZImageError) as caught:
        dual.load(*(parts / name for name in names), model)
    assert caught.value.code == code


def test_truncated_text_with_line_breaks_is_one_line(clip) -> None:
    """A prompt with line breaks has one Chinese and one English line, whatever is truncated."""
    from zimage_comfyui.engine import conditioning

    long = "中" * 80 + "\n国\n家"
    lines = conditioning.describe(clip, long, long).split("\n")
    assert [line.rpartition("BERT ")[2] for line in lines] == [
        "截去“中中中中中 国 家”",
        'cut "中中中中中 国 家"',
    ] * 2
    cut = conditioning.cuts(clip, prompt=long)
    assert cut == {
        "zimage_cut": [{"field": "prompt", "encoder": "BERT", "cut": "中中中中中\n国\n家"}]
    }


def test_adapter_with_sizes_of_another_kind_is_refused(parts: Path, model, tmp_path: Path) -> None:
    """A list in place of the sizes is a coded error."""
    from zimage_comfyui.engine import dual

    with safe_open(parts / "adapter", "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    declared = {"kind": "adapter", "config": [1], "trained": {"steps": 1}}
    save_file(state, tmp_path / "listed", metadata={"zimage": json.dumps(declared)})
    with pytest.raises(ZImageError, match="ZI-MODEL-KEYS"):
        dual.load(parts / "clip bare", parts / "bert bare", tmp_path / "listed", model)


@pytest.mark.parametrize("name", ["queries", "output.weight"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_an_adapter_that_is_no_number_somewhere(
    parts: Path, model, tmp_path: Path, wrong: float, name: str
) -> None:
    """Its pictures would be black; the file is told to be damaged, with the weight."""
    from zimage_comfyui.engine import dual

    with safe_open(parts / "adapter", "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = file.metadata()
    state[name][0, 0] = wrong
    save_file(state, tmp_path / "broken", metadata=about)
    with pytest.raises(ZImageError, match=f"{name}: NaN") as caught:
        dual.load(parts / "clip bare", parts / "bert bare", tmp_path / "broken", model)
    assert caught.value.code == "ZI-FILE-CORRUPT"


def test_another_bert(parts: Path, model, tmp_path: Path) -> None:
    """Same sizes, other weights; and a vocabulary of another size without its vocab.txt."""
    from zimage_comfyui.engine import dual
    from zimage_comfyui.tests.fakes import encoders

    state = encoders.state_of(encoders.bert())
    save_file({name: tensor.flip(0).contiguous() for name, tensor in state.items()}, tmp_path / "b")
    with pytest.raises(ZImageError, match=r"ZI-DUAL-OTHER.*bert"):
        dual.load(parts / "clip bare", tmp_path / "b", parts / "adapter", model)
    table = "embeddings.word_embeddings.weight"
    save_file({**state, table: torch.cat([state[table]] * 3)}, tmp_path / "c")
    with pytest.raises(ZImageError, match="ZI-DUAL-VOCABULARY"):
        dual.load(parts / "clip bare", tmp_path / "c", parts / "adapter", model)


def test_vocabulary_beside_the_file(parts: Path, model, tmp_path: Path) -> None:
    """The words of ``vocab.txt`` count, not the host's."""
    from zimage_comfyui.engine import dual, host

    shutil.copy(parts / "bert bare", tmp_path / "bert")
    words = host.bert_vocabulary().read_text(encoding="utf-8").split("\n")[:21128]
    red, blue = words.index("红"), words.index("蓝")
    words[red], words[blue] = "蓝", "红"
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    usual = dual.load(parts / "clip bare", parts / "bert bare", parts / "adapter", model)
    swapped = dual.load(parts / "clip bare", tmp_path / "bert", parts / "adapter", model)
    assert usual.tokenize("红")["bert"] == swapped.tokenize("蓝")["bert"]


def test_a_vocabulary_without_special_tokens_is_refused(parts: Path, tmp_path: Path) -> None:
    """An empty ``vocab.txt`` is an error that names the file, not the host's vocabulary."""
    from zimage_comfyui.engine import dual_files

    (tmp_path / "vocab.txt").write_text("", encoding="utf-8")
    with pytest.raises(ZImageError, match=r"vocab\.txt.*\[UNK\], \[CLS\], \[SEP\]") as caught:
        dual_files.tokenizers(tmp_path / "bert", 100)
    assert caught.value.code == "ZI-FILE-UNREADABLE"


def test_an_adapter_in_fp8_is_read(parts: Path, tmp_path: Path) -> None:
    """Its weights are checked for NaN like those of other types."""
    from zimage_comfyui.engine import dual_files

    with safe_open(parts / "adapter", "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = file.metadata()
    state["output.weight"] = state["output.weight"].to(torch.float8_e4m3fn)
    save_file(state, tmp_path / "adapter", metadata=about)
    _, read = dual_files.load_adapter(tmp_path / "adapter")
    assert read["output.weight"].dtype == torch.float8_e4m3fn
    state["output.weight"] = torch.full_like(state["output.weight"].float(), torch.nan).to(
        torch.float8_e4m3fn
    )
    save_file(state, tmp_path / "broken", metadata=about)
    with pytest.raises(ZImageError, match="ZI-FILE-CORRUPT"):
        dual_files.load_adapter(tmp_path / "broken")
