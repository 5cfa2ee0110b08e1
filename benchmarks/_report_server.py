"""Sections about the server: recovery, the drill, overhead, the soak, the start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from _report import Section, Table, Text, met, picture

Run = dict[str, Any]


def recovery(run: Run) -> Section:
    """``kill -9``, with and without guardian."""
    names: dict[str, Text] = {"standby": ("guardian, with a standby", "守护进程，带热备"),
                              "guardian": ("guardian", "守护进程"),
                              "bare": ("bare ComfyUI in a loop", "裸 ComfyUI 循环重启")}  # fmt: skip
    rows: list[list[Text]] = []
    for name, one in run["contenders"].items():
        answer, done = one["seconds_to_answer"], one["seconds_to_finished"]
        good = answer["max"] <= 1 and one["refused"] == one["lost"] == 0
        rows.append([names.get(name, name), str(one["kills"]), f"{answer['median']:.2f} s",
                     f"{answer['max']:.2f} s", f"{done['median']:.2f} s", str(one["accepted"]),
                     str(one["lost"]), str(one["refused"]), str(one["broken"]),
                     met(good) if name == "standby" else "–"])  # fmt: skip
    head: list[Text] = ["", "kill -9", ("answers, median", "恢复应答，中位数"), ("most", "最慢"),
                        ("finishes a prompt", "完成新任务"), ("accepted", "已接受"), ("lost", "丢失"),
                        ("refused connections", "拒绝连接"), ("cut off before an answer", "应答前断开"),
                        ("goal: ≤ 1 s, 0 lost, 0 refused", "目标：≤ 1 s，0 丢失，0 拒绝")]  # fmt: skip
    return Section(("After `kill -9`", "`kill -9` 之后"),
        ("Killed at random while a client submits prompts without a pause.", "客户端不停提交任务时随机杀死服务器。"),
        [Table(head, rows)], "./zimage bench recovery --save")  # fmt: skip


def overhead(run: Run) -> Section:
    """What the hardening adds."""
    goals, prompts = run["goals"], run["prompts"]
    names: dict[str, Text] = {"trivial": ("trivial prompt", "极小的任务"),
                              "turbo": ("Turbo picture, small model", "Turbo 图（小模型）")}  # fmt: skip
    limits: dict[str, Text] = {
        "trivial": (f"≤ one fsync + 1 ms = {goals['trivial_ms']:.2f} ms",
                    f"≤ 一次 fsync + 1 ms = {goals['trivial_ms']:.2f} ms"),
        "turbo": f"≤ ×{goals['turbo_ratio']:.2f}"}  # fmt: skip
    rows: list[list[Text]] = []
    for name, one in prompts.items():
        rows.append([names.get(name, name), str(len(one["ratio"]["values"])),
                     *(f"{one[key]['median']:.2f} ms" for key in ("bare_ms", "hardened_ms", "difference_ms")),
                     f"×{one['ratio']['median']:.3f}", limits[name], met(goals[f"{name}_met"])])  # fmt: skip
    head: list[Text] = ["", ("pairs", "对"), ("bare", "裸"), ("hardened", "加固"), ("difference", "差"),
                        ("ratio", "比"), ("goal", "目标"), ""]  # fmt: skip
    return Section(("What the hardening adds to a prompt", "加固给任务增加多少时间"),
        ("Medians over pairs, asked in turns.", "成对轮流询问，取中位数。"),
        [Table(head, rows)], "./zimage bench overhead --save")  # fmt: skip


def soak(run: Run) -> Section:
    """Growth over thousands of requests."""
    names: dict[str, Text] = {"rss_mib": ("resident memory, MiB", "常驻内存，MiB"),
                              "descriptors": ("descriptors", "文件描述符"), "threads": ("threads", "线程"),
                              "children": ("child processes", "子进程")}  # fmt: skip
    rows: list[list[Text]] = []
    for name, one in run["per_1000_requests"].items():
        flat = abs(one["slope"]) <= one["plus_minus"]
        rows.append([names.get(name, name), f"{one['slope']:+.3f} ± {one['plus_minus']:.3f}",
                     ("0 within the interval", "区间含 0"), met(flat)])  # fmt: skip
    rows += [
        [("left in use by a prompt, median", "任务后仍占用，中位数"), f"{run['residue_percent']:.2f} %",
         "≤ 0.1 %", met(run["residue_percent"] <= 0.1)],
        [("lost requests", "丢失的请求"), str(run["lost"]), "0", met(run["lost"] == 0)],
        [("same bytes at the end as before", "结束时图片字节与开始时一致"),
         ("yes", "是") if run["same_bytes"] else ("no", "否"), ("yes", "是"), met(run["same_bytes"])],
    ]  # fmt: skip
    return Section(("Does anything grow?", "会增长吗？"),
        (f"{run['requests']} requests by chance; slopes per 1000 requests with their 95 % intervals.",
         f"随机的 {run['requests']} 个请求；每 1000 个请求的斜率和 95 % 区间。"),
        [Table([("what", "项目"), ("figure", "数值"), ("goal", "目标"), ""], rows),
         picture("../benchmarks/results/soak.png", "Memory, descriptors and threads over the requests",
                 "内存、描述符、线程随请求的变化")],
        "./zimage bench soak --save")  # fmt: skip


def startup(run: Run) -> Section:
    """The start, bare and with the pack."""
    names: dict[str, Text] = {
        "bare": ("bare ComfyUI", "裸 ComfyUI"),
        "pack": ("with this pack", "带本节点包"),
    }
    rows: list[list[Text]] = [
        [names.get(name, name), f"{one['seconds']['median']:.1f} s", f"{one['seconds']['min']:.1f} s",
         f"{one['seconds']['max']:.1f} s", f"{one['peak_rss_mib']['median']:.0f} MiB", str(one["nodes"])]
        for name, one in run["contenders"].items()]  # fmt: skip
    ratio = run["ratios"]["pack/bare"]
    head: list[Text] = ["", ("until it answers", "到可应答"), ("least", "最少"), ("most", "最多"),
                        ("peak memory", "内存峰值"), ("nodes", "节点")]  # fmt: skip
    return Section(("Start", "启动"), ("In turns; nothing else loaded.", "轮流启动，不加载其他节点包。"),
        [Table(head, rows),
         (f"Ratio over neighbouring pairs: time ×{ratio['seconds']}, memory ×{ratio['peak_rss_mib']}.",
          f"相邻两次之比：时间 ×{ratio['seconds']}，内存 ×{ratio['peak_rss_mib']}。")],
        "./zimage bench startup --save")  # fmt: skip


def read_drill(path: Path) -> Run:
    """What ``./zimage drill`` printed: head line, a row for each fault, totals."""
    text = path.read_text(encoding="utf-8")
    head = re.match(r"(\d+) faults, (\d+) rounds, seed (\d+); (\S+), commit (\w+), (.*)", text)
    total = re.search(
        r"lost (\d+)\n.*refused (\d+).*cut off (\d+)\n.*servers (\d+).*bytes (\w+)", text
    )
    rows = re.findall(r"^(\S.*?) {2,}(\d+) +([\d.]+) {2}(.+)$", text, re.MULTILINE)
    accepted = re.search(r"^200 (\d+)", text, re.MULTILINE)
    assert head
    assert total
    assert accepted
    names = ("lost", "refused", "cut off", "servers", "same bytes")
    return {"faults": int(head[1]), "rounds": int(head[2]), "seed": head[3], "date": head[4],
            "commit": head[5], "where": head[6], "file": path.name, "rows": rows,
            "accepted": accepted[1], **dict(zip(names, total.groups(), strict=True))}  # fmt: skip


def drill(run: Run) -> Section:
    """The drill's totals and its slowest faults."""
    ok = sum(int(count) for _, count, _, end in run["rows"] if end == "ok")
    slow = sorted(run["rows"], key=lambda row: -float(row[2]))[:5]
    summary: list[list[Text]] = [
        [("rounds that ended well", "通过的轮次"), f"{ok}/{run['rounds']}", ("all", "全部"),
         met(ok == run["rounds"])],
        [("accepted prompts", "已接受的任务"), run["accepted"], "", ""],
        [("lost prompts", "丢失的任务"), run["lost"], "0", met(run["lost"] == "0")],
        [("refused connections", "拒绝的连接"), run["refused"], "0", met(run["refused"] == "0")],
        [("cut off before an answer", "应答前断开"), run["cut off"], "", ""],
        [("server processes used", "用过的服务器进程"), run["servers"], "", ""],
        [("same bytes throughout", "图片字节始终一致"), ("yes", "是") if run["same bytes"] == "True" else ("no", "否"),
         ("yes", "是"), met(run["same bytes"] == "True")],
    ]  # fmt: skip
    longest: list[list[Text]] = [[name, count, f"{seconds} s"] for name, count, seconds, _ in slow]
    return Section(("Drill", "演练"),
        (f"{run['faults']} faults in random order, seed {run['seed']}.",
         f"{run['faults']} 种故障，随机顺序，种子 {run['seed']}。"),
        [Table([("what", "项目"), ("figure", "数值"), ("goal", "目标"), ""], summary),
         Table([("slowest faults", "最慢的故障"), ("rounds", "轮次"), ("median", "中位数")], longest)],
        f"./zimage drill --rounds {run['rounds']} --seed {run['seed']}")  # fmt: skip
