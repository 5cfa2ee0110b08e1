"""``serve``: the ComfyUI page and API in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from .. import rotating_log
from ..config import PACK_DIR, UNGUARDED, Settings
from ..errors import system
from ..errors.bilingual import Bilingual
from . import guard
from .bootstrap import digest
from .host import Host, discover
from .server import host_environment, main_command, pack_arguments, require_free, write_paths
from .terminal import LACKING, Stop, say

MODEL_KINDS = (
    "diffusion_models",
    "text_encoders",
    "vae",
    "diffusers",
    "zimage_adapters",
    "loras",
    "checkpoints",
    "clip_vision",
    "controlnet",
    "embeddings",
    "upscale_models",
    "model_patches",
)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run a guardian with ComfyUI, or replace this process by ComfyUI."""
    host = discover(settings, PACK_DIR, options.comfyui)
    guarded = options.guardian == "on" and not guard.own_address(options.rest)
    if not guarded:
        for address in options.host.split(","):  # ComfyUI listens on several, too
            require_free(address, options.port)
    address = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{address}:{options.port}"
    say(
        Bilingual(
            f"启动 ComfyUI {host.version}，稍后可访问 {url}（Ctrl-C 停止）",
            f"starting ComfyUI {host.version}, soon at {url}; Ctrl-C stops it",
        )
    )
    folder = settings.home / f"serve-{digest(str(PACK_DIR).encode())}"
    command = main_command(host, PACK_DIR)
    command += ["--listen", options.host, "--port", str(options.port), "--disable-auto-launch"]
    command += _folder_arguments(host, settings, folder, options.rest)
    command += _device(host.device_arguments(), options.rest) + options.rest
    # The user's own ComfyUI keeps its environment: other packs may need it.
    env = _operated(host_environment()) if host.source == "embedded" else dict(os.environ)
    if settings.log_dir:
        _copy_output(settings.log_dir / "comfyui.log")
    if guarded:
        code = guard.run(command, env, host, options, settings, folder)
        if code is not None:
            return code
        env[UNGUARDED] = "1"  # for /health
    os.chdir(host.path)
    os.execve(command[0], command, env)  # noqa: S606


def _operated(env: dict[str, str]) -> dict[str, str]:
    """Return an environment with the defaults of a server; the user's values take precedence."""
    if "ZIMAGE_KEEP_DAYS" not in env:
        say(
            Bilingual(
                "超过 7 天的图片会自动删除（环境变量 ZIMAGE_KEEP_DAYS 可设天数，0 为全部保留）",
                "pictures older than 7 days are deleted; ZIMAGE_KEEP_DAYS=0 keeps all",
            )
        )
    return {"ZIMAGE_KEEP_DAYS": "7", "ZIMAGE_DEADLINES": "turbo.cuda=auto"} | env


def _folder_arguments(host: Host, settings: Settings, folder: Path, given: list[str]) -> list[str]:
    try:
        arguments = pack_arguments(host, PACK_DIR, folder)
        if host.source == "embedded":
            arguments += data_arguments(settings.data, given)
    except OSError as error:
        raise Stop(
            LACKING, "ZI-ENV-HOME", path=settings.home, found=system.reason(error)
        ) from error
    return arguments


def data_arguments(data: Path, given: list[str]) -> list[str]:
    """Return arguments that keep the user's data out of the embedded host's folder.

    The name of that folder has the pack's path and the host's version, so another version would
    start without the pictures, workflows, models and node packs. The arguments stand before
    ``given``, so that the user's own take precedence.
    """
    if any(word.startswith("--ba") for word in given):  # --base-directory; argparse abbreviates
        return []
    say(
        Bilingual(
            f"数据目录 {data}：output 图片、input 输入、user 工作流、models 模型、"
            "custom_nodes 节点包",
            f"your data is in {data}: output, input, user (workflows), models, custom_nodes",
        )
    )
    folders = {name: data / name for name in ("output", "input", "user")}
    models = {kind: data / "models" / kind for kind in MODEL_KINDS}
    config, packs = data / "models.yaml", data / "custom_nodes"
    for folder in (*folders.values(), *models.values(), packs):
        folder.mkdir(parents=True, exist_ok=True)
    places = {kind: str(folder) for kind, folder in models.items()}
    places["custom_nodes"] = str(packs)  # the host's own folder is of one version
    write_paths(config, {**places, "is_default": True})  # nodes download there, too
    arguments = ["--extra-model-paths-config", str(config)]
    for name, folder in folders.items():
        arguments += [f"--{name}-directory", str(folder)]
    return [*arguments, "--database-url", f"sqlite:///{folders['user'] / 'comfyui.db'}"]


def _copy_output(log: Path) -> None:
    """Copy everything that this process writes to the log, besides standard error."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.open("ab").close()
        # It ignores signals, so that it writes the server's last lines. It ends with the server.
        tee = subprocess.Popen(
            [sys.executable, "-I", "-S", rotating_log.__file__, str(log)],
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            preexec_fn=_ignore_ends,
        )
    except OSError as error:
        raise Stop(LACKING, "ZI-OUTPUT", path=log, found=system.reason(error)) from error
    say(Bilingual(f"日志：{log}", f"log: {log}"))
    assert tee.stdin is not None  # noqa: S101 - a pipe was asked for
    for number in (1, 2):
        os.dup2(tee.stdin.fileno(), number)


def _ignore_ends() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _device(chosen: list[str], given: list[str]) -> list[str]:
    """Return our choice of device and attention, unless the user made one."""
    if "--cpu" in given or any(word.endswith("-cross-attention") for word in given):
        return [word for word in chosen if word == "--cpu" and word not in given]
    return chosen
