"""Find the samplers of a graph, with their model files, size and text.

A sampler is a job if its model comes from a ZImageLoader (with LoRA and shift nodes between) and if
its latent can be followed, through nodes that change pictures, to a node or a file that states the
size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...engine import sizes
from ...engine.presets import AUTO, TURBO
from ...errors import ZImageError
from ..base.graph import LOADER, SAMPLERS, Graph

FILES = {"model_name": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae"}
"""Inputs of the loader and the folders of their files."""
EMPTY = frozenset({"ZImageLatent", "EmptyLatentImage", "EmptySD3LatentImage"})
EDIT = "ZImageEdit"
PICTURES = ("image", "image_2", "image_3")
"""Inputs of :data:`EDIT`: the first sets the size; the model uses all."""
SAME_SIZE = {
    "ZImageDecode": "samples",
    "VAEDecode": "samples",
    "VAEDecodeTiled": "samples",
    "VAEEncode": "pixels",
    "VAEEncodeTiled": "pixels",
    "VAEEncodeForInpaint": "pixels",
    "SetLatentNoiseMask": "samples",
    "ZImageKeep": "image",
    "ImageCompositeMasked": "destination",
    EDIT: PICTURES[0],
    **dict.fromkeys(SAMPLERS, "latent_image"),
}
"""Input by class of node: the latent or picture has the size of what this input gets."""
MAX_HOPS = 64

SizeOf = Callable[[Any], tuple[int, int] | None]
"""Returns width and height of a picture in the input folder by its name in ``LoadImage``."""


@dataclass(frozen=True)
class Job:
    """One sampler of a graph, as far as memory goes.

    Attributes:
        node: id of the node that states the size; messages name it.
        files: names in the loader, in the order of :data:`FILES`.
        dtype: of the loader.
        width: pixels.
        height: pixels.
        batch: pictures at once.
        text: characters of the text.
        branches: 2 where guidance computes each step with and without the prompt.
        references: pixels of all pictures that an Edit model would use.
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
    """Yield every sampler of a graph that can be judged."""
    for node in graph.values():
        if node.get("class_type") not in SAMPLERS:
            continue
        inputs = node.get("inputs", {})
        loader = _upstream(graph, inputs.get("model"))
        size = _size(graph, inputs.get("latent_image"), size_of)
        if loader is None or size is None:
            continue
        loader_inputs = loader.get("inputs", {})
        files = tuple(loader_inputs.get(name) for name in FILES)
        if not all(isinstance(name, str) for name in files):
            continue
        positive = inputs.get("positive")
        node_id, width, height, batch = size
        yield Job(
            node=node_id,
            files=files,
            dtype=str(loader_inputs.get("dtype", AUTO)),
            width=width,
            height=height,
            batch=batch,
            text=_characters(graph, positive),
            branches=_branches(inputs, loader_inputs),
            references=_references(graph, positive, size_of),
        )


def _source(graph: Graph, link: Any) -> tuple[str, dict[str, Any]] | None:
    linked = isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)
    return (link[0], graph[link[0]]) if linked and link[0] in graph else None


def _upstream(graph: Graph, link: Any) -> dict[str, Any] | None:
    """Return the loader of a model, through nodes that take a model and return one."""
    for _ in range(MAX_HOPS):
        source = _source(graph, link)
        if source is None:
            return None
        _, node = source
        if node.get("class_type") == LOADER:
            return node
        link = node.get("inputs", {}).get("model")
    return None


def _size(
    graph: Graph, link: Any, size_of: SizeOf, hops: int = MAX_HOPS
) -> tuple[str, int, int, int] | None:
    """Return the node that states the size of a latent or picture; width, height and batch."""
    source = _source(graph, link)
    if source is None or not hops:
        return None
    id, node = source
    kind, inputs = node.get("class_type"), node.get("inputs", {})
    if kind in EMPTY or kind == "EmptyImage":
        shape = _shape(node)
        return (id, *shape) if shape else None
    if kind == "LoadImage":
        size = size_of(inputs.get("image"))
        return (id, *size, 1) if size else None
    if not isinstance(kind, str) or kind not in SAME_SIZE:
        return None
    incoming = _size(graph, inputs.get(SAME_SIZE[kind]), size_of, hops - 1)
    if incoming is None or kind != EDIT:
        return incoming
    id, width, height, _ = incoming
    scale = min(1.0, (sizes.AREA / max(1, width * height)) ** 0.5)
    return id, int(width * scale), int(height * scale), 1


def _references(graph: Graph, link: Any, size_of: SizeOf) -> int:
    source = _source(graph, link)
    if source is None or source[1].get("class_type") != EDIT:
        return 0
    links = (source[1].get("inputs", {}).get(name) for name in PICTURES)
    known = [size for picture in links if (size := _size(graph, picture, size_of))]
    return sum(
        min(width * height, sizes.AREA) * min(batch, len(PICTURES))
        for _, width, height, batch in known
    )


def _shape(node: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return width, height and batch.

    None stands for a value that comes from another node, or that the host refuses.
    """
    inputs = node.get("inputs", {})
    shape = [inputs.get(name, 0) for name in ("width", "height", "batch_size")]
    if not all(type(number) is int and number >= 0 for number in shape):
        return None
    width, height, batch = shape
    if node["class_type"] == "ZImageLatent":
        try:
            width, height = sizes.resolve(str(inputs.get("size")), width, height)
        except ZImageError:
            return None
        batch = min(batch, sizes.MAX_BATCH)
    return width, height, batch


def _characters(graph: Graph, link: Any) -> int:
    source = _source(graph, link)
    inputs = source[1].get("inputs", {}) if source else {}
    texts = (inputs.get(name) for name in ("prompt", "text"))
    return max((len(text) for text in texts if isinstance(text, str)), default=0)


def _branches(sampler: dict[str, Any], loader: dict[str, Any]) -> int:
    cfg = sampler.get("cfg", 1.0)
    if cfg != -1:
        return 1 if cfg == 1 else 2
    choices = (sampler.get("preset", AUTO), loader.get("variant", AUTO))
    by_name = TURBO if TURBO in str(loader.get("model_name")).lower() else ""
    return 1 if next((choice for choice in choices if choice != AUTO), by_name) == TURBO else 2
