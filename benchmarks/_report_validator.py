"""Sections about workflows: conversion, verdicts, what is broken, times."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named, picture

Run = dict[str, Any]
SETS: dict[str, Text] = {
    "official": ("official templates", "官方模板"),
    "bundled": ("our templates", "自带模板"),
}
BREAKS: dict[str, str] = {
    "link removed": "删去连线",
    "value removed": "删去值",
    "input misspelt": "输入名写错",
    "link to nowhere": "连到不存在的节点",
    "link misshapen": "连线格式错",
    "output that is not there": "没有该输出",
    "link of another type": "类型不符的连线",
    "no number": "不是数字",
    "out of range": "超出范围",
    "seed or size out of range": "种子或尺寸超出范围",
    "not a choice": "不在选项中",
    "file that is not there": "文件不存在",
    "pickle file": "pickle 文件",
    "class renamed": "节点类改名",
    "node removed": "删去节点",
    "ring": "成环",
    "no output": "没有输出节点",
    "loose node": "孤立节点",
    "broken text": "损坏的文字",
    "page: link row removed": "页面：删去连线行",
    "page: input forgets its link": "页面：输入忘了连线",
    "page: link from nowhere": "页面：来源不存在",
    "page: link id twice": "页面：连线编号重复",
    "page: second link to an input": "页面：一个输入两条连线",
    "page: disconnected": "页面：断开",
    "page: class renamed": "页面：节点类改名",
    "page: node id twice": "页面：节点编号重复",
    "page: node removed": "页面：删去节点",
    "page: value out of range": "页面：值超出范围",
    "page: no node, no link": "页面：空的节点或连线",
}


def conversion(run: Run) -> Section:
    """``to-api`` against the page."""
    rows: list[list[Text]] = []
    names: list[Text] = []
    for name, one in run["sets"].items():
        rows.append(
            [
                named(SETS, name),
                str(one["templates"]),
                str(one["compared"]),
                str(one["equal"]),
                met(one["equal"] == one["compared"]),
                f"{one['page_seconds']} s",
                f"{one['our_seconds']:.2f} s",
            ]
        )
        for template, kinds in one["skipped"].items():
            listed = ", ".join(f"`{kind}`" for kind in kinds)
            names.append(
                (
                    f"Not compared: `{template}`, whose nodes ComfyUI does not have: {listed}.",
                    f"未比较：`{template}`，ComfyUI 没有其中的节点：{listed}。",
                )
            )
        for template in one["different"]:
            names.append((f"**Different**: `{template}`.", f"**不同**：`{template}`。"))
    head: list[Text] = [
        "",
        ("templates", "模板"),
        ("compared", "比较"),
        ("equal", "相同"),
        ("goal: all", "目标：全部"),
        ("page", "页面用时"),
        ("to-api", "to-api 用时"),
    ]
    return Section(
        ("`to-api` against ComfyUI's page", "`to-api` 与 ComfyUI 页面的转换比较"),
        (
            f"What the page would send (`app.graphToPrompt()`, Chromium {run['chromium']}).",
            f"与页面将发送的内容（`app.graphToPrompt()`，Chromium {run['chromium']}）比较。",
        ),
        [Table(head, rows), *names],
        "./zimage bench conversion -- --save",
    )


def agreement(run: Run) -> Section:
    """Our verdicts and the host's, and how long all take."""
    found = run["agreement"]
    both = len(found["refused by both"])
    alone = len(found["refused by us alone"]), len(found["refused by the host alone"])
    head: list[Text] = [("verdicts", "判定"), ("templates", "模板"), ("goal", "目标"), ""]
    unseen = found["host's errors not told"]
    rows: list[list[Text]] = [
        [("accepted by both", "双方接受"), str(found["accepted by both"]), "", ""],
        [("refused by both", "双方拒绝"), str(both), "", ""],
        [("refused by us alone", "仅我方拒绝"), str(alone[0]), "0", met(alone[0] == 0)],
        [("refused by the host alone", "仅 ComfyUI 拒绝"), str(alone[1]), "0", met(alone[1] == 0)],
        [
            ("errors of the host not told", "未指出的 ComfyUI 错误"),
            str(unseen),
            "0",
            met(unseen == 0),
        ],
    ]
    times: list[list[Text]] = []
    for name, one in run["seconds"].items():
        label = SETS.get(name, (name, "读取节点类"))
        times.append([label, str(one.get("files", "")), f"{one['median'] * 1000:.0f} ms"])
    return Section(
        ("Validator: the verdicts of ComfyUI", "校验器：与 ComfyUI 的判定一致吗？"),
        (
            f"All {run['templates']} official templates, judged by a real ComfyUI with "
            "every file they name.",
            f"全部 {run['templates']} 个官方模板，由具备所需文件的真实 ComfyUI 判定。",
        ),
        [
            Table(head, rows),
            Table(
                [("time of a whole set", "整组用时"), ("files", "文件"), ("median", "中位数")],
                times,
            ),
            picture(
                "images/validator.png",
                "Messages of the validator on two nodes of a Chinese page",
                "中文页面里两个节点上的校验信息",
            ),
            picture(
                "images/templates.png",
                "The ten templates in the page's dialog in Chinese",
                "模板对话框里的十个模板",
            ),
        ],
        "./zimage bench validator -- --save",
    )


def breaks(run: Run) -> Section:
    """Broken workflows by kind of break."""
    rows: list[list[Text]] = []
    total: dict[str, int] = dict.fromkeys(("made", "harmless", "caught", "missed"), 0)
    for name, one in run["breaks"].items():
        counts = {key: one.get(key, 0) for key in total}
        total = {key: total[key] + counts[key] for key in total}
        rows.append([(name, str(named(BREAKS, name))), *_counts(counts)])
    rows.append([("**all**", "**合计**"), *_counts(total)])
    head: list[Text] = [
        ("kind of break", "破坏方式"),
        ("made", "个数"),
        ("harmless by a rule", "按规则无害"),
        ("caught", "发现"),
        ("missed", "漏掉"),
        ("share", "比例"),
        ("goal: 100 %", "目标：100 %"),
    ]
    return Section(
        ("Validator: broken workflows", "校验器：破坏过的工作流"),
        (
            "Caught: the right code at the right node and input, not told before the break.",
            "发现：在正确的节点和输入上报告正确的代码，且破坏之前没有报告。",
        ),
        [Table(head, rows)],
        "./zimage bench validator -- --save",
    )


def _counts(one: dict[str, int]) -> list[Text]:
    wrong = one["caught"] + one["missed"]
    found = f"{one['caught'] / wrong:.2%}" if wrong else "–"
    return [*(str(value) for value in one.values()), found, met(one["missed"] == 0)]
