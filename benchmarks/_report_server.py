"""Sections about the server: the start, overhead, recovery."""

from __future__ import annotations

from typing import Any

from _plots import Strip
from _report import Section, Table, Text, met, named, picture

from zimage_comfyui.errors.bilingual import Bilingual

Run = dict[str, Any]


RECOVERY_NAMES: dict[str, Text] = {
    "standby": Bilingual("守护进程，带热备", "guardian, with a standby"),
    "guardian": Bilingual("守护进程", "guardian"),
    "bare": Bilingual("原版 ComfyUI，循环重启", "bare ComfyUI in a loop"),
}
RECOVERY_HEAD: list[Text] = [
    "",
    "kill -9",
    Bilingual("恢复响应，中位数", "responds, median"),
    Bilingual("最慢", "most"),
    Bilingual("完成新任务", "completes a prompt"),
    Bilingual("已接受", "accepted"),
    Bilingual("丢失", "lost"),
    Bilingual("拒绝连接", "refused connections"),
    Bilingual("响应前断开", "cut off before a response"),
    Bilingual("目标：≤ 1 s，0 丢失，0 拒绝", "goal: ≤ 1 s, 0 lost, 0 refused"),
]


def recovery(run: Run) -> Section:
    """Return the section about ``kill -9``, with and without guardian."""
    rows: list[list[Text]] = []
    for name, result in run["contenders"].items():
        answer, done = result["seconds_to_answer"], result["seconds_to_finished"]
        good = answer["max"] <= 1 and result["refused"] == result["lost"] == 0
        rows.append(
            [
                named(RECOVERY_NAMES, name),
                str(result["kills"]),
                f"{answer['median']:.2f} s",
                f"{answer['max']:.2f} s",
                f"{done['median']:.2f} s",
                str(result["accepted"]),
                str(result["lost"]),
                str(result["refused"]),
                str(result["broken"]),
                met(good) if name == "standby" else "–",
            ]
        )
    return Section(
        Bilingual("`kill -9` 之后", "After `kill -9`"),
        Bilingual(
            "客户端持续提交任务时，在随机时刻杀死服务器。",
            "The server is killed at random times while a client submits prompts continuously.",
        ),
        [
            Table(RECOVERY_HEAD, rows),
            picture(
                "../benchmarks/results/recovery.png",
                "Each kill: seconds until the server responds",
                "每次杀死后，到服务器响应的秒数",
            ),
        ],
        "./zimage bench recovery -- --save",
    )


def recovery_rows(run: Run) -> list[Strip]:
    """Return the plot rows of all kills, on the same axis."""
    names = {
        "standby": "guardian with a standby",
        "guardian": "guardian",
        "bare": "bare ComfyUI in a loop",
    }
    return [
        Strip(
            f"{names[name]}, kill -9 until it answers",
            result["seconds_to_answer"]["values"],
            " s",
            1.0 if name == "standby" else None,
            (0.05, 60),
            log=True,
        )
        for name, result in run["contenders"].items()
    ]


OVERHEAD_NAMES: dict[str, Text] = {
    "trivial": Bilingual("极小的任务", "trivial prompt"),
    "turbo": Bilingual("Turbo 图（小模型）", "Turbo picture, small model"),
}
OVERHEAD_HEAD: list[Text] = [
    "",
    Bilingual("对", "pairs"),
    Bilingual("原版", "bare"),
    Bilingual("加固", "hardened"),
    Bilingual("差", "difference"),
    Bilingual("比", "ratio"),
    Bilingual("目标", "goal"),
    "",
]


