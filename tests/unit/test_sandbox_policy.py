"""``sandbox.toml``: every key, every mistake, and what holds without a file or with a bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from zimage_comfyui.errors import ZImageError, in_chinese
from zimage_comfyui.sandbox.policy.grants import environment
from zimage_comfyui.sandbox.policy.policy import (
    MODES,
    PLACES,
    PackRule,
    Policy,
    known,
    parse,
    read,
    variables,
)
from zimage_comfyui.sandbox.policy.reload import ReloadablePolicy

SAMPLES = {
    "run": "trusted", "network": True, "gpu": True, "processes": True, "bubblewrap": True,
    "read": ("/data",), "write": (".", "/data/out"), "memory": 2.5, "arena": 1.0, "tasks": 64,
    "load_seconds": 9.0, "call_seconds": 10.0, "silent_seconds": 5.0, "idle_minutes": 0.5,
    "eager": True,
}  # fmt: skip
"""A value for every key that is not its default."""


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def write(path: Path, text: str) -> None:
    """Write a file that is newer than the one before, whatever the clock's resolution."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_there_is_a_sample_for_every_key() -> None:
    """So that the tests below forget none."""
    assert set(PackRule.__struct_fields__) == set(SAMPLES)
    assert all(getattr(PackRule(), key) != value for key, value in SAMPLES.items())


@pytest.mark.parametrize("key", SAMPLES)
@pytest.mark.parametrize("table", ["default", "packs.Some-Pack"])
def test_every_key(tmp_path: Path, key: str, table: str) -> None:
    """In both tables; all other keys stay at their defaults."""
    path = tmp_path / "sandbox.toml"
    path.write_text(f"[{table}]\n{key} = {toml(SAMPLES[key])}\n")
    policy = read(path)
    assert policy.error is None
    assert policy.rule("some-PACK") == replace(PackRule(), **{key: SAMPLES[key]})
    assert policy.rule("other") == (policy.default if table == "default" else PackRule())


def test_a_pack_starts_from_the_default_table() -> None:
    """What its own table does not say is as in ``default``, not as in the code."""
    policy = parse({"default": {"memory": 2, "network": True}, "packs": {"A": {"network": False}}})
    assert policy.rule("a") == PackRule(memory=2.0, network=False)
    assert policy.rule("b") == PackRule(memory=2.0, network=True)


@pytest.mark.parametrize("mode", MODES)
def test_modes(tmp_path: Path, mode: str) -> None:
    """The file's, unless the environment says otherwise; an unknown one there changes nothing."""
    path = tmp_path / "sandbox.toml"
    path.write_text(f'mode = "{mode}"\n')
    assert read(path).mode == mode
    assert [read(path, other).mode for other in MODES] == list(MODES)
    assert read(path, "nonsense").mode == mode


def test_without_a_file(tmp_path: Path) -> None:
    """The defaults, and no trouble."""
    assert read(tmp_path / "sandbox.toml") == Policy()


