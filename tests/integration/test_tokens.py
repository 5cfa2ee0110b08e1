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

    from zimage_comfyui.text import rules, spans

    (row,) = count(prompt, "qwen3", tokenizers)["encoders"]
    _, body = spans.take_off(rules.prepare(prompt))
    (tokens,) = ZImageTokenizer().tokenize_with_weights(body)["qwen3_4b"]
    assert row["count"] == len(tokens)
    assert row["position"] + len(row["cut"]) == len(body)
    assert bool(row["cut"]) == (row["count"] > 512)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_cut_text_is_the_longest_that_fits(tokenizers: Tokenizers, prompt: str) -> None:
    """What is kept takes at most 77 tokens, special ones included, and not many less."""
    from zimage_comfyui.text import limits, rules, spans

    answer = count(prompt, "dual", tokenizers)
    texts = limits.join(spans.route(spans.tag(rules.prepare(prompt))))
    pairs = zip(answer["encoders"], texts, (tokenizers.bert, tokenizers.clip), strict=True)
    for row, text, tokenizer in pairs:
        assert row["count"] == len(tokenizer(text, verbose=False)["input_ids"])
        assert text[row["position"] :] == row["cut"]
        kept = len(tokenizer(text[: row["position"]], verbose=False)["input_ids"])
        assert kept <= 77
        assert kept >= min(row["count"], 77) - 4  # a character may take several tokens


def test_no_model_code_is_needed(tokenizers: Tokenizers) -> None:
    """Nothing but the tokenizer's files of the host's folder is read."""
    assert tokenizers.clip.is_fast
    assert tokenizers.bert.is_fast
