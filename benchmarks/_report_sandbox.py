"""Sections about other people's packs: cost of a sandbox, and packs that fail."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named

Run = dict[str, Any]
CONTENDERS = ("ours", "pyisolate", "comfyenv", "inside")
ROWS: dict[str, str] = {
    "echo": "传一个整数的调用",
    "reused": "传入 192 MiB，重复同一个",
    "fresh48": "48 MiB 传入并传出",
    "kept48": "48 MiB，保留结果",
    "fresh192": "192 MiB 传入并传出",
    "ask": "包询问主进程",
    "serve": "主进程回调",
    "start": "子进程到首次应答",
    "view": "bubblewrap 中的首个子进程",
    "view_again": "bubblewrap 中的下一个子进程",
    "memory": "空闲时自有内存",
    "die": "SIGSEGV 到报错",
}


def sandbox(run: Run) -> Section:
    """Beside pyisolate, comfy-env and the plain call."""
    rows: list[list[Text]] = []
    for key, row in run["rows"].items():
        goal, unit = row["goal"], row["unit"]
        cells = [_cell(row[name], unit) for name in CONTENDERS]
        verdict: list[Text] = ["–", ""]
        if goal is not None:
            verdict = [f"≤ {goal:g} {unit}", met(row["ours"]["median"] <= goal)]
        rows.append([(row["what"], str(named(ROWS, key))), *cells, *verdict])
    first, second = run["packages"]
    head: list[Text] = [
        ("median", "中位数"),
        ("ours", "本项目"),
        first,
        second,
        ("plain call", "直接调用"),
        ("goal", "目标"),
        "",
    ]
    return Section(
        ("What a sandbox costs", "沙箱的开销"),
        (
            "Asked in turns in one run; ours is confined.",
            "同一次运行中轮流测量；本项目的沙箱处于受限状态。",
        ),
        [Table(head, rows)],
        "./zimage bench sandbox -- --save",
    )


def _cell(value: Any, unit: str) -> str:
    if isinstance(value, str):
        return value
    median = value["median"]
    return f"{median:.0f} {unit}" if median >= 1000 else f"{median:.4g} {unit}"


def faults(run: Run) -> Section:
    """A pack that fails in every way."""
    rows: list[list[Text]] = []
    for name, ends in run["ends"].items():
        told = ", ".join(f"{end}: {count}" for end, count in ends.items())
        rows.append([f"`{name}`", str(sum(ends.values())), told])
    rss = run["rss_mib"]
    summary: list[list[Text]] = [
        [("lost prompts", "丢失的任务"), str(run["lost"]), "0", met(run["lost"] == 0)],
        [
            ("longest wait for `/health/live`", "`/health/live` 最长等待"),
            f"{run['silent_seconds']} s",
            "",
            "",
        ],
        [
            ("memory of the server, before → after", "服务器内存，之前 → 之后"),
            f"{rss['before']} → {rss['after']} MiB",
            "",
            "",
        ],
    ]
    return Section(
        ("Packs that fail", "出故障的节点包"),
        (
            "`kill`: its process is killed at random moments of a prompt; the others are its own "
            "faults. A prompt may end well or with an error; it must end.",
            "`kill`：在任务的随机时刻杀死其进程；其余是包自己的故障。任务可以成功，也可以报错，但必须结束。",
        ),
        [
            Table([("fault", "故障"), ("prompts", "任务"), ("ended with", "结束方式")], rows),
            Table([("what", "项目"), ("figure", "数值"), ("goal", "目标"), ""], summary),
        ],
        "./zimage bench faults -- --save",
    )


def hostile(run: Run) -> Section:
    """A pack that tries everything."""
    found = run["stopped"]
    ends: dict[str, list[str]] = {}
    for name, stopped in found.items():
        ends.setdefault(stopped, []).append(f"`{name}`")
    order = sorted(ends, key=lambda one: (-len(ends[one]), one))
    rows: list[list[Text]] = [[one, str(len(ends[one])), " ".join(ends[one])] for one in order]
    return Section(
        ("A pack that tries everything", "什么都试一遍的节点包"),
        (
            f"{len(found)} attempts, none of which succeeded, and what each ended with. "
            "`Permission denied` is Landlock's answer; `Operation not permitted`, `Function not "
            "implemented` and `SIGSYS` are seccomp's (for signals to others Landlock's); `bad "
            "message` is ComfyUI's side of the connection, which ends the process.",
            f"共 {len(found)} 次尝试，没有一次成功；下面是各自的结局。`Permission denied` 来自 "
            "Landlock；`Operation not permitted`、`Function not implemented` 和 `SIGSYS` 来自 "
            "seccomp（向其他进程发信号时来自 Landlock）；`bad message` 来自连接的 ComfyUI 一侧，"
            "它会结束这个进程。",
        ),
        [
            Table([("ended with", "结局"), ("attempts", "次数"), ("which", "尝试")], rows),
            *_in_bubblewrap(found, run.get("stopped_in_bubblewrap", {})),
        ],
        "./zimage bench hostile -- --save",
    )


def _in_bubblewrap(bare: dict[str, str], view: dict[str, str]) -> list[Table | Text]:
    """What ended otherwise with ``bubblewrap = true``, where the run could have that."""
    if not view:
        return []
    others = sorted(name for name in view if view[name] != bare[name])
    rows: list[list[Text]] = [[f"`{name}`", bare[name], view[name]] for name in others]
    told = (
        f"With `bubblewrap = true` all {len(view)} were stopped, too; these ended otherwise:",
        f"`bubblewrap = true` 时全部 {len(view)} 次也都被阻止，其中结局不同的：",
    )
    head: list[Text] = [
        ("attempt", "尝试"),
        ("without", "不用"),
        ("in bubblewrap", "bubblewrap 中"),
    ]
    return [told, Table(head, rows)]


def packs(run: Run) -> Section:
    """Real packs, unmodified: each node in the sandbox against the same node in the host."""
    rows: list[list[Text]] = []
    for name, pack in run["packs"].items():
        same, of = pack["same_in_the_sandbox"], pack["run_in_the_host"]
        differ = ", ".join(sorted(pack["differ"])) or "–"
        rows.append(
            [name, str(pack["nodes"]), str(pack["described_equally"]), f"{same}/{of}", differ]
        )
    head: list[Text] = [
        ("pack", "节点包"),
        ("nodes", "节点"),
        ("described equally", "描述相同"),
        ("same result, of those that run in the host", "结果相同（主进程中能运行的）"),
        ("differ", "不同的"),
    ]
    return Section(
        ("Real packs in a sandbox", "真实节点包在沙箱中"),
        ("Unmodified packs, each node with inputs of its own.", "未改动的节点包，逐个节点运行。"),
        [Table(head, rows)],
        "./zimage bench packs -- --packs FOLDER --save",
    )