@pytest.mark.parametrize(
    ("document", "names", "expects"),
    [
        ({"mode": "lax"}, "mode = 'lax'", "auto, strict, off"),
        ({"mode": ["auto"]}, "mode = ['auto']", "auto, strict, off"),
        ({"pack": {}}, "pack", "mode, default, packs"),
        ({"packs": []}, "packs = []", "a table"),
        ({"default": 1}, "default = 1", "a table"),
        ({"packs": {"a": True}}, "packs.a = True", "a table"),
        ({"packs": {"a": {"gpus": True}}}, "a.gpus", ", ".join(SAMPLES)),
        ({"packs": {"a": {"__class__": 1}}}, "a.__class__", ", ".join(SAMPLES)),
        ({"packs": {"a": {"run": "anywhere"}}}, "a.run = 'anywhere'", ", ".join(PLACES)),
        ({"default": {"network": 1}}, "default.network = 1", "true or false"),
        ({"default": {"eager": "yes"}}, "default.eager = 'yes'", "true or false"),
        ({"default": {"read": "/data"}}, "default.read = '/data'", "a list of paths"),
        ({"default": {"write": [1]}}, "default.write = [1]", "a list of paths"),
        ({"default": {"memory": "8"}}, "default.memory = '8'", "a number of 0 or more"),
        ({"default": {"memory": -1}}, "default.memory = -1", "a number of 0 or more"),
        ({"default": {"tasks": True}}, "default.tasks = True", "a number of 0 or more"),
        ({"default": {"tasks": -0.5}}, "default.tasks = -0.5", "a number of 0 or more"),
        ({"default": {"tasks": 10**30}}, f"default.tasks = {10**30}", "a number of 0 or more"),
        ({"default": {"memory": 10**9}}, "default.memory = 1000000000", "a number of 0 or more"),
        ({"default": {"arena": float("nan")}}, "default.arena = nan", "a number of 0 or more"),
        ({"default": {"arena": float("inf")}}, "default.arena = inf", "a number of 0 or more"),
    ],
    ids=str,
)
def test_a_mistake_is_named(document: dict, names: str, expects: str) -> None:
    """Which key it is, what was found, and what was expected."""
    with pytest.raises(ValueError, match="expected") as caught:
        parse(document)
    found, _, expected = str(caught.value).partition("expected ")
    assert found.rstrip("; :").endswith(names)
    assert expects in expected
    chinese = str(in_chinese(caught.value))
    assert names in chinese
    assert "应为" in chinese


def test_a_fraction_of_a_task_is_dropped() -> None:
    """A whole number is what a limit of threads and processes is."""
    assert parse({"default": {"tasks": 2.9}}).rule("a") == PackRule(tasks=2)


def test_a_mistake_is_told_in_both_languages(tmp_path: Path) -> None:
    """With the key, what was found and what was expected; a long value is cut."""
    path = tmp_path / "sandbox.toml"
    path.write_text(f"[packs.a]\nnetwork = '{'x' * 1000}'\n")
    error = read(path).error
    assert error is not None
    assert "packs.a.network = 'xxx" in error.chinese
    assert "应为：true 或 false" in error.chinese
    assert "expected true or false" in error.english
    assert len(error.english) < 500


@pytest.mark.parametrize(
    "content", [b"mode = ", b'mode = "lax"', b"\xff\xfe", b"[packs.a]\nmemory = -1"], ids=repr
)
def test_a_file_of_no_use_is_strict(tmp_path: Path, content: bytes) -> None:
    """With a code; nothing of it is used, and the environment cannot make it laxer."""
    path = tmp_path / "sandbox.toml"
    path.write_bytes(content)
    for mode in (None, "auto", "off"):
        policy = read(path, mode)
        assert policy.mode == "strict"
        assert policy.error is not None
        assert policy.error.code == "ZI-SANDBOX-POLICY"
        assert str(path) in policy.error.english
        assert policy.rule("a") == PackRule()


def test_a_file_that_cannot_be_read_is_strict(tmp_path: Path) -> None:
    """Such as a folder in its place."""
    (tmp_path / "sandbox.toml").mkdir()
    policy = read(tmp_path / "sandbox.toml")
    assert (policy.mode, policy.error and policy.error.code) == ("strict", "ZI-SANDBOX-POLICY")


def rules_of(path: Path) -> ReloadablePolicy:
    """As ComfyUI starts."""
    return ReloadablePolicy(path, read(path))


def test_rules_follow_the_file(tmp_path: Path) -> None:
    """A file that appears, changes and goes is noticed by its time; nothing asks for it."""
    path = tmp_path / "sandbox.toml"
    rules = rules_of(path)
    assert rules.rule("a") == PackRule()
    for seconds in (5, 7):
        write(path, f"[packs.a]\ncall_seconds = {seconds}\n")
        assert rules.rule("A") == PackRule(call_seconds=seconds)
    path.unlink()
    assert rules.rule("a") == PackRule()
    assert rules.pending_restart() == []


