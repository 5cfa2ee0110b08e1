"""Rules beyond the host's own check: what would run and still not do what its author wants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from ..text import spans
from . import snapshot
from .convert import Converter
from .knowledge import Kind
from .prompt_context import Addresses, Subject

_ENCODERS = ("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader")
_CHECKPOINTS = ("CheckpointLoaderSimple", "CheckpointLoader", "unCLIPCheckpointLoader")
_WESTERN = frozenset(
    {"stable_diffusion", "stable_cascade", "sd3", "sdxl", "stable_audio", "flux", "mochi", "ltxv"}
    | {"pixart", "cosmos", "chroma"}
)
"""Types of text encoders made of CLIP and T5, whose words are those of European languages."""
_READS_CHINESE = re.compile(
    r"qwen|umt5|mt5|gemma|llama|llava|mistral|glm|bert|hunyuan|lumina|neta|ace_step|z.?image",
    re.IGNORECASE,
)
_TEXTS = ("PrimitiveString", "PrimitiveStringMultiline", "StringConcatenate", "StringTrim")
_DEPTH = 64
"""Nodes that are looked through for a text or a loader."""


def node(subject: Subject, number: str) -> None:
    """Every rule about the texts of one node that the host does not have; warnings."""
    for name, entry in subject.inputs(number).items():
        if "STRING" in entry.types:
            texts = _texts(subject, subject.given(number).get(name))
            _chinese(subject, number, name, [text for text in texts if spans.has_chinese(text)])


def _chinese(subject: Subject, number: str, name: str, texts: list[str]) -> None:
    """Chinese that would be read by an encoder that knows none, or as if it were English."""
    encoder = _encoder(subject, number) if texts else ""
    if encoder:
        subject.tell("ZI-WF-CHINESE", number, name, "warning", value=encoder)
    elif any(spans.take_off(t)[0] == spans.EN for t in texts) and _is_ours(subject, number):
        subject.tell("ZI-WF-TAG", number, name, "warning", value=spans.EN)


def foreign(subject: Subject, number: str, kind: Kind) -> None:
    """A node that is neither ComfyUI's nor ours."""
    if not kind.is_core and not _is_ours(subject, number):
        subject.tell("ZI-WF-FOREIGN", number, value=kind.name)


def _is_ours(subject: Subject, number: str) -> bool:
    return subject.kinds[number].name in ours()


@cache
def ours() -> frozenset[str]:
    """The node classes of this pack: what the stored ones have beside ComfyUI's.

    And the one that ComfyUI keeps among the packs, which is as good as its own.
    """
    return frozenset(name for name, kind in snapshot.load().kinds.items() if not kind.is_core)


def addresses(converter: Converter) -> Addresses:
    """Where to get the models that nodes are set to, as far as the nodes say it."""
    found: dict[tuple[str, str], str] = {}
    for number, page_node in converter.sent:
        values = converter.prompt[number]["inputs"].values()
        held = {value for value in values if isinstance(value, str)}
        for model in page_node.models:
            name, url = model.get("name"), _address(model.get("url"))
            if isinstance(name, str) and url and name in held:
                found.setdefault((number, name), url)
    return found


def downloads(converter: Converter, subject: Subject) -> None:
    """Models that a host may lack whose files are not known; each address once."""
    told: set[tuple[str, str]] = set()
    titles = {number: page_node.title for number, page_node in converter.sent}
    for (number, name), url in subject.addresses.items():
        kind = subject.kinds.get(number)
        if (name, url) not in told and not (kind is not None and _judged(subject, number, name)):
            told.add((name, url))
            subject.found.add("ZI-WF-DOWNLOAD", number, titles[number], severity="warning",
                              value=name, url=url)  # fmt: skip


def _judged(subject: Subject, number: str, name: str) -> bool:
    """True where the files are known: then the rule for choices has told what is missing."""
    return any(
        entry.choices is not None and (name in entry.choices or given == name)
        for input, entry in subject.inputs(number).items()
        for given in [subject.given(number).get(input)]
    )


def _address(url: object) -> str:
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""


def _texts(subject: Subject, value: Any) -> Iterator[str]:
    """A text, or those that nodes which only hand texts on would make it of."""
    waiting, seen = [value], set()
    while waiting and len(seen) < _DEPTH and subject.patience > 0:
        subject.patience -= 1
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list) and value and isinstance(value[0], str):
            origin = subject.kinds.get(value[0])
            if origin and origin.name in _TEXTS and value[0] not in seen:
                seen.add(value[0])
                waiting += subject.given(value[0]).values()


def _encoder(subject: Subject, number: str) -> str:
    """The loader behind a node's CLIP input if it cannot read Chinese, else nothing."""
    for _ in range(_DEPTH):
        feeder = _feeder(subject, number)
        if feeder is None:
            return ""
        number = feeder
        kind, given = subject.kinds.get(number), subject.given(number)
        if kind is None or kind.name not in _ENCODERS + _CHECKPOINTS:
            continue
        files = [value for value in given.values() if isinstance(value, str)]
        if any(_READS_CHINESE.search(PurePosixPath(file).name) for file in files):
            return ""
        typed = kind.name in ("CLIPLoader", "DualCLIPLoader")
        return kind.name if not typed or str(given.get("type")) in _WESTERN else ""
    return ""


def _feeder(subject: Subject, number: str) -> str | None:
    """The node that a node's first CLIP input is linked to."""
    if number not in subject.kinds:
        return None
    for name, link in subject.links(number):
        entry = subject.inputs(number).get(name)
        if entry is not None and "CLIP" in entry.types and link[0] in subject.prompt:
            return link[0]
    return None
