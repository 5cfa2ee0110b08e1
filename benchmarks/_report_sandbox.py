"""Sections about other packs: cost of a sandbox, failing packs, real packs."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named

from zimage_comfyui.errors.bilingual import Bilingual

Run = dict[str, Any]
CONTENDERS = ("ours", "pyisolate", "comfyenv", "inside")
ROWS: dict[str, str] = {
    "echo": "传一个整数的调用",
    "reused": "传入 192 MiB，重复同一个",
    "fresh48": "48 MiB 传入并传出",
    "kept48": "48 MiB，保留结果",
    "fresh192": "192 MiB 传入并传出",
    "ask": "节点包调用主进程",
    "serve": "主进程回调",
    "start": "子进程到首次响应",
    "view": "bubblewrap 中的首个子进程",
    "view_again": "bubblewrap 中的下一个子进程",
    "memory": "空闲时的独占内存",
    "die": "SIGSEGV 到报错",
}


def sandbox(run: Run) -> Section:
    """Return the section about the cost, compared with pyisolate, comfy-env and a plain call."""
    rows: list[list[Text]] = []
    for key, row in run["rows"].items():
        goal, unit = row["goal"], row["unit"]
        cells = [_cell(row[name], unit) for name in CONTENDERS]
        verdict: list[Text] = ["–", ""]
        if goal is not None:
            verdict = [f"≤ {goal:g} {unit}", met(row["ours"]["median"] <= goal)]
        rows.append([Bilingual(str(named(ROWS, key)), row["what"]), *cells, *verdict])
    first, second = run["packages"]
    head: list[Text] = [
        Bilingual("中位数", "median"),
        Bilingual("本项目", "ours"),
        first,
        second,
        Bilingual("直接调用", "plain call"),
        Bilingual("目标", "goal"),
        "",
    ]
    return Section(
        Bilingual("沙箱的开销", "Cost of a sandbox"),
        Bilingual(
            "同一次运行中轮流测量；只有本项目的沙箱受到限制。",
            "Measured in turns in one run; only our sandbox is confined.",
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
    """Return the section about a failing pack."""
    rows: list[list[Text]] = []
    for name, ends in run["ends"].items():
        outcomes = ", ".join(f"{end}: {count}" for end, count in ends.items())
        rows.append([f"`{name}`", str(sum(ends.values())), outcomes])
    rss = run["rss_mib"]
    summary: list[list[Text]] = [
        [Bilingual("丢失的任务", "lost prompts"), str(run["lost"]), "0", met(run["lost"] == 0)],
        [
            Bilingual("`/health/live` 最长等待", "longest wait for `/health/live`"),
            f"{run['silent_seconds']} s",
            "",
            "",
        ],
        [
            Bilingual("服务器内存，之前 → 之后", "memory of the server, before → after"),
            f"{rss['before']} → {rss['after']} MiB",
            "",
            "",
        ],
    ]
    return Section(
        Bilingual("出故障的节点包", "Packs that fail"),
        Bilingual(
            "`kill`：在任务的随机时刻杀死工作进程；其余是节点包自己的故障。任务可以成功，也可以报错，但必须结束。",
            "`kill`: the worker is killed at random times of a prompt; the others are faults of "
            "the pack. A prompt may succeed or fail, but it must end.",
        ),
        [
            Table(
                [
                    Bilingual("故障", "fault"),
                    Bilingual("任务", "prompts"),
                    Bilingual("结束方式", "ended with"),
                ],
                rows,
            ),
            Table(
                [
                    Bilingual("项目", "what"),
                    Bilingual("数值", "figure"),
                    Bilingual("目标", "goal"),
                    "",
                ],
                summary,
            ),
        ],
        "./zimage bench faults -- --save",
    )


def hostile(run: Run) -> Section:
    """Return the section about a malicious pack."""
    outcomes = run["stopped"]
    ends: dict[str, list[str]] = {}
    for name, stopped in outcomes.items():
        ends.setdefault(stopped, []).append(f"`{name}`")
    order = sorted(ends, key=lambda outcome: (-len(ends[outcome]), outcome))
    rows: list[list[Text]] = [
        [outcome, str(len(ends[outcome])), " ".join(ends[outcome])] for outcome in order
    ]
    return Section(
        Bilingual("恶意节点包", "A malicious pack"),
        Bilingual(
            f"共 {len(outcomes)} 次尝试，没有一次成功，结果如下。`Permission denied` 来自 "
            "Landlock；`Operation not permitted`、`Function not implemented` 和 `SIGSYS` 来自 "
            "seccomp（向其他进程发信号时来自 Landlock）；`bad message` 来自连接的 ComfyUI 一侧，"
            "它会结束该工作进程。",
            f"The outcome of {len(outcomes)} attempts, none of which succeeded. "
            "`Permission denied` comes from Landlock; `Operation not permitted`, `Function not "
            "implemented` and `SIGSYS` come from seccomp (for signals to other processes, from "
            "Landlock); `bad message` comes from ComfyUI's side of the connection, which ends the "
            "worker.",
        ),
        [
            Table(
                [
                    Bilingual("结果", "outcome"),
                    Bilingual("次数", "attempts"),
                    Bilingual("尝试", "which"),
                ],
                rows,
            ),
            *_in_bubblewrap(outcomes, run.get("stopped_in_bubblewrap", {})),
        ],
        "./zimage bench hostile -- --save",
    )


def _in_bubblewrap(bare: dict[str, str], view: dict[str, str]) -> list[Table | Text]:
    """Return the attempts with another outcome with ``bubblewrap = true``, if it was measured."""
    if not view:
        return []
    others = sorted(name for name in view if view[name] != bare[name])
    rows: list[list[Text]] = [[f"`{name}`", bare[name], view[name]] for name in others]
    sentence = Bilingual(
        f"`bubblewrap = true` 时全部 {len(view)} 次也都被阻止，其中结果不同的：",
        f"With `bubblewrap = true`, all {len(view)} attempts failed as well; other outcomes:",
    )
    head: list[Text] = [
        Bilingual("尝试", "attempt"),
        Bilingual("不用", "without"),
        Bilingual("bubblewrap 中", "in bubblewrap"),
    ]
    return [sentence, Table(head, rows)]


def packs(run: Run) -> Section:
    """Return the section about unmodified packs: each node in the sandbox and in the host."""
    rows: list[list[Text]] = []
    for name, pack in run["packs"].items():
        same, of = pack["same_in_the_sandbox"], pack["run_in_the_host"]
        differ = ", ".join(sorted(pack["differ"])) or "–"
        rows.append(
            [name, str(pack["nodes"]), str(pack["described_equally"]), f"{same}/{of}", differ]
        )
    head: list[Text] = [
        Bilingual("节点包", "pack"),
        Bilingual("节点", "nodes"),
        Bilingual("描述相同", "described equally"),
        Bilingual("结果相同（主进程中能运行的）", "same result, of those that run in the host"),
        Bilingual("不同的", "differ"),
    ]
    return Section(
        Bilingual("真实节点包在沙箱中", "Real packs in a sandbox"),
        Bilingual(
            "未改动的节点包，逐个节点运行。", "Unmodified packs, each node with generated inputs."
        ),
        [Table(head, rows)],
        "./zimage bench packs -- --packs FOLDER --save",
    )
