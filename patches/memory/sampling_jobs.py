"""The parts of a graph that take memory: each sampler, with its model files, size and prompt.

Only what this pack knows is judged: a sampler whose model comes from a ZImageLoader (LoRA and
shift nodes may stand between) and whose latent can be followed, through pictures that are changed
or painted anew, to a node or a file that states the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...engine import sizes
from ...engine.presets import AUTO, TURBO
from ...errors import ZImageError

Graph = dict[str, dict[str, Any]]

LOADER = "ZImageLoader"
FILES = {"model_name": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae"}
"""Inputs of the loader and the folders of their files."""
SAMPLERS = frozenset({"ZImageSampler", "KSampler", "KSamplerAdvanced"})
EMPTY = frozenset({"ZImageLatent", "EmptyLatentImage", "EmptySD3LatentImage"})
EDIT = "ZImageEdit"
PICTURES = ("image", "image_2", "image_3")
"""Its inputs: the first sets the size, and an Edit model looks at all."""
SAME_SIZE = {
    "ZImageDecode": "samples", "VAEDecode": "samples", "VAEDecodeTiled": "samples",
    "VAEEncode": "pixels", "VAEEncodeTiled": "pixels", "VAEEncodeForInpaint": "pixels",
    "SetLatentNoiseMask": "samples", "ZImageKeep": "image", "ImageCompositeMasked": "destination",
    EDIT: PICTURES[0], **dict.fromkeys(SAMPLERS, "latent_image"),
}  # fmt: skip
"""Nodes whose latent or picture is as large as what comes in by an input."""
MOST_HOPS = 64

SizeOf = Callable[[Any], tuple[int, int] | None]
"""Width and height of a picture in the input folder by its name in ``LoadImage``."""


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
        references: pixels of all pictures that an Edit model would look at.
    """

    node: str
    files: tuple[str, ...]
    dtype: str
    width: int
    height: int
    batch: int
    text: int
    branches: int
    references: int = 0


def jobs(graph: Graph, size_of: SizeOf = lambda _name: None) -> Iterator[Job]:
    """Every sampler of a graph that can be judged."""
    for node in graph.values():
        if node.get("class_type") not in SAMPLERS:
            continue
        inputs = node.get("inputs", {})
        loader = _upstream(graph, inputs.get("model"))
        size = _size(graph, inputs.get("latent_image"), size_of)
        if loader is None or size is None:
            continue
        about = loader.get("inputs", {})
        files = tuple(about.get(name) for name in FILES)
        if not all(isinstance(name, str) for name in files):
            continue
        positive = inputs.get("positive")
        yield Job(
            size[0], files, str(about.get("dtype", AUTO)), *size[1:], _characters(graph, positive),
            _branches(inputs, about), _references(graph, positive, size_of),
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


def _size(
    graph: Graph, link: Any, size_of: SizeOf, hops: int = MOST_HOPS
) -> tuple[str, int, int, int] | None:
    """The node that states the size of a latent or picture; width, height and batch."""
    found = _source(graph, link)
    if found is None or not hops:
        return None
    id, node = found
    kind, inputs = node.get("class_type"), node.get("inputs", {})
    if kind in EMPTY or kind == "EmptyImage":
        shape = _shape(node)
        return (id, *shape) if shape else None
    if kind == "LoadImage":
        size = size_of(inputs.get("image"))
        return (id, *size, 1) if size else None
    if not isinstance(kind, str) or kind not in SAME_SIZE:
        return None
    there = _size(graph, inputs.get(SAME_SIZE[kind]), size_of, hops - 1)
    if there is None or kind != EDIT:
        return there
    width, height = there[1:3]
    scale = min(1.0, (sizes.AREA / max(1, width * height)) ** 0.5)
    return there[0], int(width * scale), int(height * scale), 1


def _references(graph: Graph, link: Any, size_of: SizeOf) -> int:
    found = _source(graph, link)
    if found is None or found[1].get("class_type") != EDIT:
        return 0
    given = (found[1].get("inputs", {}).get(name) for name in PICTURES)
    known = [size for one in given if (size := _size(graph, one, size_of))]
    return sum(
        min(width * height, sizes.AREA) * min(batch, len(PICTURES))
        for _, width, height, batch in known
    )


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
