"""The policy file ``sandbox.toml``: its keys, mistakes in it, and changes while ComfyUI runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.sandbox.policy.grants import environment
from zimage_comfyui.sandbox.policy.policy import (
    MODES,
    PLACES,
    PackRule,
    Policy,
    PolicyValueError,
    known,
    parse,
    read,
    variables,
)
from zimage_comfyui.sandbox.policy.reload import ReloadablePolicy

SAMPLES = {
    "run": "trusted",
    "network": True,
    "gpu": True,
    "processes": True,
    "bubblewrap": True,
    "read": ("/data",),
    "write": (".", "/data/out"),
    "memory": 2.5,
    "arena": 1.0,
    "tasks": 64,
    "load_seconds": 9.0,
    "call_seconds": 10.0,
    "silent_seconds": 5.0,
    "idle_minutes": 0.5,
    "eager": True,
}
"""A value for every key that is not its default."""


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def write(path: Path, text: str) -> None:
    """Write a file that is newer than before, whatever the clock's resolution."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_there_is_a_sample_for_every_key() -> None:
    """The samples cover every key, so the tests below do too."""
    assert set(PackRule.__struct_fields__) == set(SAMPLES)
    assert all(getattr(PackRule(), key) != value for key, value in SAMPLES.items())


@pytest.mark.parametrize("key", SAMPLES)
@pytest.mark.parametrize("table", ["default", "packs.Some-Pack"])
def test_each_key_is_read(tmp_path: Path, key: str, table: str) -> None:
    """Each key is read in both tables, and the other keys keep their defaults."""
    path = tmp_path / "sandbox.toml"
    path.write_text(f"[{table}]\n{key} = {toml(SAMPLES[key])}\n")
    policy = read(path)
    assert policy.error is None
    assert policy.rule("some-PACK") == replace(PackRule(), **{key: SAMPLES[key]})
    assert policy.rule("other") == (policy.default if table == "default" else PackRule())


def test_a_pack_starts_from_the_default_table() -> None:
    """A key that a pack's table does not have is as in ``default``."""
    policy = parse({"default": {"memory": 2, "network": True}, "packs": {"A": {"network": False}}})
    assert policy.rule("a") == PackRule(memory=2.0, network=False)
    assert policy.rule("b") == PackRule(memory=2.0, network=True)


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_replaces_the_mode(tmp_path: Path, mode: str) -> None:
    """The mode is the file's, unless the environment has a valid one."""
    path = tmp_path / "sandbox.toml"
    path.write_text(f'mode = "{mode}"\n')
    assert read(path).mode == mode
    assert [read(path, other).mode for other in MODES] == list(MODES)
    assert read(path, "nonsense").mode == mode


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """A missing file is no error."""
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
    """An error has the key, what was found, and what was expected, in both languages."""
    with pytest.raises(ValueError, match="expected") as caught:
        parse(document)
    found, _, expected = str(caught.value).partition("expected ")
    assert found.rstrip("; :").endswith(names)
    assert expects in expected
    assert isinstance(caught.value, PolicyValueError)
    assert names in caught.value.text.chinese
    assert "应为：" in caught.value.text.chinese


def test_a_fraction_of_a_task_is_dropped() -> None:
    """The limit of threads and processes is a whole number."""
    assert parse({"default": {"tasks": 2.9}}).rule("a") == PackRule(tasks=2)


def test_the_error_of_a_file_quotes_the_value(tmp_path: Path) -> None:
    """The error of a file quotes key and value, and cuts a long value."""
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
    """An unusable file means mode strict, and the environment cannot weaken it."""
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
    """A folder in place of the file means mode strict."""
    (tmp_path / "sandbox.toml").mkdir()
    policy = read(tmp_path / "sandbox.toml")
    assert (policy.mode, policy.error and policy.error.code) == ("strict", "ZI-SANDBOX-POLICY")


