"""Validator: agreement with the host, broken workflows caught, and time, on official templates.

A real ComfyUI with every file that the templates name gives the verdicts; nothing is run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common

TIMES = 5
"""Variants of each template for each kind of break."""


def main(argv: list[str]) -> int:
    """Measure all three; exit code 0."""
    parser = _common.parser(__doc__ or "", repeats=5)
    parser.add_argument("--times", type=int, default=TIMES, help="broken variants of each template")
    options = parser.parse_args(argv)
    _common.load_pack()
    from zimage_comfyui.tests.fakes import workflows
    from zimage_comfyui.validator import snapshot

    saved = {path.stem: json.loads(path.read_bytes()) for path in workflows.official()}
    stored = snapshot.load()
    figures = {
        "templates": len(saved),
        "seconds": _times(options.repeats),
        "agreement": _agreement(saved, stored),
        "breaks": _breaks(saved, stored, options.times),
    }
    return _common.finish("validator", options, figures, _table(figures))


def _times(repeats: int) -> dict[str, Any]:
    """Seconds to check all bundled and all official templates, node classes read beforehand."""
    from zimage_comfyui.tests.fakes.workflows import official
    from zimage_comfyui.validator import snapshot
    from zimage_comfyui.validator.check import check_bytes

    stored = snapshot.load()
    sets = {
        "bundled": sorted((_common.pack_dir() / "workflows").glob("*.json")),
        "official": official(),
    }

    def timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    figures: dict[str, Any] = {
        "reading node classes": _common.summary([timed(snapshot.load) for _ in range(repeats)])
    }
    for name, paths in sets.items():

        def everything(paths: list[Path] = paths) -> None:
            for path in paths:
                check_bytes(path.read_bytes(), stored)

        everything()  # reads the disk
        seconds = [timed(everything) for _ in range(repeats)]
        figures[name] = {"files": len(paths), **_common.summary(seconds)}
    return figures


def _agreement(saved: dict[str, Any], stored: Any) -> dict[str, Any]:
    """Our errors and the host's, template by template."""
    from zimage_comfyui.cli.server import Server
    from zimage_comfyui.tests.fakes import verdicts
    from zimage_comfyui.tests.fakes.workflows import check
    from zimage_comfyui.validator.knowledge import Knowledge

    named = [check(document, stored).prompt or {} for document in saved.values()]
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        arguments = verdicts.arguments(Path(folder), named, stored)
        home = Path(folder) / "server"
        _common.say("starting ComfyUI for its verdicts")
        os.environ["ZIMAGE_SANDBOX"] = "off"  # the verdicts are those of the server's own process
        with Server(_common.the_host(), _common.pack_dir(), home, arguments) as server:
            known = Knowledge(server.client.get("/object_info"))
            results = {name: check(document, known) for name, document in saved.items()}
            said = verdicts.ask(server.client, [one.prompt for one in results.values()])
    both = list(zip(results.items(), said, strict=True))
    return {
        "accepted by both": sum(v.clean and one.ok for (_, one), v in both),
        "refused by both": [name for (name, one), v in both if not v.clean and not one.ok],
        "refused by us alone": [name for (name, one), v in both if v.clean and not one.ok],
        "refused by the host alone": [name for (name, one), v in both if not v.clean and one.ok],
        "host's errors not told": sum(
            len(verdicts.unseen(v, one.findings)) for (_, one), v in both
        ),
    }


def _breaks(saved: dict[str, Any], stored: Any, times: int) -> dict[str, Any]:
    """For each kind of break: made, harmless and by which rule, caught, missed."""
    from zimage_comfyui.tests.fakes import mutations, page_mutations, workflows

    fine = {name: one for name, one in saved.items() if name not in workflows.UNKNOWN}
    prompts = {name: workflows.check(one, stored).prompt or {} for name, one in fine.items()}
    known = workflows.with_files(stored, prompts.values())
    figures = {}
    for breakers, documents in ((mutations.API, prompts), (page_mutations.PAGE, fine)):
        goods = [
            mutations.Good(name, one, workflows.told(one, known)) for name, one in documents.items()
        ]
        for name, breaker in breakers.items():
            count, missed = mutations.trial(name, breaker, goods, known, times)
            wrong = count["caught"] + count["missed"]
            figures[name] = {**count, "share": round(count["caught"] / wrong, 4), "which": missed}
            _common.say(f"{name}: {count['caught']} of {wrong}")
    return figures


def _table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{'kind of break':32} {'made':>5} {'harmless':>8} {'caught':>6} {'missed':>6} {'share':>7}"
    ]
    for name, one in figures["breaks"].items():
        lines.append(
            f"{name:32} {one['made']:5} {one.get('harmless', 0):8} {one.get('caught', 0):6} "
            f"{one.get('missed', 0):6} {one['share']:7.2%}"
        )
    lines += ["", f"official templates: {figures['templates']}"]
    for name, value in figures["agreement"].items():
        shown = f"{len(value)}: {', '.join(value)}" if isinstance(value, list) else value
        lines.append(f"{name}: {shown}")
    lines.append("")
    for name, one in figures["seconds"].items():
        files = f" ({one['files']} files)" if "files" in one else ""
        lines.append(f"{name}{files}: {one['median'] * 1000:.0f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
