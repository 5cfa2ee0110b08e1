"""Sections about long trials: the soak and the drill."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from _report import Section, Table, Text, met, named, picture

Run = dict[str, Any]
MOST_MIB = 2.0
"""Of growth in 1000 requests: all of the interval lies below."""
HEAD: list[Text] = [("what", "项目"), ("figure", "数值"), ("goal", "目标"), ""]


def yes(value: bool) -> Text:
    """Yes or no."""
    return ("yes", "是") if value else ("no", "否")


def soak(run: Run) -> Section:
    """Growth over thousands of requests."""
    names: dict[str, Text] = {
        "rss_mib": ("resident memory, MiB", "常驻内存，MiB"),
        "descriptors": ("descriptors", "文件描述符"),
        "threads": ("threads", "线程"),
        "children": ("child processes", "子进程"),
    }
    rows: list[list[Text]] = []
    for name, one in run["per_1000_requests"].items():
        slope, width = one["slope"], one["plus_minus"]
        memory = name == "rss_mib"
        goal = ("interval below 2", "区间在 2 以下") if memory else ("0 within", "区间含 0")
        flat = slope + width <= MOST_MIB if memory else abs(slope) <= width
        rows.append([named(names, name), f"{slope:+.3f} ± {width:.3f}", goal, met(flat)])
    rows += [
        [
            ("left in use by a prompt, median", "任务后仍占用，中位数"),
            f"{run['residue_percent']:.2f} %",
            "≤ 0.1 %",
            met(run["residue_percent"] <= 0.1),
        ],
        [("lost requests", "丢失的请求"), str(run["lost"]), "0", met(run["lost"] == 0)],
        [
            ("same bytes at the end as before", "结束时图片字节与开始时一致"),
            yes(run["same_bytes"]),
            yes(True),
            met(run["same_bytes"]),
        ],
    ]
    if len(run["idle"]) > 1:
        rows += _alone(run["idle"])
    return Section(
        ("Does anything grow?", "会增长吗？"),
        (
            f"{run['requests']} requests by chance; slopes per 1000 requests with "
            "their 95 % intervals.",
            f"随机的 {run['requests']} 个请求；每 1000 个请求的斜率和 95 % 区间。",
        ),
        [
            Table(HEAD, rows),
            picture(
                "../benchmarks/results/soak.png",
                "Memory, descriptors and threads over the requests",
                "内存、描述符、线程随请求的变化",
            ),
        ],
        "./zimage bench soak -- --save",
    )


def _alone(readings: list[dict[str, float]]) -> list[list[Text]]:
    """A server that nobody asks anything: before, at the end, and what has grown meanwhile."""
    first, last = readings[0], readings[-1]
    minutes = f"{last['minute']:g}"
    grown = [name for name in ("descriptors", "threads", "children") if last[name] > first[name]]
    return [
        [
            (f"left alone for {minutes} minutes: memory", f"闲置 {minutes} 分钟：内存"),
            f"{first['rss_mib']:.0f} → {last['rss_mib']:.0f} MiB",
            ("no more", "不增加"),
            met(last["rss_mib"] <= first["rss_mib"]),
        ],
        [
            ("descriptors, threads, child processes", "文件描述符、线程、子进程"),
            f"{first['descriptors']:g}, {first['threads']:g}, {first['children']:g} → "
            f"{last['descriptors']:g}, {last['threads']:g}, {last['children']:g}",
            ("no more", "不增加"),
            met(not grown),
        ],
    ]


def read_drill(path: Path) -> Run:
    """What ``./zimage drill`` printed: head line, a row for each fault, totals."""
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
    """Drills did not count it at first."""
    count = run["doubled"]
    name = ("prompts that ended twice", "结束两次的任务")
    return [] if count is None else [[name, count, "0", met(count == "0")]]


def drill(run: Run) -> Section:
    """The drill's totals and its slowest faults."""
    ok = sum(int(count) for _, count, _, end in run["rows"] if end == "ok")
    slow = sorted(run["rows"], key=lambda row: -float(row[2]))[:5]
    summary: list[list[Text]] = [
        [
            ("rounds that ended well", "通过的轮次"),
            f"{ok}/{run['rounds']}",
            ("all", "全部"),
            met(ok == run["rounds"]),
        ],
        [("accepted prompts", "已接受的任务"), run["accepted"], "", ""],
        [("lost prompts", "丢失的任务"), run["lost"], "0", met(run["lost"] == "0")],
        *_doubled(run),
        [("refused connections", "拒绝的连接"), run["refused"], "0", met(run["refused"] == "0")],
        [("cut off before an answer", "应答前断开"), run["cut off"], "", ""],
        [("server processes used", "用过的服务器进程"), run["servers"], "", ""],
        [
            ("same bytes throughout", "图片字节始终一致"),
            yes(run["same bytes"]),
            yes(True),
            met(run["same bytes"]),
        ],
    ]
    longest: list[list[Text]] = [[name, count, f"{seconds} s"] for name, count, seconds, _ in slow]
    once = int(run["rounds"]) == run["faults"]
    return Section(
        ("Drill, every fault once", "演练，每种故障一次") if once else ("Drill", "演练"),
        (
            f"{run['faults']} faults in random order, seed {run['seed']}.",
            f"{run['faults']} 种故障，随机顺序，种子 {run['seed']}。",
        ),
        [
            Table(HEAD, summary),
            Table(
                [("slowest faults", "最慢的故障"), ("rounds", "轮次"), ("median", "中位数")],
                longest,
            ),
        ],
        f"./zimage drill --rounds {run['rounds']} --seed {run['seed']}",
    )
