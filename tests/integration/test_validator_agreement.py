"""The validator against the host's own ``validate_prompt``: official templates and broken ones.

The host has an empty file for every model and picture that the templates name, so that missing
files hide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes import verdicts
from zimage_comfyui.tests.fakes.mutations import API, Good, broken
from zimage_comfyui.tests.fakes.workflows import REFUSED, UNKNOWN, check, official, told
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.check import Result
from zimage_comfyui.validator.knowledge import Knowledge

pytestmark = pytest.mark.slow

WEAKER = {
    "not a choice": "this host does not look at choices of newer node classes, newer hosts do",
    "pickle file": "the same: some of the lists of files are such choices",
    "file that is not there": "the same",
    "ring": "this host's own check loses some rings; they fail when they are run",
    "broken text": "what our encoder and the request fuse refuse, ComfyUI's encoder reads",
}
"""Breaks that the host sometimes accepts although an error is right, and why."""


@pytest.fixture(scope="module")
def judge(host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host that gives verdicts and has every file."""
    stored = snapshot.load()
    named = [check(json.loads(path.read_bytes()), stored).prompt or {} for path in official()]
    folder = tmp_path_factory.mktemp("judge")
    arguments = verdicts.arguments(folder, named, stored)
    with Server(host, pack_dir, folder / "server", arguments) as running:
        yield running


@pytest.fixture(scope="module")
def known(judge: Server) -> Knowledge:
    """The node classes of that host."""
    return Knowledge(judge.client.get("/object_info"))


@pytest.fixture(scope="module")
def results(known: Knowledge) -> dict[str, Result]:
    """Every official template, converted and checked."""
    return {path.stem: check(json.loads(path.read_bytes()), known) for path in official()}


@pytest.fixture(scope="module")
def goods(results: dict[str, Result], known: Knowledge) -> list[Good]:
    """Prompts of the templates against which the host has nothing."""
    fine = {name: one.prompt for name, one in results.items() if name not in UNKNOWN + REFUSED}
    return [Good(name, prompt, told(prompt, known)) for name, prompt in fine.items() if prompt]


def test_official_templates_get_the_host_s_own_verdict(
    judge: Server, results: dict[str, Result]
) -> None:
    """No error of ours where the host has none, and none of the host's that we do not see."""
    said = verdicts.ask(judge.client, [result.prompt for result in results.values()])
    refused = {}
    for (name, result), verdict in zip(results.items(), said, strict=True):
        assert result.ok == verdict.clean, (name, verdict, result.findings.errors)
        assert verdicts.unseen(verdict, result.findings) == [], name
        if not verdict.clean:
            refused[name] = verdict.error
    assert refused == {
        **dict.fromkeys(REFUSED, "prompt_outputs_failed_validation"),
        **dict.fromkeys(UNKNOWN, "invalid_prompt"),
    }
    assert len(results) > 180


@pytest.mark.parametrize("name", API)
def test_broken_prompts_get_the_host_s_own_verdict(
    name: str, judge: Server, goods: list[Good], known: Knowledge
) -> None:
    """What the host refuses is an error of ours, harmless by a rule or not; and the other way."""
    cases = list(broken(name, API[name], goods, known))
    said = verdicts.ask(judge.client, [document for _, _, document in cases])
    for (good, made, document), verdict in zip(cases, said, strict=True):
        errors = [one for one in told(document, known) - good.findings if one[1] == "error"]
        case = (good.title, made, verdict, errors)
        assert verdict.clean or errors, case
        assert not errors or not verdict.clean or name in WEAKER or _ring(errors), case


def _ring(errors: list[tuple[str, str, str, str]]) -> bool:
    """A link of a fitting type may close a ring by chance."""
    return any(code == "ZI-WF-CYCLE" for code, *_ in errors)
