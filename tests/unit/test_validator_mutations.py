"""Official templates broken at random: every kind of break is told by its own code in its place."""

from __future__ import annotations

import json

import pytest

from zimage_comfyui.tests.fakes.mutations import API, Good, trial
from zimage_comfyui.tests.fakes.page_mutations import PAGE
from zimage_comfyui.tests.fakes.workflows import REFUSED, UNKNOWN, check, official, told, with_files
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.knowledge import Knowledge

LEAST = 0.99


@pytest.fixture(scope="module")
def known() -> Knowledge:
    """The stored node classes, as if the host had just the files that the templates name."""
    stored = snapshot.load()
    every = (check(json.loads(path.read_bytes()), stored).prompt for path in official())
    return with_files(stored, [prompt for prompt in every if prompt])


@pytest.fixture(scope="module")
def saved(known: Knowledge) -> list[Good]:
    """What the page saves."""
    documents = {path.stem: json.loads(path.read_bytes()) for path in official()}
    return [Good(n, d, told(d, known)) for n, d in documents.items() if n not in UNKNOWN]


@pytest.fixture(scope="module")
def prompts(saved: list[Good], known: Knowledge) -> list[Good]:
    """The same in API form."""
    made = {good.title: check(good.document, known).prompt or {} for good in saved}
    return [Good(name, prompt, told(prompt, known)) for name, prompt in made.items()]


@pytest.mark.parametrize("name", API)
def test_broken_prompt_is_told(name: str, known: Knowledge, prompts: list[Good]) -> None:
    """At least 99 of 100 that are not harmless by a rule."""
    _assert_caught(name, *trial(name, API[name], prompts, known))


@pytest.mark.parametrize("name", PAGE)
def test_broken_workflow_is_told(name: str, known: Knowledge, saved: list[Good]) -> None:
    """The same for files that the page saved, subgraphs included."""
    _assert_caught(name, *trial(name, PAGE[name], saved, known))


def _assert_caught(name: str, count: dict[str, int], missed: list[str]) -> None:
    wrong = count["caught"] + count["missed"]
    assert wrong > 50, (name, count)  # else it proves little
    assert count["caught"] >= LEAST * wrong, missed[:5]


def test_no_official_template_crashes_or_is_refused(known: Knowledge, saved: list[Good]) -> None:
    """No error but in the two that the host itself refuses (see the integration test)."""
    wrong = {good.title for good in saved if any(f[1] == "error" for f in good.findings)}
    assert wrong == set(REFUSED)
