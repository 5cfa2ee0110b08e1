"""Where ``doctor`` looks for models and says to put them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from zimage_comfyui.cli import doctor, doctor_sandbox
from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.terminal import DONE, LACKING, USAGE
from zimage_comfyui.config import InvalidValue, Settings


def test_every_line_is_in_both_languages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Chinese label, and the name that ``--json`` has for it; yes and no as well."""
    probe = {
        "python": "3.12.0",
        "torch": {"version": "2", "cuda_build": "13", "hip_build": "7", "devices": [{"name": "G"}]},
        "sandbox": dict.fromkeys(doctor_sandbox.KEYS, True),
    }
    server = {"url": "x", "running": True, "status": "ok", "patches": {"fuse": "active"}}
    monkeypatch.setattr(doctor, "_probe", lambda _: probe)
    monkeypatch.setattr(doctor, "discover", lambda *_: Host(Path("none"), Path("python"), "x"))
    monkeypatch.setattr(doctor.doctor_server, "report", lambda _: server | {"problems": []})
    doctor.run(parse(["doctor"]), Settings(home=Path("/unused")))
    lines = capsys.readouterr().out.splitlines()
    facts = [line.strip() for line in lines if not re.match(" *[✗!]|    ", line)]
    labels = {fact.partition(":")[0] for fact in facts}
    assert {label for label in labels if label.isascii()} <= {"python", "torch", "vae"}
    assert "地址 url" in labels
    assert "系统调用限制 seccomp: 是 yes" in facts


@pytest.mark.parametrize("source", ["embedded", "argument"])
def test_models_of_the_embedded_host_lie_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    """As ``serve`` has it search; the host's own folders come after."""
    kept = tmp_path / "home" / "data" / "models" / "vae" / "kept.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    host = Host(tmp_path / "ComfyUI", Path("python"), source)
    folders = {kind: [str(host.path / "models" / kind)] for kind in doctor.models.KINDS}
    pack = tmp_path / "pack"
    pack.mkdir()
    monkeypatch.setattr(doctor, "PACK_DIR", pack)
    monkeypatch.setattr(doctor.bootstrap, "paths", lambda *_: None)
    monkeypatch.setattr(doctor.bootstrap, "is_ready", lambda _: True)
    monkeypatch.setattr(doctor, "discover", lambda *_: host)
    monkeypatch.setattr(doctor, "_probe", lambda _: {"torch": {}, "folders": folders})
    assert doctor.run(parse(["doctor", "--json"]), Settings(home=tmp_path / "home")) == LACKING
    report = json.loads(capsys.readouterr().out)["models"]
    seen = [entry["name"] for entry in report["vae"]]
    assert seen == (["kept.safetensors"] if source == "embedded" else [])
    place = "home/data" if source == "embedded" else "ComfyUI"
    advice = " ".join(p["en"] for p in report["problems"] if p["code"] == "ZI-MODELS-NONE")
    assert f"{tmp_path}/{place}/models/diffusion_models" in advice


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A machine where nothing is missing and there is nothing to note."""
    host = Host(tmp_path / "ComfyUI", Path("python"), "embedded")
    torch = {"version": "2", "devices": [{"name": "G"}]}
    monkeypatch.setattr(doctor, "discover", lambda *_: host)
    monkeypatch.setattr(doctor, "_probe", lambda _: {"torch": torch})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=9e9))
    monkeypatch.setattr(doctor.doctor_server, "report", lambda _: {"problems": []})
    return Settings(home=tmp_path / "home")


def test_a_sound_machine_exits_with_0(sound: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """And says so in both languages."""
    assert doctor.run(parse(["doctor"]), sound) == DONE
    assert capsys.readouterr().out.splitlines()[-1] == "一切正常 / all is well"


def test_notes_alone_exit_with_0(sound: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot be used is one: its default counts, and pictures can be made."""
    invalid = InvalidValue("ZIMAGE_GUARD", "silence=x", "silence=30")
    settings = dataclasses.replace(sound, unfit=(invalid,))
    assert doctor.run(parse(["doctor"]), settings) == DONE
    shown = capsys.readouterr().out
    assert f"  ! {invalid.error.chinese}\n    {invalid.error.english}\n" in shown
    assert shown.splitlines()[-1].startswith("没有错误，但请看上面的提示")


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_needed_and_missing_exits_with_3(
    sound: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:  # fmt: skip
    """Marked in the report, and ``ok`` is false in JSON."""
    monkeypatch.setattr(doctor, "_probe", lambda _: {"torch": {"error": "no torch"}})
    words = ["doctor", *(["--json"] if as_json else [])]
    assert doctor.run(parse(words), sound) == LACKING
    shown = capsys.readouterr().out
    if as_json:
        assert json.loads(shown)["ok"] is False
    else:
        assert "  ✗ " in shown


def test_the_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """In Chinese and in English, notes included."""
    with pytest.raises(SystemExit):
        parse(["doctor", "--help"])
    shown = capsys.readouterr().out
    for text in ("退出码 / exit codes", "可能有提示", "there may be notes", "缺少必需的条件",
                 "something needed is missing"):  # fmt: skip
        assert text in shown
    assert re.findall(r"^  (\d) ", shown, re.MULTILINE) == [str(DONE), str(USAGE), str(LACKING)]
