"""Where ``doctor`` looks for models and says to put them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from zimage_comfyui.cli import confined, doctor
from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.terminal import LACKING
from zimage_comfyui.config import Settings


def test_every_line_is_in_both_languages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Chinese label, and the name that ``--json`` has for it; yes and no as well."""
    probe = {
        "python": "3.12.0",
        "torch": {"version": "2", "cuda_build": "13", "hip_build": "7", "devices": [{"name": "G"}]},
        "sandbox": dict.fromkeys(confined.KEYS, True),
    }
    server = {"url": "x", "running": True, "status": "ok", "patches": {"fuse": "active"}}
    monkeypatch.setattr(doctor, "_probe", lambda _: probe)
    monkeypatch.setattr(doctor, "discover", lambda *_: Host(Path("none"), Path("python"), "x"))
    monkeypatch.setattr(doctor.running, "report", lambda _: server | {"problems": []})
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