def test_a_mistake_keeps_the_rules_from_before(tmp_path: Path) -> None:
    """It is told with a code until it is mended."""
    path = tmp_path / "sandbox.toml"
    write(path, "[packs.a]\nmemory = 2\n")
    rules = rules_of(path)
    write(path, "[packs.a]\nmemory = 'much'\n")
    assert rules.rule("a") == PackRule(memory=2.0)
    assert rules.error is not None
    assert rules.error.code == "ZI-SANDBOX-RELOAD"
    with pytest.raises(ZImageError, match=r"a\.memory = 'much'; expected a number"):
        rules.reload()
    write(path, "[packs.a]\nmemory = 3\n")
    rules.reload()
    assert rules.error is None
    assert rules.rule("a") == PackRule(memory=3.0)


def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    """Where packs run is decided when ComfyUI starts."""
    path = tmp_path / "sandbox.toml"
    write(path, 'mode = "auto"\n[packs.a]\nrun = "sandbox"\n')
    rules = rules_of(path)
    write(path, 'mode = "strict"\n[packs.a]\nrun = "trusted"\n[packs.b]\nrun = "blocked"\n')
    rules.reload()
    assert rules.pending_restart() == ["mode", "packs.a.run", "packs.b.run"]


def test_the_mode_of_the_environment_waits_for_nothing(tmp_path: Path) -> None:
    """The file's is not used then, before a restart or after it."""
    path = tmp_path / "sandbox.toml"
    rules = ReloadablePolicy(path, read(path, "strict"))
    assert rules.pending_restart() == []
    write(path, 'mode = "off"\n')
    rules.reload()
    assert rules.pending_restart() == []


def test_a_known_pack_gets_what_it_needs(tmp_path: Path) -> None:
    """Whatever its folder's capitals; other packs do not, and what the file says goes before."""
    path = tmp_path / "sandbox.toml"
    assert read(path).rule("WAS-Node-Suite-ComfyUI").processes
    assert not read(path).rule("was-node-suite").processes
    path.write_text("[packs.was-node-suite-comfyui]\nmemory = 2\n")
    assert read(path).rule("was-node-suite-comfyui") == PackRule(processes=True, memory=2.0)
    path.write_text("[packs.was-node-suite-comfyui]\nprocesses = false\n")
    assert not read(path).rule("was-node-suite-comfyui").processes
    path.write_text("[default]\nprocesses = false\n[packs.was-node-suite-comfyui]\nmemory = 2\n")
    assert read(path).rule("was-node-suite-comfyui") == PackRule(memory=2.0)


def test_strict_grants_nothing_unsaid(tmp_path: Path) -> None:
    """A folder's name is no reason to trust what is in it."""
    path = tmp_path / "sandbox.toml"
    assert not read(path, "strict").rule("was-node-suite-comfyui").processes
    path.write_text('mode = "strict"\n[packs.was-node-suite-comfyui]\nprocesses = true\n')
    assert read(path).rule("was-node-suite-comfyui").processes


def test_what_known_packs_get_is_narrow() -> None:
    """No network, no GPU, no file outside; variables lead nowhere but into their own folder."""
    for name, found in known().items():
        assert name == name.lower()
        assert found.keys() <= {"processes", "variables"}
        assert all(value == "~" for value in found.get("variables", {}).values())


def test_a_known_pack_keeps_its_settings_in_its_own_folder(tmp_path: Path) -> None:
    """By a variable that it reads; no other pack has that."""
    home = tmp_path / "WAS-node-suite-comfyui"
    granted = variables("WAS-node-suite-comfyui")
    assert environment(home, False, granted)["WAS_CONFIG_DIR"] == str(home)
    assert "WAS_CONFIG_DIR" not in environment(home, False, variables("other"))
