"""Sections about long trials: the soak and the drill."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from _report import Section, Table, Text, met, named, picture

from zimage_comfyui.errors.bilingual import Bilingual

Run = dict[str, Any]
MAX_MIB = 2.0
"""Upper limit of the interval of memory growth in 1000 requests."""
HEAD: list[Text] = [
    Bilingual("项目", "what"),
    Bilingual("数值", "figure"),
    Bilingual("目标", "goal"),
    "",
]


def yes(value: bool) -> Text:
    """Return yes or no."""
    return Bilingual("是", "yes") if value else Bilingual("否", "no")


GROWTH_NAMES: dict[str, Text] = {
    "rss_mib": Bilingual("常驻内存，MiB", "resident memory, MiB"),
    "descriptors": Bilingual("文件描述符", "descriptors"),
    "threads": Bilingual("线程", "threads"),
    "children": Bilingual("子进程", "child processes"),
}


def _growth(slopes: Run) -> list[list[Text]]:
    """Return rows with the slope of each reading."""
    rows: list[list[Text]] = []
    for name, growth in slopes.items():
        slope, width = growth["slope"], growth["plus_minus"]
        memory = name == "rss_mib"
        goal = (
            Bilingual("区间低于 2", "interval below 2")
            if memory
            else Bilingual("区间含 0", "interval contains 0")
        )
        flat = slope + width <= MAX_MIB if memory else abs(slope) <= width
        rows.append([named(GROWTH_NAMES, name), f"{slope:+.3f} ± {width:.3f}", goal, met(flat)])
    return rows


def soak(run: Run) -> Section:
    """Return the section about growth over thousands of requests."""
    rows = _growth(run["per_1000_requests"])
    rows += [
        [
            Bilingual("任务后仍占用的内存，中位数", "memory in use after a prompt, median"),
            f"{run['residue_percent']:.2f} %",
            "≤ 0.1 %",
            met(run["residue_percent"] <= 0.1),
        ],
        [Bilingual("丢失的请求", "lost requests"), str(run["lost"]), "0", met(run["lost"] == 0)],
        [
            Bilingual("开始和结束时的图片字节一致", "same bytes of a picture at start and end"),
            yes(run["same_bytes"]),
            yes(True),
            met(run["same_bytes"]),
        ],
    ]
    if len(run["idle"]) > 1:
        rows += _alone(run["idle"])
    return Section(
        Bilingual("资源占用会增长吗？", "Does resource usage grow?"),
        Bilingual(
            f"{run['requests']} 个随机请求；每 1000 个请求的斜率和 95 % 区间。",
            f"{run['requests']} random requests; slopes per 1000 requests with 95 % intervals.",
        ),
        [
            Table(HEAD, rows),
            picture(
                "../benchmarks/results/soak.png",
                "Memory, descriptors and threads over requests",
                "内存、描述符、线程随请求的变化",
            ),
        ],
        "./zimage bench soak -- --save",
    )


def _alone(readings: list[dict[str, float]]) -> list[list[Text]]:
    """Return rows about an idle server: readings at the start and at the end."""
    first, last = readings[0], readings[-1]
    minutes = f"{last['minute']:g}"
    grown = [name for name in ("descriptors", "threads", "children") if last[name] > first[name]]
    return [
        [
            Bilingual(f"空闲 {minutes} 分钟：内存", f"idle for {minutes} minutes: memory"),
            f"{first['rss_mib']:.0f} → {last['rss_mib']:.0f} MiB",
            Bilingual("不增加", "no growth"),
            met(last["rss_mib"] <= first["rss_mib"]),
        ],
        [
            Bilingual("文件描述符、线程、子进程", "descriptors, threads, child processes"),
            f"{first['descriptors']:g}, {first['threads']:g}, {first['children']:g} → "
            f"{last['descriptors']:g}, {last['threads']:g}, {last['children']:g}",
            Bilingual("不增加", "no growth"),
            met(not grown),
        ],
    ]


def read_drill(path: Path) -> Run:
    """Parse the output of ``./zimage drill``: head line, a row for each fault, totals."""
    text = path.read_text(encoding="utf-8")
    head = re.match(r"(\d+) faults, (\d+) rounds, seed (\d+); (\S+), commit (\w+), (.*)", text)
    total = re.search(
        r"lost (\d+)\n.*refused (\d+).*cut off (\d+)\n.*servers (\d+).*bytes (\w+)", text
    )
    rows = re.findall(r"^(\S.*?) {2,}(\d+) +([\d.]+) {2}(.+)$", text, re.MULTILINE)
    accepted = re.search(r"^(?:200|已接受 / accepted) (\d+)", text, re.MULTILINE)
    doubled = re.search(r"doubled (\d+)", text)
    assert head
    assert total
    assert accepted
    names = ("lost", "refused", "cut off", "servers")
    return {
        "faults": int(head[1]),
        "rounds": int(head[2]),
        "seed": head[3],
        "date": head[4],
        "commit": head[5],
        "where": head[6],
        "file": path.name,
        "rows": rows,
        "accepted": accepted[1],
        "same bytes": total[5] == "True",
        "doubled": doubled[1] if doubled else None,
        **dict(zip(names, total.groups()[:4], strict=True)),
    }


def _doubled(run: Run) -> list[list[Text]]:
    """Return the row of prompts that ended twice, which older results do not have."""
    count = run["doubled"]
    name = Bilingual("结束两次的任务", "prompts that ended twice")
    return [] if count is None else [[name, count, "0", met(count == "0")]]


def drill(run: Run) -> Section:
    """Return the section with the drill's totals and its slowest faults."""
    ok = sum(int(count) for _, count, _, end in run["rows"] if end == "ok")
    slow = sorted(run["rows"], key=lambda row: -float(row[2]))[:5]
    summary: list[list[Text]] = [
        [
            Bilingual("通过的轮次", "rounds passed"),
            f"{ok}/{run['rounds']}",
            Bilingual("全部", "all"),
            met(ok == run["rounds"]),
        ],
        [Bilingual("已接受的任务", "accepted prompts"), run["accepted"], "", ""],
        [Bilingual("丢失的任务", "lost prompts"), run["lost"], "0", met(run["lost"] == "0")],
        *_doubled(run),
        [
            Bilingual("拒绝的连接", "refused connections"),
            run["refused"],
            "0",
            met(run["refused"] == "0"),
        ],
        [Bilingual("响应前断开", "cut off before a response"), run["cut off"], "", ""],
        [Bilingual("服务器进程数", "server processes"), run["servers"], "", ""],
        [
            Bilingual("图片字节一致", "same bytes of a picture"),
            yes(run["same bytes"]),
            yes(True),
            met(run["same bytes"]),
        ],
    ]
    longest: list[list[Text]] = [[name, count, f"{seconds} s"] for name, count, seconds, _ in slow]
    once = int(run["rounds"]) == run["faults"]
    return Section(
        Bilingual("演练，每种故障一次", "Drill, every fault once")
        if once
        else Bilingual("演练", "Drill"),
        Bilingual(
            f"{run['faults']} 种故障，随机顺序，种子 {run['seed']}。",
            f"{run['faults']} faults in random order, seed {run['seed']}.",
        ),
        [
            Table(HEAD, summary),
            Table(
                [
                    Bilingual("最慢的故障", "slowest faults"),
                    Bilingual("轮次", "rounds"),
                    Bilingual("中位数", "median"),
                ],
                longest,
            ),
        ],
        f"./zimage drill --rounds {run['rounds']} --seed {run['seed']}",
    )
