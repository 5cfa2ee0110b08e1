"""What a real host says of prompts: its own ``validate_prompt`` over HTTP, nothing is run.

The host gets an empty file for every model and picture that the prompts name, so that no missing
file hides anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.server import write_paths
from zimage_comfyui.tests.fakes.workflows import Document, choices
from zimage_comfyui.validator.findings import Finding
from zimage_comfyui.validator.inputs import UPLOADS
from zimage_comfyui.validator.knowledge import Knowledge

PROBE = '''
import execution
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


@PromptServer.instance.routes.post("/verdicts")
async def verdicts(request):
    """validate_prompt on every prompt of a list; nothing is queued or run."""
    answers = []
    for prompt in await request.json():
        try:
            accepted, error, outputs, nodes = await execution.validate_prompt("0", prompt, None)
        except Exception as crash:  # the host answers such a prompt with a bare 500
            accepted, error, outputs, nodes = False, {"type": type(crash).__name__}, [], {}
        answers.append({"accepted": accepted, "error": (error or {}).get("type"), "errors": [
            [node, one["extra_info"].get("input_name", ""), one["type"]]
            for node, entry in nodes.items() for one in entry["errors"]]})
    return web.json_response(answers)
'''
MODEL_KINDS = (
    "audio_encoders", "checkpoints", "clip_vision", "controlnet", "diffusion_models", "gligen",
    "latent_upscale_models", "loras", "model_patches", "style_models", "text_encoders",
    "upscale_models", "vae",
)  # fmt: skip
MEANING = {
    "required_input_missing": {"ZI-WF-INPUT-MISSING"},
    "bad_linked_input": {"ZI-WF-LINK"},
    "return_type_mismatch": {"ZI-WF-TYPE"},
    "invalid_input_type": {"ZI-WF-VALUE"},
    "value_smaller_than_min": {"ZI-WF-RANGE"},
    "value_bigger_than_max": {"ZI-WF-RANGE"},
    "value_not_in_list": {"ZI-WF-CHOICE", "ZI-WF-MODEL", "ZI-WF-FILE"},
    "custom_validation_failed": {"ZI-WF-CHOICE", "ZI-WF-MODEL", "ZI-WF-FILE", "ZI-WF-TEXT"},
    # What the host did not expect: a link to nowhere, a slot that is not there, a ring.
    "exception_during_inner_validation": {"ZI-WF-LINK", "ZI-WF-SLOT", "ZI-WF-CYCLE"},
    "exception_during_validation": {"ZI-WF-LINK", "ZI-WF-SLOT", "ZI-WF-CYCLE", "ZI-WF-VALUE"},
}
"""What the host calls an error, and the codes by which we tell the same."""


@dataclass(frozen=True)
class Verdict:
    """What the host says: accepted as a whole, its own word for why not, and errors at nodes.

    It accepts a prompt when one of its outputs can run, and leaves the others out.

    Attributes:
        errors: node, input (empty if the host names none) and the host's word for the error.
    """

    accepted: bool
    error: str | None
    errors: frozenset[tuple[str, str, str]]

    @property
    def clean(self) -> bool:
        """True when the host has nothing to say against any output."""
        return self.accepted and not self.errors


def arguments(folder: Path, prompts: Iterable[Document], known: Knowledge) -> tuple[str, ...]:
    """ComfyUI arguments for a host with the probe and the files; all are written to ``folder``."""
    pack, models, pictures = folder / "packs" / "verdicts", folder / "models", folder / "pictures"
    for one in (pack, models, pictures):
        one.mkdir(parents=True)
    (pack / "__init__.py").write_text(PROBE, encoding="utf-8")
    for prompt in prompts:
        for _, entry, name in choices(prompt, known):
            place = pictures if any(map(entry.options.get, UPLOADS)) else models
            if isinstance(name, str) and entry.options.get("remote") and "." in name:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).touch()
    paths = {"custom_nodes": str(pack.parent), **dict.fromkeys(MODEL_KINDS, str(models))}
    write_paths(folder / "paths.yaml", paths)
    extra = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    return (*extra, "--input-directory", str(pictures))


def ask(client: Client, prompts: list[Any]) -> list[Verdict]:
    """The verdicts of a host that was started with :func:`arguments`."""
    status, body = client.request("/verdicts", prompts, timeout=600)
    assert status == 200, body[:500]
    return [
        Verdict(row["accepted"], row["error"], frozenset(map(tuple, row["errors"])))
        for row in json.loads(body)
    ]


def unseen(verdict: Verdict, findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """What the host says of a node and none of our findings does."""
    ours = {(finding.node, finding.input, finding.code) for finding in findings}
    return sorted(
        (node, name, word)
        for node, name, word in verdict.errors
        if not any(at == node and name in ("", input) and code in MEANING[word]
                   for at, input, code in ours)
    )  # fmt: skip


def invented(verdict: Verdict, findings: Iterable[Finding]) -> list[Finding]:
    """Our errors at nodes of which the host says nothing of the kind."""
    return [
        finding for finding in findings
        if finding.severity == "error" and not any(
            node == finding.node and name in ("", finding.input) and finding.code in MEANING[word]
            for node, name, word in verdict.errors
        )
    ]  # fmt: skip
