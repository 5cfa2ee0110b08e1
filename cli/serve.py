"""``serve``: the ComfyUI page and API in the foreground."""

from __future__ import annotations

import argparse
import os

from ..config import PACK_DIR, Settings
from .bootstrap import digest
from .host import discover
from .server import host_environment, pack_arguments, require_free
from .terminal import say


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Replaces this process by ComfyUI, so that signals and exit code are its own."""
    host = discover(settings, PACK_DIR, options.comfyui)
    for address in options.host.split(","):  # ComfyUI listens on several, too
        require_free(address, options.port)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    say(
        f"ComfyUI {host.version}：http://{shown}:{options.port} （按 Ctrl-C 停止）",
        f"ComfyUI {host.version} at http://{shown}:{options.port}, Ctrl-C stops it",
    )
    command = [str(host.python), str(host.path / "main.py")]
    command += ["--listen", options.host, "--port", str(options.port), "--disable-auto-launch"]
    folder = settings.home / f"serve-{digest(str(PACK_DIR).encode())}"
    command += pack_arguments(host, PACK_DIR, folder)
    command += _device(host.device_arguments(), options.rest) + options.rest
    os.chdir(host.path)
    # Somebody's own ComfyUI keeps its surroundings: other packs may need them.
    env = host_environment() if host.source == "embedded" else dict(os.environ)
    os.execve(command[0], command, env)  # noqa: S606


def _device(chosen: list[str], given: list[str]) -> list[str]:
    """Our choice of device and attention, unless the person made one."""
    if "--cpu" in given or any(word.endswith("-cross-attention") for word in given):
        return [word for word in chosen if word == "--cpu" and word not in given]
    return chosen
