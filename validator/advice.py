"""Rules beyond the host's own check: prompts that run but do not do what their author wants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from ..text import spans
from . import snapshot
from .convert import Converter
from .json_values import is_list
from .knowledge import NodeClass
from .prompt_context import DownloadUrls, PromptContext

_ENCODER_LOADERS = ("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader")
_CHECKPOINT_LOADERS = ("CheckpointLoaderSimple", "CheckpointLoader", "unCLIPCheckpointLoader")
_LOADERS_WITH_TYPE = ("CLIPLoader", "DualCLIPLoader")
_WESTERN_TYPES = frozenset(
    {"stable_diffusion", "stable_cascade", "sd3", "sdxl", "stable_audio", "flux", "mochi", "ltxv"}
    | {"pixart", "cosmos", "chroma"}
)
"""Types of text encoders made of CLIP and T5, which read European languages only."""
_READS_CHINESE = re.compile(
    r"qwen|umt5|mt5|gemma|llama|llava|mistral|glm|bert|hunyuan|lumina|neta|ace_step|z.?image",
    re.IGNORECASE,
)
_TEXT_NODES = ("PrimitiveString", "PrimitiveStringMultiline", "StringConcatenate", "StringTrim")
_MAX_NODES = 64
"""Maximum number of nodes between an encode node and its text or its loader."""


def check_texts(context: PromptContext, node_id: str) -> None:
    """Warn of Chinese texts of a node that its text encoder cannot read."""
    for name, entry in context.inputs(node_id).items():
        if "STRING" not in entry.types:
            continue
        texts = list(_texts(context, context.given(node_id).get(name)))
        chinese = [text for text in texts if spans.has_chinese(text)]
        if chinese:
            _check_chinese(context, node_id, name, chinese)


def _check_chinese(context: PromptContext, node_id: str, name: str, texts: list[str]) -> None:
    loader = _western_loader(context, node_id)
    if loader:
        context.report("ZI-WF-CHINESE", node_id, name, "warning", value=loader)
    elif _is_ours(context, node_id) and any(_has_english_tag(text) for text in texts):
        context.report("ZI-WF-TAG", node_id, name, "warning", value=spans.EN)


def _has_english_tag(text: str) -> bool:
    tag, _ = spans.take_off(text)
    return tag == spans.EN


def check_foreign(context: PromptContext, node_id: str, node_class: NodeClass) -> None:
    """Add an error for a node that neither ComfyUI nor this pack brings."""
    if not node_class.is_core and not _is_ours(context, node_id):
        context.report("ZI-WF-FOREIGN", node_id, value=node_class.name)


def _is_ours(context: PromptContext, node_id: str) -> bool:
    return context.node_classes[node_id].name in our_classes()


@cache
def our_classes() -> frozenset[str]:
    """Return the stored node classes that are not in ComfyUI's own modules.

    These are the classes of this pack, and ``SaveImageWebsocket``, which ComfyUI keeps among the
    packs.
    """
    stored = snapshot.load().node_classes
    return frozenset(name for name, node_class in stored.items() if not node_class.is_core)


def download_urls(converter: Converter) -> DownloadUrls:
    """Return the addresses of the models that nodes use, as far as the nodes give them."""
    urls: dict[tuple[str, str], str] = {}
    for node_id, page_node in converter.sent:
        values = converter.prompt[node_id]["inputs"].values()
        used = {value for value in values if isinstance(value, str)}
        for model in page_node.models:
            name, url = model.get("name"), _web_address(model.get("url"))
            if isinstance(name, str) and url and name in used:
                urls.setdefault((node_id, name), url)
    return urls


def report_downloads(converter: Converter, context: PromptContext) -> None:
    """Warn of models that a host may lack if its files are not known; each address once."""
    reported: set[tuple[str, str]] = set()
    titles = {node_id: page_node.title for node_id, page_node in converter.sent}
    for (node_id, name), url in context.download_urls.items():
        if (name, url) in reported or _is_checked_choice(context, node_id, name):
            continue
        reported.add((name, url))
        context.findings.add(
            "ZI-WF-DOWNLOAD", node_id, titles[node_id], severity="warning", value=name, url=url
        )


def _is_checked_choice(context: PromptContext, node_id: str, file: str) -> bool:
    """Return whether the files are known, so that the rule for choices reports missing ones."""
    if node_id not in context.node_classes:
        return False
    given = context.given(node_id)
    return any(
        entry.choices is not None and (file in entry.choices or given.get(name) == file)
        for name, entry in context.inputs(node_id).items()
    )


def _web_address(url: object) -> str:
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""


def _texts(context: PromptContext, value: Any) -> Iterator[str]:
    """Yield a text, or the texts of the nodes that a link leads to and that pass on texts."""
    stack: list[Any] = [value]
    seen: set[str] = set()
    while stack and len(seen) < _MAX_NODES and context.advice_budget > 0:
        context.advice_budget -= 1
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif is_list(value) and value and isinstance(value[0], str):
            origin = context.node_classes.get(value[0])
            if origin and origin.name in _TEXT_NODES and value[0] not in seen:
                seen.add(value[0])
                stack += context.given(value[0]).values()


def _western_loader(context: PromptContext, node_id: str) -> str:
    """Return the class of the loader behind a node's CLIP input if it cannot read Chinese."""
    for _ in range(_MAX_NODES):
        origin = _clip_origin(context, node_id)
        if origin is None:
            return ""
        node_id = origin
        node_class = context.node_classes.get(node_id)
        if node_class is None or node_class.name not in _ENCODER_LOADERS + _CHECKPOINT_LOADERS:
            continue
        given = context.given(node_id)
        files = [PurePosixPath(value).name for value in given.values() if isinstance(value, str)]
        if any(_READS_CHINESE.search(file) for file in files):
            return ""
        has_type = node_class.name in _LOADERS_WITH_TYPE
        is_western = not has_type or str(given.get("type")) in _WESTERN_TYPES
        return node_class.name if is_western else ""
    return ""


def _clip_origin(context: PromptContext, node_id: str) -> str | None:
    """Return the node that a node's first CLIP input is linked to."""
    if node_id not in context.node_classes:
        return None
    for name, link in context.links(node_id):
        entry = context.inputs(node_id).get(name)
        if entry is not None and "CLIP" in entry.types and link[0] in context.prompt:
            return link[0]
    return None
