"""The host loads the pack from any folder name, the way it loads every pack."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NODES = [
    "ZImageLoader",
    "ZImageDualLoader",
    "ZImageTextEncode",
    "ZImageEdit",
    "ZImageLatent",
    "ZImageSampler",
    "ZImageDecode",
    "ZImageKeep",
    "ZImageSave",
]
NOT_INSTALLED = (".git", "tests", "benchmarks", "docs", "models", "__pycache__", ".ci", ".venv")


@pytest.fixture
def copy(pack_dir: Path, tmp_path: Path):
    """Copies the pack to a folder of the given name and gives the path."""

    def make(name: str) -> Path:
        ignore = shutil.ignore_patterns(*NOT_INSTALLED)
        return shutil.copytree(pack_dir, tmp_path / "custom_nodes" / name, ignore=ignore)

    return make


@pytest.fixture
def load(comfy_modules, monkeypatch: pytest.MonkeyPatch):
    """The host's own loader; its registries and ours in ``sys.modules`` are as before after it."""
    import nodes

    for registry in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS"):
        monkeypatch.setattr(nodes, registry, {})
    modules, path = set(sys.modules), list(sys.path)

    def run(folder: Path):
        assert asyncio.run(nodes.load_custom_node(str(folder)))
        assert sys.path == path
        return nodes

    yield run
    for name in set(sys.modules) - modules:
        if str(name).startswith("/"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["Z-Image-ComfyUI", "我的 插件 v1.0 (副本)"])
def test_any_folder_name(copy, load, name: str) -> None:
    """Hyphens, dots, spaces, Chinese: six nodes, their page folder, and schemas that work."""
    folder = copy(name)
    host = load(folder)
    assert list(host.NODE_CLASS_MAPPINGS) == NODES
    assert list(host.EXTENSION_WEB_DIRS.values()) == [str(folder / "web")]
    for node in host.NODE_CLASS_MAPPINGS.values():
        assert node.CATEGORY == "Z-Image"
        assert node.INPUT_TYPES()["required"]
        assert node.GET_NODE_INFO_V1()["display_name"]


def test_two_copies_do_not_meet(copy, load) -> None:
    """Each copy has modules of its own, so one cannot break the other."""
    first = load(copy("a-1")).NODE_CLASS_MAPPINGS["ZImageLoader"]
    second = load(copy("a-2")).NODE_CLASS_MAPPINGS["ZImageLoader"]
    assert first is not second
    assert first.__module__ != second.__module__


def test_a_broken_part_stands_aside(copy, load, caplog: pytest.LogCaptureFixture) -> None:
    """One node file that does not import costs that node and one line in the log."""
    folder = copy("Z-Image-ComfyUI")
    (folder / "nodes" / "save_image.py").write_text("import does_not_exist_anywhere\n")
    with caplog.at_level(logging.ERROR):
        host = load(folder)
    assert list(host.NODE_CLASS_MAPPINGS) == NODES[:-1]
    messages = [record.getMessage() for record in caplog.records if "Z-Image" in record.message]
    assert messages == ["Z-Image: node ZImageSave is not available"]


def test_bundled_models_are_found(pack_dir: Path, copy, load) -> None:
    """What lies in demo/models is in the host's lists, without a copy."""
    import folder_paths

    folder = copy("Z-Image-ComfyUI")
    kinds = ("diffusion_models", "text_encoders", "vae")
    for kind in kinds:
        place = folder / "demo" / "models" / kind
        place.mkdir(parents=True, exist_ok=True)
        (place / f"bundled-{kind}.safetensors").touch()
    before = {kind: list(folder_paths.get_folder_paths(kind)) for kind in kinds}
    try:
        host = load(folder)
        folder_paths.filename_list_cache.clear()
        options = host.NODE_CLASS_MAPPINGS["ZImageLoader"].INPUT_TYPES()["required"]
        for kind, name in zip(kinds, ("model_name", "text_encoder", "vae"), strict=True):
            assert f"bundled-{kind}.safetensors" in options[name][1]["options"]
    finally:
        for kind in kinds:
            folder_paths.folder_names_and_paths[kind][0][:] = before[kind]
        folder_paths.filename_list_cache.clear()


def test_translations_cover_every_input(pack_dir: Path, copy, load) -> None:
    """Both languages name and explain every node, input and output, and nothing that is not."""
    host = load(copy("Z-Image-ComfyUI"))
    for language in ("zh", "en"):
        text = (pack_dir / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8")
        told = json.loads(text)
        assert list(told) == NODES
        for name, node in host.NODE_CLASS_MAPPINGS.items():
            types = node.INPUT_TYPES()
            inputs = [*types["required"], *types.get("optional", {})]
            assert sorted(told[name]["inputs"]) == sorted(inputs)
            assert len(told[name]["outputs"]) == len(node.RETURN_TYPES)
            assert told[name]["description"]
            assert (pack_dir / "web" / "docs" / name / f"{language}.md").is_file()
            words = [text for field in told[name]["inputs"].values() for text in field.values()]
            assert not [text for text in words if set(text) & set("{}@|$")]  # special to vue-i18n