def rules_of(path: Path) -> ReloadablePolicy:
    """Return the policy as it is when ComfyUI starts."""
    return ReloadablePolicy(path, read(path))


def test_rules_follow_the_file(tmp_path: Path) -> None:
    """A new, changed or deleted file is noticed without a request to reload it."""
    path = tmp_path / "sandbox.toml"
    rules = rules_of(path)
    assert rules.rule("a") == PackRule()
    for seconds in (5, 7):
        write(path, f"[packs.a]\ncall_seconds = {seconds}\n")
        assert rules.rule("A") == PackRule(call_seconds=seconds)
    path.unlink()
    assert rules.rule("a") == PackRule()
    assert rules.pending_restart() == []


def test_a_mistake_keeps_the_earlier_rules(tmp_path: Path) -> None:
    """A mistake is reported until it is corrected, and the earlier rules stay in force."""
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
    """Changes of mode and place are listed, since they apply only after a restart."""
    path = tmp_path / "sandbox.toml"
    write(path, 'mode = "auto"\n[packs.a]\nrun = "sandbox"\n')
    rules = rules_of(path)
    write(path, 'mode = "strict"\n[packs.a]\nrun = "trusted"\n[packs.b]\nrun = "blocked"\n')
    rules.reload()
    assert rules.pending_restart() == ["mode", "packs.a.run", "packs.b.run"]


def test_the_mode_of_the_environment_needs_no_restart(tmp_path: Path) -> None:
    """A change of the file's mode is not listed if the environment replaces the mode."""
    path = tmp_path / "sandbox.toml"
    rules = ReloadablePolicy(path, read(path, "strict"))
    assert rules.pending_restart() == []
    write(path, 'mode = "off"\n')
    rules.reload()
    assert rules.pending_restart() == []


def test_a_known_pack_gets_what_it_needs(tmp_path: Path) -> None:
    """A well-known pack gets its grants in any spelling, unless the file says otherwise."""
    path = tmp_path / "sandbox.toml"
    assert read(path).rule("WAS-Node-Suite-ComfyUI").processes
    assert not read(path).rule("was-node-suite").processes
    path.write_text("[packs.was-node-suite-comfyui]\nmemory = 2\n")
    assert read(path).rule("was-node-suite-comfyui") == PackRule(processes=True, memory=2.0)
    path.write_text("[packs.was-node-suite-comfyui]\nprocesses = false\n")
    assert not read(path).rule("was-node-suite-comfyui").processes
    path.write_text("[default]\nprocesses = false\n[packs.was-node-suite-comfyui]\nmemory = 2\n")
    assert read(path).rule("was-node-suite-comfyui") == PackRule(memory=2.0)


def test_strict_grants_only_what_the_file_says(tmp_path: Path) -> None:
    """In mode strict, the name of a folder alone grants nothing."""
    path = tmp_path / "sandbox.toml"
    assert not read(path, "strict").rule("was-node-suite-comfyui").processes
    path.write_text('mode = "strict"\n[packs.was-node-suite-comfyui]\nprocesses = true\n')
    assert read(path).rule("was-node-suite-comfyui").processes


def test_grants_of_known_packs_are_narrow() -> None:
    """They include no network, GPU or files, and variables that point to the home folder only."""
    for name, grants in known().items():
        assert name == name.lower()
        assert grants.keys() <= {"processes", "variables"}
        assert all(value == "~" for value in grants.get("variables", {}).values())


def test_a_known_pack_keeps_its_settings_in_its_own_folder(tmp_path: Path) -> None:
    """Its environment has a variable for its home folder, that of other packs has not."""
    home = tmp_path / "WAS-node-suite-comfyui"
    granted = variables("WAS-node-suite-comfyui")
    assert environment(home, False, granted)["WAS_CONFIG_DIR"] == str(home)
    assert "WAS_CONFIG_DIR" not in environment(home, False, variables("other"))
