"""Model files that the system does not read are reported as that, wherever they are named."""

from __future__ import annotations

import errno
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.cli import models
from zimage_comfyui.engine import dual_text
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.page.tokens import Tokenizers


@pytest.fixture
def types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``nodes/types.py`` on a host with one folder of models, in which no name is a file."""
    host = SimpleNamespace(
        get_folder_paths=lambda kind: [str(tmp_path)] if kind == "vae" else [],
        get_full_path=lambda *_: None,
    )
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    monkeypatch.delitem(sys.modules, "zimage_comfyui.nodes.types", raising=False)
    yield importlib.import_module("zimage_comfyui.nodes.types")
    sys.modules.pop("zimage_comfyui.nodes.types", None)


def test_a_broken_link_among_the_models(types: Any, tmp_path: Path) -> None:
    """The loader's list has it, so "check the name" would not help."""
    (tmp_path / "a.safetensors").symlink_to("none")
    with pytest.raises(ZImageError, match="ZI-FILE-UNREADABLE") as caught:
        types.model_path("vae", "a.safetensors")
    assert "符号链接" in caught.value.chinese


@pytest.mark.parametrize("name", ["none.safetensors", "../../etc/passwd", "/etc/passwd"])
def test_a_name_without_a_file(types: Any, name: str) -> None:
    """It is missing, also if there is such a file outside the folder."""
    with pytest.raises(ZImageError, match="ZI-FILE-MISSING"):
        types.model_path("vae", name)


def test_a_vocabulary_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error with a code, not one of Python."""
    with pytest.raises(ZImageError, match="ZI-FILE-MISSING"):
        dual_text.bert_tokenizer(tmp_path / "vocab.txt", 10)
    (tmp_path / "vocab.txt").write_bytes("词".encode("gbk"))
    with pytest.raises(ZImageError, match=r"ZI-FILE-UNREADABLE.*UTF-8"):
        dual_text.bert_tokenizer(tmp_path / "vocab.txt", 10)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ZImageError, match=r"ZI-FILE-UNREADABLE.*没有权限"):
        dual_text.bert_tokenizer(tmp_path / "vocab.txt", 10)


def test_doctor_lists_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A broken link is a note about that file, and the report is complete."""
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "a.safetensors").symlink_to("none")
    (folder / "b.safetensors").mkdir()
    found = models.report(tmp_path, {"vae": [str(folder)]})
    (entry,) = found["vae"]
    assert (entry["name"], entry["bytes"]) == ("a.safetensors", 0)
    assert entry["problem"]["code"] == "ZI-FILE-UNREADABLE"
    json.dumps(found)


def test_tokens_are_counted_although_the_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the host's vocabulary, as for any file that cannot be used."""
    tokenizers = Tokenizers(tmp_path)
    monkeypatch.setattr(Tokenizers, "_read", lambda *_: ("clip", "bert"))
    assert tokenizers.pair(tmp_path / "gone.safetensors") == ("clip", "bert")
