"""What a prompt needs is told by its graph and the headers of its files, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.engine.safetensors_file import Header
from zimage_comfyui.patches.memory.estimate import Needs, needs
from zimage_comfyui.patches.memory.sampling_jobs import Job, jobs
from zimage_comfyui.tests.fakes import graphs
from zimage_comfyui.tests.fakes.sparse import write

WIDTH = 256
TENSORS = {
    "cap_embedder.1.weight": ("BF16", [WIDTH, 128]),
    "layers.0.attention.qkv.weight": ("BF16", [3 * WIDTH, WIDTH]),
}
COUNT = WIDTH * 128 + 3 * WIDTH * WIDTH


@pytest.fixture
def paths(tmp_path) -> dict[str, str]:
    """Three files by name."""
    other = {"a": ("BF16", [1000])}
    return {
        "tiny-turbo.safetensors": write(tmp_path / "model", TENSORS),
        "tiny-qwen3.safetensors": write(tmp_path / "text", other),
        "tiny-ae.safetensors": write(tmp_path / "vae", other),
    }


class Fixed:
    """Weights of the diffusion model, what it computes, and weights of the text encoder."""

    def __init__(self, kept: int = 4, computed: int = 4, text: int = 2) -> None:
        self.kept = kept
        self.computed = computed
        self.text = text
        self.asked: list[str] = []

    def diffusion(self, _header: Header, dtype: str) -> tuple[int, int]:
        self.asked.append(dtype)
        return self.kept, self.computed

    def text_encoder(self, _header: Header) -> int:
        return self.text


def judge(graph: Any, paths: dict[str, str], precision: Fixed | None = None) -> Needs | None:
    """What the one job of a graph needs."""
    (job,) = jobs(graph)
    return needs(job, precision or Fixed(), lambda _kind, name: paths.get(name))


def test_the_parts_of_a_graph() -> None:
    """Files, size, batch, prompt and guidance of one sampler."""
    graph = graphs.render(size__batch_size=3, sample__cfg=5.0, text__prompt="猫" * 7)
    files = ("tiny-turbo.safetensors", "tiny-qwen3.safetensors", "tiny-ae.safetensors")
    assert list(jobs(graph)) == [Job("size", files, "auto", 144, 112, 3, 7, 2)]


def test_stock_nodes_in_between() -> None:
    """A stock sampler and latent, and a LoRA before the loader."""
    graph = graphs.latents("turbo", 2, 1.0, 3.0)
    graph["flow"]["inputs"]["model"] = ["lora", 0]
    graph["lora"] = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["load", 0]}}
    found = {job.node: (job.width, job.height, job.batch, job.branches) for job in jobs(graph)}
    assert found == {"size": (144, 112, 2, 1), "empty": (144, 112, 2, 1)}


def size_of(name: Any) -> tuple[int, int] | None:
    """Of the pictures of these tests."""
    return {"a.png": (4096, 1024), "b.png": (256, 256)}.get(str(name))


def test_pictures_that_are_changed() -> None:
    """Their size is that of a file, or of what was made before; an edit has at most a megapixel."""
    graph = graphs.edit("edit", "a.png", "b.png", "gone.png", sample__cfg=2.0)
    (job,) = jobs(graph, size_of)
    assert (job.node, job.width, job.height, job.batch, job.branches) == ("a.png", 2048, 512, 1, 2)
    assert job.references == 2**20 + 2**16
    assert list(jobs(graph)) == []
    graph = graphs.render()
    first = graph.pop("sample")
    graph["first"], graph["decode"]["inputs"]["samples"] = first, ["first", 0]
    second = graphs.edit("edit", "x")
    for name in ("edit", "sample"):
        graph[name] = second[name]
    graph["edit"]["inputs"]["image"] = ["decode", 0]
    found = [(job.node, job.width, job.height, job.references) for job in jobs(graph)]
    assert found == [("size", 144, 112, 0), ("size", 144, 112, 144 * 112)]


def test_each_picture_of_a_batch_is_a_reference() -> None:
    """Up to the three that an Edit model takes."""

    def pixels(batch: int) -> int:
        graph = graphs.render(size__batch_size=batch)
        first = graph.pop("sample")
        graph["first"], graph["decode"]["inputs"]["samples"] = first, ["first", 0]
        second = graphs.edit("edit", "x")
        for name in ("edit", "sample"):
            graph[name] = second[name]
        graph["edit"]["inputs"]["image"] = ["decode", 0]
        return max(job.references for job in jobs(graph))

    assert [pixels(batch) // (144 * 112) for batch in (1, 2, 3, 50)] == [1, 2, 3, 3]


def test_references_count_where_they_are_looked_at(paths, tmp_path) -> None:
    """By an Edit or Omni model, each token as one of the picture; Turbo is not given them."""

    def at(*pictures: str) -> int:
        (job,) = jobs(graphs.edit("turbo", *pictures, edit__prompt=""), size_of)
        return needs(job, Fixed(), lambda _kind, name: paths.get(name)).one_branch

    assert at("b.png") == at("b.png", "a.png")
    siglip = {"siglip_embedder.1.weight": ("BF16", [4, 4])}
    paths["tiny-turbo.safetensors"] = write(tmp_path / "omni", TENSORS | siglip)
    one = at("b.png")
    assert at("b.png", "b.png") * 2 == one * 3
    assert at("b.png", "a.png") == 9 * one


UNKNOWN = {
    "a latent of another node": {"size__class_type": "RandomLatent"},
    "pictures of pictures for ever": {"size__class_type": "VAEEncode", "size__pixels": ["size", 0]},
    "a picture of no name": {"size__class_type": "LoadImage", "size__image": ["load", 0]},
    "a width of another node": {"size__class_type": "EmptyLatentImage", "size__width": ["text", 0]},
    "a size that is refused": {"size__size": "custom", "size__width": 17},
    "another loader": {"load__class_type": "CheckpointLoaderSimple"},
    "a name of another node": {"load__vae": ["text", 0]},
    "a loop": {"load__class_type": "LoRA", "load__model": ["load", 0]},
    "no latent": {"sample__latent_image": None},
    "a link to nothing": {"sample__model": ["gone", 0]},
}


@pytest.mark.parametrize("changes", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_not_judged(changes: dict[str, Any]) -> None:
    """There is no job then."""
    graph = graphs.render(**{k: v for k, v in changes.items() if "class_type" not in k})
    for place, value in changes.items():
        if "class_type" in place:
            graph[place.partition("__")[0]]["class_type"] = value
    assert list(jobs(graph, size_of)) == []


ANY = st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers())
NODE = st.sampled_from(
    [
        "ZImageLoader",
        "ZImageLatent",
        "EmptyLatentImage",
        "KSampler",
        "ZImageEdit",
        "VAEEncode",
        "LoadImage",
        "x",
    ]
)
LINK = st.tuples(st.sampled_from("123"), st.just(0)).map(list)
INPUT = st.sampled_from(
    [
        "model",
        "latent_image",
        "positive",
        "width",
        "height",
        "size",
        "batch_size",
        "vae",
        "cfg",
        "image",
        "pixels",
    ]
)


@given(
    st.dictionaries(
        st.sampled_from("123"),
        st.fixed_dictionaries({"class_type": NODE, "inputs": st.dictionaries(INPUT, ANY | LINK)}),
    )
)
def test_any_graph(graph: Any) -> None:
    """Jobs or none, never an error."""
    assert isinstance(list(jobs(graph, lambda _name: (64, 64))), list)


@pytest.mark.parametrize(
    ("preset", "variant", "name", "branches"),
    [
        ("auto", "auto", "Z-Turbo.safetensors", 1), ("auto", "auto", "z-base.safetensors", 2),
        ("auto", "base", "turbo.safetensors", 2), ("turbo", "base", "x.safetensors", 1),
        ("edit", "auto", "turbo.safetensors", 2),
    ],
)  # fmt: skip
def test_guidance_of_presets(preset: str, variant: str, name: str, branches: int) -> None:
    """Turbo has none, the others compute each step twice."""
    graph = graphs.render(sample__preset=preset, load__variant=variant, load__model_name=name)
    (job,) = jobs(graph)
    assert job.branches == branches


def test_needs_grow_with_the_pictures(paths) -> None:
    """In proportion to batch and pixels; twice the room where guidance is on."""

    def at(side: int, batch: int, cfg: float = 1.0) -> Needs:
        sizes = {"size__size": "custom", "size__width": side, "size__height": side}
        graph = graphs.render(**sizes, size__batch_size=batch, sample__cfg=cfg, text__prompt="")
        return judge(graph, paths)

    one, four = at(256, 1), at(512, 1)
    assert four.one_branch == 4 * one.one_branch > 0
    assert at(256, 4).one_branch == four.one_branch
    assert four.pictures == 4 * one.pictures
    assert (one.all_branches, at(256, 1, 5.0).all_branches) == (one.one_branch, 2 * one.one_branch)
    assert (
        judge(graphs.render(text__prompt="猫" * 400), paths).one_branch
        > judge(graphs.render(text__prompt=""), paths).one_branch
    )


def test_weights_in_the_precision_that_is_kept(paths) -> None:
    """The precision is asked with the loader's dtype; the autoencoder counts as it is stored."""
    precision = Fixed(kept=1, computed=2, text=4)
    small = judge(graphs.render(load__dtype="fp8_e4m3fn"), paths, precision)
    assert precision.asked == ["fp8_e4m3fn"]
    assert small.weights == COUNT + 4000 + 2000
    exact = judge(graphs.render(), paths)
    assert exact.weights == COUNT * 4 + 2000 + 2000
    assert exact.one_branch == 2 * small.one_branch


def test_files_that_cannot_be_judged(paths, tmp_path) -> None:
    """A missing, a broken or a foreign one is left to the loader, which has codes for them."""
    graph = graphs.render()
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0" * 20)
    foreign = write(tmp_path / "foreign", {"a": ("BF16", [10])})
    for path in (None, str(tmp_path / "gone"), str(broken), foreign):
        found = judge(graph, {**paths, "tiny-turbo.safetensors": path})
        assert found is None
