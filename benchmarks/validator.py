"""Validator: agreement with the host, detected breaks, and time, on official templates.

The verdicts are those of a real ComfyUI with every file that the templates name. No prompt runs.
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
    """Measure all three; return exit code 0."""
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
    """Return the seconds to check all bundled and all official templates."""
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

        everything()  # fills the disk cache
        seconds = [timed(everything) for _ in range(repeats)]
        figures[name] = {"files": len(paths), **_common.summary(seconds)}
    return figures


def _agreement(saved: dict[str, Any], stored: Any) -> dict[str, Any]:
    """Compare the errors of the validator with those of the host for each template."""
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
            host_verdicts = verdicts.ask(
                server.client, [result.prompt for result in results.values()]
            )
    both = list(zip(results.items(), host_verdicts, strict=True))
    return {
        "accepted by both": sum(v.clean and result.ok for (_, result), v in both),
        "refused by both": [name for (name, result), v in both if not v.clean and not result.ok],
        "refused by us alone": [name for (name, result), v in both if v.clean and not result.ok],
        "refused by the host alone": [
            name for (name, result), v in both if not v.clean and result.ok
        ],
        "host's errors not told": sum(
            len(verdicts.unseen(v, result.findings)) for (_, result), v in both
        ),
    }


def _breaks(saved: dict[str, Any], stored: Any, times: int) -> dict[str, Any]:
    """Return for each kind of break the numbers made, harmless by a rule, caught and missed."""
    from zimage_comfyui.tests.fakes import mutations, page_mutations, workflows

    fine = {name: document for name, document in saved.items() if name not in workflows.UNKNOWN}
    prompts = {
        name: workflows.check(document, stored).prompt or {} for name, document in fine.items()
    }
    known = workflows.with_files(stored, prompts.values())
    figures = {}
    for breakers, documents in ((mutations.API, prompts), (page_mutations.PAGE, fine)):
        goods = [
            mutations.Good(name, document, workflows.told(document, known))
            for name, document in documents.items()
        ]
        for name, breaker in breakers.items():
            count, missed = mutations.trial(name, breaker, goods, known, times)
            wrong = count["caught"] + count["missed"]
            figures[name] = {**count, "share": round(count["caught"] / wrong, 4), "which": missed}
            _common.say(f"{name}: {count['caught']} of {wrong}")
    return figures


def _table(figures: dict[str, Any]) -> str:
    """Return the table."""
    lines = [
        f"{'kind of break':32} {'made':>5} {'harmless':>8} {'caught':>6} {'missed':>6} {'share':>7}"
    ]
    for name, result in figures["breaks"].items():
        harmless, caught, missed = (result.get(key, 0) for key in ("harmless", "caught", "missed"))
        counts = f"{result['made']:5} {harmless:8} {caught:6} {missed:6}"
        lines.append(f"{name:32} {counts} {result['share']:7.2%}")
    lines += ["", f"official templates: {figures['templates']}"]
    for name, value in figures["agreement"].items():
        shown = f"{len(value)}: {', '.join(value)}" if isinstance(value, list) else value
        lines.append(f"{name}: {shown}")
    lines.append("")
    for name, result in figures["seconds"].items():
        files = f" ({result['files']} files)" if "files" in result else ""
        lines.append(f"{name}{files}: {result['median'] * 1000:.0f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
