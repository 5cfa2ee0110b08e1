"""The text encoder's tokenizer is read once for all loads of a model."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.memory import readings, tokenizer_cache
from zimage_comfyui.tests.fakes.memory_host import CPU, MIB, Host


class Reader:
    """The host's class: attributes made of files that are read each time."""

    read = 0

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = {}) -> None:  # noqa: B006
        if tokenizer_data == "broken":
            raise OSError(tokenizer_data)
        type(self).read += 1
        self.words, self.directory = {"word": type(self).read}, embedding_directory
        self.data = tokenizer_data


@pytest.fixture
def host(monkeypatch) -> Host:
    """A host with a text encoder."""
    found = Host(monkeypatch, CPU, 100 * MIB)
    module = ModuleType("comfy.text_encoders.z_image")
    module.Qwen3Tokenizer = type("Qwen3Tokenizer", (Reader,), dict(vars(Reader)))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found.kind = module.Qwen3Tokenizer
    return found


@pytest.fixture
def part(host):
    """The part, applied."""
    found = tokenizer_cache.create()
    found.apply()
    assert found.active
    yield found
    found.revert()
    assert not readings.objects


def test_loads_share_what_was_read_first(host, part) -> None:
    """The objects are the same ones; an attribute that one sets is its own."""
    first, second = host.kind(), host.kind(embedding_directory=None, tokenizer_data={})
    assert first.words is second.words
    assert host.kind.read == 1
    assert part.details() == {"reads": 1, "shared": 1}
    first.words = {}
    assert host.kind().words is second.words


def test_another_folder_is_read_and_kept_instead(host, part) -> None:
    """A tokenizer looks for embeddings where it was told to."""
    assert host.kind().directory is None
    for _ in range(2):
        assert host.kind(["there"]).directory == ["there"]
    assert part.details() == {"reads": 2, "shared": 1}


def test_data_of_its_own_is_not_shared(host, part) -> None:
    """A model file may bring a part of its tokenizer."""
    first = host.kind()
    other = host.kind(tokenizer_data={"max_length": 7})
    assert other.data == {"max_length": 7}
    assert other.words is not first.words
    assert host.kind().words is first.words


def test_what_a_subclass_has_is_not_shared(host, part) -> None:
    """Another pack's class sets attributes first."""

    class Theirs(host.kind):
        def __init__(self) -> None:
            self.own = True
            super().__init__()

    theirs = Theirs()
    assert theirs.own
    assert "own" not in vars(host.kind())
    assert host.kind().words is not theirs.words


def test_one_that_could_not_be_read_is_read_again(host, part) -> None:
    """The failure is the host's own."""
    with pytest.raises(OSError, match="broken"):
        host.kind(None, "broken")
    assert host.kind().words == {"word": 1}
    assert part.details() == {"reads": 1, "shared": 0}


def test_it_goes_with_the_hosts_caches(host, part) -> None:
    """Asked to forget, as after an idle time, nothing is kept; what is in use stays as it is."""
    executor = host.execution.PromptExecutor()
    first = host.kind()
    kept = readings.Reading.take().loaded
    executor.reset()
    assert readings.Reading.take().loaded == () != kept  # levels with and without are not compared
    assert first.words == {"word": 1}
    assert host.kind().words == {"word": 2}


def test_undone_it_reads_every_time(host, part) -> None:
    """Applying twice is applying once."""
    part.apply()
    host.kind()
    part.revert()
    assert host.kind().words != host.kind().words
    assert not readings.objects


def test_a_different_host_is_left_alone(host) -> None:
    """The tokenizer takes something else."""
    host.kind.__init__ = theirs = lambda self, path: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        tokenizer_cache.create().apply()
    assert host.kind.__init__ is theirs
