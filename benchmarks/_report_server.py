"""Sections about the server: the start, overhead, recovery."""

from __future__ import annotations

from typing import Any

from _plots import Strip
from _report import Section, Table, Text, met, named, picture

Run = dict[str, Any]


def recovery(run: Run) -> Section:
    """``kill -9``, with and without guardian."""
    names: dict[str, Text] = {
        "standby": ("guardian, with a standby", "守护进程，带热备"),
        "guardian": ("guardian", "守护进程"),
        "bare": ("bare ComfyUI in a loop", "裸 ComfyUI 循环重启"),
    }
    rows: list[list[Text]] = []
    for name, one in run["contenders"].items():
        answer, done = one["seconds_to_answer"], one["seconds_to_finished"]
        good = answer["max"] <= 1 and one["refused"] == one["lost"] == 0
        rows.append(
            [
                named(names, name),
                str(one["kills"]),
                f"{answer['median']:.2f} s",
                f"{answer['max']:.2f} s",
                f"{done['median']:.2f} s",
                str(one["accepted"]),
                str(one["lost"]),
                str(one["refused"]),
                str(one["broken"]),
                met(good) if name == "standby" else "–",
            ]
        )
    head: list[Text] = [
        "",
        "kill -9",
        ("answers, median", "恢复应答，中位数"),
        ("most", "最慢"),
        ("finishes a prompt", "完成新任务"),
        ("accepted", "已接受"),
        ("lost", "丢失"),
        ("refused connections", "拒绝连接"),
        ("cut off before an answer", "应答前断开"),
        ("goal: ≤ 1 s, 0 lost, 0 refused", "目标：≤ 1 s，0 丢失，0 拒绝"),
    ]
    return Section(
        ("After `kill -9`", "`kill -9` 之后"),
        (
            "Killed at random while a client submits prompts without a pause.",
            "客户端不停提交任务时随机杀死服务器。",
        ),
        [
            Table(head, rows),
            picture(
                "../benchmarks/results/recovery.png",
                "Each kill: seconds until the server answers",
                "每次杀死：到服务器应答的秒数",
            ),
        ],
        "./zimage bench recovery -- --save",
    )


def recovery_rows(run: Run) -> list[Strip]:
    """Every kill, on one axis."""
    names = {
        "standby": "guardian with a standby",
        "guardian": "guardian",
        "bare": "bare ComfyUI in a loop",
    }
    return [
        Strip(
            f"{names[name]}, kill -9 until it answers",
            one["seconds_to_answer"]["values"],
            " s",
            1.0 if name == "standby" else None,
            (0.05, 60),
            log=True,
        )
        for name, one in run["contenders"].items()
    ]


def overhead(run: Run) -> Section:
    """What the hardening adds."""
    goals, prompts = run["goals"], run["prompts"]
    names: dict[str, Text] = {
        "trivial": ("trivial prompt", "极小的任务"),
        "turbo": ("Turbo picture, small model", "Turbo 图（小模型）"),
    }
    beside = goals.get("beside_fsync_ms", 1)  # stored runs of earlier versions lack it
    limits: dict[str, Text] = {
        "trivial": (
            f"≤ one fsync + {beside:.0f} ms = {goals['trivial_ms']:.2f} ms",
            f"≤ 一次 fsync + {beside:.0f} ms = {goals['trivial_ms']:.2f} ms",
        ),
        "turbo": f"≤ ×{goals['turbo_ratio']:.2f}",
    }
    rows: list[list[Text]] = []
    for name, one in prompts.items():
        rows.append(
            [
                named(names, name),
                str(len(one["ratio"]["values"])),
                *(
                    f"{one[key]['median']:.2f} ms"
                    for key in ("bare_ms", "hardened_ms", "difference_ms")
                ),
                f"×{one['ratio']['median']:.3f}",
                limits[name],
                met(goals[f"{name}_met"]),
            ]
        )
    head: list[Text] = [
        "",
        ("pairs", "对"),
        ("bare", "裸"),
        ("hardened", "加固"),
        ("difference", "差"),
        ("ratio", "比"),
        ("goal", "目标"),
        "",
    ]
    return Section(
        ("What the hardening adds to a prompt", "加固给任务增加多少时间"),
        ("Medians over pairs, asked in turns.", "成对轮流询问，取中位数。"),
        [
            Table(head, rows),
            picture(
                "../benchmarks/results/overhead.png",
                "What each pair of prompts differs by",
                "每一对任务相差多少",
            ),
        ],
        "./zimage bench overhead -- --save",
    )


def overhead_rows(run: Run) -> list[Strip]:
    """Every pair."""
    goals, prompts = run["goals"], run["prompts"]
    added, ratio = prompts["trivial"]["difference_ms"], prompts["turbo"]["ratio"]
    return [
        Strip("trivial prompt, added", added["values"], " ms", goals["trivial_ms"]),
        Strip("Turbo picture, hardened / bare", ratio["values"], "", goals["turbo_ratio"]),
    ]


def startup(run: Run) -> Section:
    """The start, bare and with the pack."""
    names: dict[str, Text] = {
        "bare": ("bare ComfyUI", "裸 ComfyUI"),
        "pack": ("with this pack", "带本节点包"),
    }
    rows: list[list[Text]] = [
        [
            named(names, name),
            f"{one['seconds']['median']:.1f} s",
            f"{one['seconds']['min']:.1f} s",
            f"{one['seconds']['max']:.1f} s",
            f"{one['peak_rss_mib']['median']:.0f} MiB",
            str(one["nodes"]),
        ]
        for name, one in run["contenders"].items()
    ]
    ratio = run["ratios"]["pack/bare"]
    head: list[Text] = [
        "",
        ("until it answers", "到可应答"),
        ("least", "最少"),
        ("most", "最多"),
        ("peak memory", "内存峰值"),
        ("nodes", "节点"),
    ]
    return Section(
        ("Start", "启动"),
        ("In turns; nothing else loaded.", "轮流启动，不加载其他节点包。"),
        [
            Table(head, rows),
            (
                f"Ratio over neighbouring pairs: time ×{ratio['seconds']}, "
                f"memory ×{ratio['peak_rss_mib']}.",
                f"相邻两次之比：时间 ×{ratio['seconds']}，内存 ×{ratio['peak_rss_mib']}。",
            ),
        ],
        "./zimage bench startup -- --save",
    )