def overhead(run: Run) -> Section:
    """Return the section about the time that the hardening adds."""
    goals, prompts = run["goals"], run["prompts"]
    beside = goals.get("beside_fsync_ms", 1)  # not in runs of earlier versions
    limits: dict[str, Text] = {
        "trivial": Bilingual(
            f"≤ 一次 fsync + {beside:.0f} ms = {goals['trivial_ms']:.2f} ms",
            f"≤ one fsync + {beside:.0f} ms = {goals['trivial_ms']:.2f} ms",
        ),
        "turbo": f"≤ ×{goals['turbo_ratio']:.2f}",
    }
    rows: list[list[Text]] = []
    for name, result in prompts.items():
        rows.append(
            [
                named(OVERHEAD_NAMES, name),
                str(len(result["ratio"]["values"])),
                *(
                    f"{result[key]['median']:.2f} ms"
                    for key in ("bare_ms", "hardened_ms", "difference_ms")
                ),
                f"×{result['ratio']['median']:.3f}",
                limits[name],
                met(goals[f"{name}_met"]),
            ]
        )
    return Section(
        Bilingual("加固给任务增加的时间", "Overhead of the hardening for a prompt"),
        Bilingual("成对轮流提交，取中位数。", "Medians over pairs of prompts, submitted in turns."),
        [
            Table(OVERHEAD_HEAD, rows),
            picture(
                "../benchmarks/results/overhead.png",
                "The difference of each pair of prompts",
                "每一对任务的时间差",
            ),
        ],
        "./zimage bench overhead -- --save",
    )


def overhead_rows(run: Run) -> list[Strip]:
    """Return the plot rows of all pairs."""
    goals, prompts = run["goals"], run["prompts"]
    added, ratio = prompts["trivial"]["difference_ms"], prompts["turbo"]["ratio"]
    return [
        Strip("trivial prompt, added", added["values"], " ms", goals["trivial_ms"]),
        Strip("Turbo picture, hardened / bare", ratio["values"], "", goals["turbo_ratio"]),
    ]


def submissions(run: Run) -> Section:
    """Return the section about the prompts that a server accepts in a second."""
    goals = run["goals"]
    most = max(run["connections"], key=int)
    rows: list[list[Text]] = [
        [
            count,
            f"{result['bare_rate']['median']:.0f} / s",
            f"{result['hardened_rate']['median']:.0f} / s",
            f"×{result['ratio']['median']:.2f}",
            f"≥ ×{goals['ratio']:.2f}" if count == most else "–",
            met(goals["met"]) if count == most else "",
        ]
        for count, result in run["connections"].items()
    ]
    head: list[Text] = [
        Bilingual("连接数", "connections"),
        Bilingual("原版 ComfyUI", "bare ComfyUI"),
        Bilingual("全部加固", "all parts"),
        Bilingual("比值", "ratio"),
        Bilingual("目标", "goal"),
        "",
    ]
    return Section(
        Bilingual("每秒接受的任务", "Accepted prompts in a second"),
        Bilingual(
            f"每轮提交 {run['submissions']} 个小任务，两个服务器轮流，取中位数。",
            f"{run['submissions']} trivial prompts in each turn of the two servers; medians.",
        ),
        [Table(head, rows)],
        "./zimage bench submissions -- --save",
    )


def startup(run: Run) -> Section:
    """Return the section about the start, bare and with the pack."""
    names: dict[str, Text] = {
        "bare": Bilingual("原版 ComfyUI", "bare ComfyUI"),
        "pack": Bilingual("带本节点包", "with this pack"),
    }
    rows: list[list[Text]] = [
        [
            named(names, name),
            f"{result['seconds']['median']:.1f} s",
            f"{result['seconds']['min']:.1f} s",
            f"{result['seconds']['max']:.1f} s",
            f"{result['peak_rss_mib']['median']:.0f} MiB",
            str(result["nodes"]),
        ]
        for name, result in run["contenders"].items()
    ]
    ratio = run["ratios"]["pack/bare"]
    head: list[Text] = [
        "",
        Bilingual("到可响应", "until it responds"),
        Bilingual("最少", "least"),
        Bilingual("最多", "most"),
        Bilingual("内存峰值", "peak memory"),
        Bilingual("节点", "nodes"),
    ]
    return Section(
        Bilingual("启动", "Start"),
        Bilingual("轮流启动，不加载其他节点包。", "Started in turns, without other packs."),
        [
            Table(head, rows),
            Bilingual(
                f"相邻两次之比：时间 ×{ratio['seconds']}，内存 ×{ratio['peak_rss_mib']}。",
                f"Ratio over neighbouring pairs: time ×{ratio['seconds']}, "
                f"memory ×{ratio['peak_rss_mib']}.",
            ),
        ],
        "./zimage bench startup -- --save",
    )
