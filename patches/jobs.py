"""The parts of a graph that take memory: each sampler, with its model files, size and prompt.

Only what this pack knows is judged: a sampler whose model comes from a ZImageLoader (LoRA and
shift nodes may stand between) and whose latent comes straight from a node that states the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..engine import sizes
from ..engine.presets import AUTO, TURBO
from ..errors import ZImageError

Graph = dict[str, dict[str, Any]]

LOADER = "ZImageLoader"
FILES = {"model_name": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae"}
"""Inputs of the loader and the folders of their files."""
SAMPLERS = frozenset({"ZImageSampler", "KSampler", "KSamplerAdvanced"})
EMPTY = frozenset({"ZImageLatent", "EmptyLatentImage", "EmptySD3LatentImage"})
MOST_HOPS = 64


@dataclass(frozen=True)
class Job:
    """One sampler of a graph, as far as memory goes.

    Attributes:
        node: the one that states the size; messages name it.
        files: names in the loader, in the order of :data:`FILES`.
        dtype: of the loader.
        width, height: pixels.
        batch: pictures at once.
        text: characters of the prompt.
        branches: 2 where guidance computes each step with and without the prompt.
    """

    node: str
    files: tuple[str, ...]
    dtype: str
    width: int
    height: int
    batch: int
    text: int
    branches: int


def jobs(graph: Graph) -> Iterator[Job]:
    """Every sampler of a graph that can be judged."""
    for node in graph.values():
        if node.get("class_type") not in SAMPLERS:
            continue
        inputs = node.get("inputs", {})
        loader = _upstream(graph, inputs.get("model"))
        size = _source(graph, inputs.get("latent_image"))
        if loader is None or size is None or size[1].get("class_type") not in EMPTY:
            continue
        about = loader.get("inputs", {})
        files = tuple(about.get(name) for name in FILES)
        shape = _shape(size[1])
        if shape is None or not all(isinstance(name, str) for name in files):
            continue
        yield Job(
            size[0], files, str(about.get("dtype", AUTO)), *shape,
            _characters(graph, inputs.get("positive")), _branches(inputs, about),
        )  # fmt: skip


def _source(graph: Graph, link: Any) -> tuple[str, dict[str, Any]] | None:
    linked = isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)
    return (link[0], graph[link[0]]) if linked and link[0] in graph else None


def _upstream(graph: Graph, link: Any) -> dict[str, Any] | None:
    """The loader behind a model, through nodes that take a model and give one."""
    for _ in range(MOST_HOPS):
        found = _source(graph, link)
        if found is None or found[1].get("class_type") == LOADER:
            return found[1] if found else None
        link = found[1].get("inputs", {}).get("model")
    return None


def _shape(node: dict[str, Any]) -> tuple[int, int, int] | None:
    """Width, height and batch; None where one comes from another node or is refused anyway."""
    inputs = node.get("inputs", {})
    found = [inputs.get(name, 0) for name in ("width", "height", "batch_size")]
    if not all(type(number) is int and number >= 0 for number in found):
        return None
    width, height, batch = found
    if node["class_type"] == "ZImageLatent":
        try:
            width, height = sizes.resolve(str(inputs.get("size")), width, height)
        except ZImageError:
            return None
        batch = min(batch, sizes.MAX_BATCH)
    return width, height, batch


def _characters(graph: Graph, link: Any) -> int:
    found = _source(graph, link)
    inputs = found[1].get("inputs", {}) if found else {}
    texts = (inputs.get(name) for name in ("prompt", "text"))
    return max((len(text) for text in texts if isinstance(text, str)), default=0)


def _branches(sampler: dict[str, Any], loader: dict[str, Any]) -> int:
    cfg = sampler.get("cfg", 1.0)
    if cfg != -1:
        return 1 if cfg == 1 else 2
    chosen = (sampler.get("preset", AUTO), loader.get("variant", AUTO))
    named = TURBO if TURBO in str(loader.get("model_name")).lower() else ""
    return 1 if next((one for one in chosen if one != AUTO), named) == TURBO else 2
