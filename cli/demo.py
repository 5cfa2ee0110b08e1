"""``demo``: a picture from a bundled template, made by a real ComfyUI over its public interface."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from ..config import PACK_DIR, Settings
from ..errors import ZImageError, system
from ..errors.bilingual import Bilingual
from ..text import prompt_rules
from . import templates
from .client import Client, Event, RefusedError, Run
from .host import discover
from .server import Server
from .terminal import DONE, FAILED, LACKING, USAGE, Stop, document, result, say


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Start a server, run the template once, save its pictures and stop the server."""
    start = time.monotonic()
    signal.signal(signal.SIGTERM, _terminate)
    graph = templates.load(templates.find(PACK_DIR, options.template))
    if options.prompt is not None:
        _check_prompt(options.prompt)
        graph = templates.with_prompt(graph, options.prompt)
    if options.seed is not None:
        graph = templates.with_seed(graph, options.seed)
    out = _writable(Path(options.out).expanduser())
    host = discover(settings, PACK_DIR, options.comfyui)
    say(
        Bilingual(
            f"启动 ComfyUI {host.version}（{host.path}），约需半分钟",
            f"starting ComfyUI {host.version}, which takes about half a minute",
        )
    )
    log = settings.log_dir / "comfyui.log" if settings.log_dir else None
    with Server(host, PACK_DIR, log=log) as server:
        say(Bilingual(f"提交模板“{options.template}”", f"submitting the template to {server.url}"))
        finished = _generate(server.client, graph)
        files = _save(server.client, finished, out, options.template)
        seconds = {
            "start": round(server.seconds_to_start, 2),
            "generate": round(finished.seconds, 2),
            "total": round(time.monotonic() - start, 2),
        }
    _report(options, [str(path) for path in files], seconds)
    return DONE


def _check_prompt(prompt: str) -> None:
    """Check a prompt before the server starts, which takes half a minute."""
    try:
        prompt_rules.check(prompt)
    except ZImageError as error:
        raise Stop(USAGE, error.code, **error.found) from None


def _report(options: argparse.Namespace, files: list[str], seconds: dict[str, float]) -> None:
    if options.json:
        document({"template": options.template, "files": files, "seconds": seconds})
        return
    for path in files:
        result(path)
    result(
        "启动 {start} 秒，生成 {generate} 秒，共 {total} 秒 / "
        "start {start} s, generate {generate} s, total {total} s".format(**seconds)
    )


def _generate(client: Client, graph: templates.Graph) -> Run:
    try:
        finished = client.run(graph, timeout=3600, on_event=_Progress(graph))
    except RefusedError as error:
        raise Stop(FAILED, "ZI-RUN-FAILED", found=_refusal(error.answer)) from error
    except (OSError, HTTPException, TimeoutError) as error:
        raise Stop(FAILED, "ZI-RUN-FAILED", found=_reason(error)) from error
    if finished.error:
        raise Stop.from_node(FAILED, finished.error["exception_message"].strip())
    if finished.interrupted:
        raise Stop(FAILED, "ZI-RUN-FAILED", found=Bilingual("任务被中断", "it was interrupted"))
    if not finished.succeeded or not finished.images:
        raise Stop(FAILED, "ZI-RUN-FAILED", found=Bilingual("没有图像", "no picture"))
    return finished


def _refusal(answer: dict[str, Any]) -> str:
    """Return the errors in a response of ``/prompt`` as one line."""
    parts = [str(answer.get("error", {}).get("message", answer.get("error", "")))]
    for number, node in answer.get("node_errors", {}).items():
        for error in node.get("errors", []):
            parts.append(f"{number} {node.get('class_type')}: {error.get('details')}")
    return "; ".join(parts)


def _save(client: Client, finished: Run, out: Path, template: str) -> list[Path]:
    """Download every picture and write it under an unused name."""
    paths = []
    for image in finished.images:
        if image.get("type") != "output":  # previews
            continue
        try:
            data = client.view(image)
        except (OSError, HTTPException) as error:
            raise Stop(FAILED, "ZI-RUN-FAILED", found=_reason(error)) from error
        paths.append(_write(data, out, template, Path(image["filename"]).suffix).absolute())
    return paths


def _write(data: bytes, folder: Path, stem: str, suffix: str) -> Path:
    """Write a new file and return its path; no file is ever replaced."""
    path, stream = _create(folder, stem, suffix)
    try:
        with stream:
            stream.write(data)
    except BaseException as error:  # also when the user interrupts it
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return path


def _create(folder: Path, stem: str, suffix: str) -> tuple[Path, BinaryIO]:
    """Create a file under the first unused name, even if two processes do so at once."""
    number, path = 1, folder / f"{stem}{suffix}"
    while True:
        try:
            return path, path.open("xb")
        except FileExistsError:
            number += 1
            path = folder / f"{stem}-{number}{suffix}"
        except OSError as error:
            raise _unwritable(path, error) from error


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # a name that no other run has
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(path: Path, error: OSError) -> Stop:
    return Stop(LACKING, "ZI-OUTPUT", path=path, found=system.reason(error))


def _reason(error: Exception) -> Bilingual | str:
    """Return why the server did not answer."""
    if isinstance(error, TimeoutError):
        return Bilingual("等待超时", "it timed out")
    if isinstance(error, OSError):
        return system.reason(error)
    return str(error) or type(error).__name__


class _Progress:
    """Prints each node and its steps to standard error; in a file, each node once."""

    def __init__(self, graph: templates.Graph) -> None:
        self.names = templates.display_names(PACK_DIR, graph)
        self.again = "\r" if sys.stderr.isatty() else ""

    def __call__(self, event: Event) -> None:
        data = event["data"]
        name = self.names.get(str(data.get("node")), "?")
        if event["type"] == "progress":
            last = data["value"] == data["max"]
            if last or self.again:
                sys.stderr.write(f"{self.again}  {name} {data['value']}/{data['max']}")
                sys.stderr.write("\n" if last else "")
        elif event["type"] == "executing" and data.get("node"):
            sys.stderr.write(f"  {name}\n")
        sys.stderr.flush()


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # unwinds the stack, which stops the server
