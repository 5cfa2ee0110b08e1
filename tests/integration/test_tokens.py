"""Token counts against the host's own tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_comfyui.page.tokens import Tokenizers, count

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PROMPTS = [
    "",
    "水墨画，左边一个紫色的花瓶，浅黄色背景",
    "a red ball (near:1.2) the lake, 4k",
    "[ZH] 龘龘𠮷 T恤 café 😀 MP3播放器",
    "红色的球 near a lake\n第二行",
    "一" * 600 + " tail",
]


@pytest.fixture(scope="module")
def tokenizers(comfy_modules: Path) -> Tokenizers:
    """Those of the host."""
    return Tokenizers(comfy_modules / "comfy")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_qwen3_gets_what_is_counted(comfy_modules: Path, tokenizers: Tokenizers, prompt) -> None:
    """Our encode node hands the cleaned prompt without its tag to this tokenizer."""
    from comfy.text_encoders.z_image import ZImageTokenizer

    from zimage_comfyui.text import prompt_rules, spans

    (row,) = count(prompt, "qwen3", tokenizers)["encoders"]
    _, body = spans.take_off(prompt_rules.prepare(prompt))
    (tokens,) = ZImageTokenizer().tokenize_with_weights(body)["qwen3_4b"]
    assert row["count"] == len(tokens)
    assert row["position"] + len(row["cut"]) == len(body)
    assert bool(row["cut"]) == (row["count"] > 512)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_cut_text_is_the_longest_that_fits(tokenizers: Tokenizers, prompt: str) -> None:
    """What is kept takes at most 77 tokens, special ones included, and not many less."""
    from zimage_comfyui.text import encoder_limits, prompt_rules, spans

    answer = count(prompt, "dual", tokenizers)
    texts = encoder_limits.join(spans.route(spans.tag(prompt_rules.prepare(prompt))))
    clip, bert = tokenizers.pair(None)
    for row, text, tokenizer in zip(answer["encoders"], texts, (bert, clip), strict=True):
        assert row["count"] == len(tokenizer.encode(text).ids)
        assert text[row["position"] :] == row["cut"]
        kept = len(tokenizer.encode(text[: row["position"]]).ids)
        assert kept <= 77
        assert kept >= min(row["count"], 77) - 4  # a character may take several tokens


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "红", "色", "a", "##b", "ab"]


@pytest.mark.parametrize("own", [True, False])
def test_a_bert_is_counted_by_its_own_vocabulary(
    comfy_modules: Path, tokenizers: Tokenizers, tmp_path: Path, own: bool
) -> None:
    """What the page shows is what the node's ``info`` says, with a ``vocab.txt`` and without."""
    from safetensors.torch import save_file

    from zimage_comfyui.engine import dual_files
    from zimage_comfyui.engine.dual import DualTokenizer
    from zimage_comfyui.tests.fakes import encoders

    words = len(WORDS) if own else encoders.BERT_WORDS
    path = tmp_path / "bert.safetensors"
    save_file(encoders.state_of(encoders.bert(words)), path)
    if own:
        (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    pair = dual_files.tokenizers(path, dual_files.bert_words(path))
    prompt = "2024年12345元NASA灯ARMY包" * 9
    reading = DualTokenizer(*pair).read(prompt)
    rows = count(prompt, "dual", tokenizers, path)["encoders"]
    assert [row["count"] for row in rows] == [reading.bert.count, reading.clip.count]
    assert [row["cut"] for row in rows] == [reading.bert.truncated, reading.clip.truncated]
    assert count(prompt, "dual", tokenizers)["encoders"] != rows
