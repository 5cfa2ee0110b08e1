"""``doctor``: a report of this machine, the host and the models, with what to do about problems."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

from ..config import PACK_DIR, Settings
from ..errors import ZImageError
from . import bootstrap, device, doctor_server, models
from .doctor_sandbox import sandboxes
from .host import Host, discover
from .terminal import DONE, LACKING, Stop, document, problem, result

OLDEST_HOST = (0, 3, 75)
"""The first ComfyUI with Z-Image."""

LABELS = {
    "home": "状态目录",
    "path": "路径",
    "ready": "已就绪",
    "free_gb": "剩余空间（GB）",
    "host": "宿主",
    "version": "版本",
    "custom_nodes": "节点包目录",
    "source": "来源",
    "has_pack": "已含本节点包",
    "command_line": "命令行所用",
    "cuda_build": "CUDA 版本",
    "hip_build": "HIP 版本",
    "error": "错误",
    "device": "设备",
    "kind": "类型",
    "devices": "显卡",
    "driver_cuda": "驱动支持的 CUDA",
    "cpus": "CPU 核数",
    "models": "模型",
    "diffusion_models": "扩散模型",
    "text_encoders": "文本编码器",
    "sandbox": "沙箱",
    "system": "系统",
    "kernel": "内核",
    "machine": "架构",
    "landlock": "目录限制",
    "seccomp": "系统调用限制",
    "bubblewrap": "隔离工具",
    "server": "服务器",
    "url": "地址",
    "running": "正在运行",
    "status": "状态",
    "patches": "加固",
}
"""Chinese labels of the report's keys. Names such as torch have none."""

Part = dict[str, Any]
"""One section of the report; its ``problems`` are ``{level, code, zh, en}``."""


def run(options: argparse.Namespace, settings: Settings, failure: Stop | None = None) -> int:
    """Print the report; ``failure`` is the error of the bootstrap, if it failed.

    Returns:
        ``DONE``, also with notes, or ``LACKING`` when no pictures can be made.
    """
    report: dict[str, Part] = {"home": _home(settings, failure)}
    try:
        host = discover(settings, PACK_DIR, options.comfyui)
    except Stop as stop:
        report["host"] = {"path": None, "version": None, "custom_nodes": None}
        report["host"]["problems"] = [] if failure else [problem(stop)]  # one cause, reported once
        probe: Part = {}
    else:
        report["host"] = _host(host)
        probe = _probe(host)
    report["python"] = _python(probe)
    report["torch"] = _torch(probe)
    report["device"] = _device(probe)
    folders = probe.get("folders", {})
    if report["host"].get("source") == "embedded":  # serve searches these first
        own = settings.data / "models"
        folders = {kind: [str(own / kind), *folders.get(kind, [])] for kind in models.KINDS}
    report["models"] = models.report(PACK_DIR, folders)
    report["sandbox"] = sandboxes(probe.get("sandbox", {}))
    report["server"] = doctor_server.report(options.server)
    serious = [p for part in report.values() for p in part["problems"] if p["level"] == "error"]
    if options.json:
        document({"ok": not serious, **report})
    else:
        _show(report, ok=not serious)
    return LACKING if serious else DONE


def _home(settings: Settings, failure: Stop | None) -> Part:
    folder = settings.home
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    part: Part = {
        "path": str(settings.home),
        "ready": bootstrap.is_ready(bootstrap.paths(settings, PACK_DIR)),
        "free_gb": round(free, 1),
        "problems": [problem(failure)] if failure else [],
    }
    part["problems"] += [problem(value.error, "note") for value in settings.unfit]
    if free < 1:
        found = {"path": folder, "found": f"{free:.1f}", "expected": 1}
        part["problems"].append(problem(ZImageError("ZI-ENV-SPACE", **found), "note"))
    return part


def _host(host: Host) -> Part:
    part: Part = {
        "path": str(host.path),
        "version": host.version,
        "custom_nodes": str(host.custom_nodes),
        "source": host.source,
        "python": str(host.python),
        "has_pack": host.has_pack(PACK_DIR),
        "problems": [],
    }
    numbers = host.version.split(".")
    if all(word.isdigit() for word in numbers) and tuple(map(int, numbers)) < OLDEST_HOST:
        expected = ".".join(map(str, OLDEST_HOST))
        error = ZImageError("ZI-HOST-OLD", path=host.path, found=host.version, expected=expected)
        part["problems"].append(problem(error))
    if host.source != "embedded" and not part["has_pack"]:
        error = ZImageError("ZI-HOST-PACK", path=host.custom_nodes, found=PACK_DIR)
        part["problems"].append(problem(error, "note"))
    return part


def _probe(host: Host) -> Part:
    """Return the report of the host's own Python, an error when it does not run."""
    command = [str(host.python), "-I", str(PACK_DIR / "cli" / "probe.py"), str(host.path)]
    try:
        process = subprocess.run(
            command, capture_output=True, timeout=300, check=True, cwd=host.path
        )
        return json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"torch": {"error": f"{type(error).__name__}: {error}"}}


def _python(probe: Part) -> Part:
    version = probe.get("python", platform.python_version())
    return {"version": version, "command_line": sys.executable, "problems": []}


def _torch(probe: Part) -> Part:
    torch = probe.get("torch", {})
    part: Part = {"version": None, **torch, "problems": []}
    part.pop("devices", None)
    if "error" in torch:
        part["problems"] = [problem(ZImageError("ZI-TORCH", found=torch["error"]))]
    return part


def _device(probe: Part) -> Part:
    devices = probe.get("torch", {}).get("devices", [])
    count, version = device.cuda()
    part: Part = {
        "kind": "cuda" if devices else "cpu",
        "devices": devices,
        "driver_cuda": f"{version // 1000}.{version % 1000 // 10}" if count else None,
        "cpus": len(os.sched_getaffinity(0)),
        "problems": [],
    }
    if count and not devices:
        error = ZImageError("ZI-GPU-UNUSED", found=part["driver_cuda"])
        part["problems"].append(problem(error, "note"))
    return part


def _show(report: dict[str, Part], ok: bool) -> None:
    """Print the report: one line per fact, problems below their part."""
    for name, part in report.items():
        result(_labelled(name))
        for key, value in part.items():
            if key != "problems" and value not in (None, [], {}):
                result(f"  {_labelled(key)}: {_short(value)}")
        for entry in part["problems"]:
            mark = "✗" if entry["level"] == "error" else "!"
            result(f"  {mark} {entry['zh']}")
            result(f"    {entry['en']}")
    if not ok:
        result("有问题需要处理 / there are problems to solve")
    elif any(part["problems"] for part in report.values()):
        result("没有错误，但请看上面的提示 / no errors, but see the notes above")
    else:
        result("一切正常 / all is well")


def _labelled(name: str) -> str:
    """Return the Chinese label of a part or a fact, followed by its key in ``--json``."""
    return f"{LABELS[name]} {name}" if name in LABELS else name


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "是 yes" if value else "否 no"
    if isinstance(value, list):
        return ", ".join(
            str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value
        )
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)
