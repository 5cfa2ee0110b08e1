"""Sections about workflows: conversion, verdicts, broken workflows, times."""

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
    "link misshapen": "连线格式错误",
    "output that is not there": "不存在的输出",
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
    "page: input forgets its link": "页面：输入缺少连线",
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


CONVERSION_HEAD: list[Text] = [
    "",
    ("templates", "模板"),
    ("compared", "比较"),
    ("equal", "相同"),
    ("goal: all", "目标：全部"),
    ("page", "页面用时"),
    ("to-api", "to-api 用时"),
]


def conversion(run: Run) -> Section:
    """Return the section about ``to-api``, compared with the page."""
    rows: list[list[Text]] = []
    names: list[Text] = []
    for name, result in run["sets"].items():
        rows.append(
            [
                named(SETS, name),
                str(result["templates"]),
                str(result["compared"]),
                str(result["equal"]),
                met(result["equal"] == result["compared"]),
                f"{result['page_seconds']} s",
                f"{result['our_seconds']:.2f} s",
            ]
        )
        for template, kinds in result["skipped"].items():
            listed = ", ".join(f"`{kind}`" for kind in kinds)
            names.append(
                (
                    f"Not compared: `{template}`, whose nodes ComfyUI does not have: {listed}.",
                    f"未比较：`{template}`，ComfyUI 没有其中的节点：{listed}。",
                )
            )
        for template in result["different"]:
            names.append((f"**Different**: `{template}`.", f"**不同**：`{template}`。"))
    return Section(
        ("`to-api` compared with ComfyUI's page", "`to-api` 与 ComfyUI 页面的转换比较"),
        (
            f"The page's prompt is that of `app.graphToPrompt()` in Chromium {run['chromium']}.",
            f"页面的结果取自 Chromium {run['chromium']} 中的 `app.graphToPrompt()`。",
        ),
        [Table(CONVERSION_HEAD, rows), *names],
        "./zimage bench conversion -- --save",
    )


def agreement(run: Run) -> Section:
    """Return the section about the verdicts of the validator and the host, and their time."""
    head: list[Text] = [("verdicts", "判定"), ("templates", "模板"), ("goal", "目标"), ""]
    rows = _verdicts(run["agreement"])
    times: list[list[Text]] = []
    for name, result in run["seconds"].items():
        label = SETS.get(name, (name, "读取节点类"))
        times.append([label, str(result.get("files", "")), f"{result['median'] * 1000:.0f} ms"])
    return Section(
        ("Validator: agreement with ComfyUI", "校验器：与 ComfyUI 的判定一致吗？"),
        (
            f"All {run['templates']} official templates, checked by a real ComfyUI that has "
            "every file they name.",
            f"全部 {run['templates']} 个官方模板，由具备所需文件的真实 ComfyUI 判定。",
        ),
        [
            Table(head, rows),
            Table(
                [("time of a complete set", "整组用时"), ("files", "文件"), ("median", "中位数")],
                times,
            ),
            picture(
                "images/validator.png",
                "Messages of the validator on two nodes of a Chinese page",
                "中文页面中两个节点上的校验信息",
            ),
            picture(
                "images/templates.png",
                "The ten templates in the page's dialog in Chinese",
                "模板对话框中的十个模板",
            ),
        ],
        "./zimage bench validator -- --save",
    )


def _verdicts(verdicts: Run) -> list[list[Text]]:
    """Return rows with the number of templates for each pair of verdicts."""
    both = len(verdicts["refused by both"])
    ours = len(verdicts["refused by us alone"])
    hosts = len(verdicts["refused by the host alone"])
    missing = verdicts["host's errors not told"]
    return [
        [("accepted by both", "双方接受"), str(verdicts["accepted by both"]), "", ""],
        [("refused by both", "双方拒绝"), str(both), "", ""],
        [("refused by the validator alone", "仅校验器拒绝"), str(ours), "0", met(ours == 0)],
        [("refused by the host alone", "仅 ComfyUI 拒绝"), str(hosts), "0", met(hosts == 0)],
        [
            ("errors of the host not reported", "未报告的 ComfyUI 错误"),
            str(missing),
            "0",
            met(missing == 0),
        ],
    ]


def breaks(run: Run) -> Section:
    """Return the section about broken workflows, by kind of break."""
    rows: list[list[Text]] = []
    total: dict[str, int] = dict.fromkeys(("made", "harmless", "caught", "missed"), 0)
    for name, result in run["breaks"].items():
        counts = {key: result.get(key, 0) for key in total}
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
            "Caught: the right code is reported at the right node and input, and was not reported "
            "before the break.",
            "发现：在正确的节点和输入上报告正确的代码，且破坏之前没有报告。",
        ),
        [Table(head, rows)],
        "./zimage bench validator -- --save",
    )


def _counts(counts: dict[str, int]) -> list[Text]:
    wrong = counts["caught"] + counts["missed"]
    caught = f"{counts['caught'] / wrong:.2%}" if wrong else "–"
    return [*(str(value) for value in counts.values()), caught, met(counts["missed"] == 0)]
