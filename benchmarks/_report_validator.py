"""Sections about workflows: conversion, verdicts, broken workflows, times."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named, picture

from zimage_comfyui.errors.bilingual import Bilingual

Run = dict[str, Any]
SETS: dict[str, Text] = {
    "official": Bilingual("官方模板", "official templates"),
    "bundled": Bilingual("自带模板", "our templates"),
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
    Bilingual("模板", "templates"),
    Bilingual("比较", "compared"),
    Bilingual("相同", "equal"),
    Bilingual("目标：全部", "goal: all"),
    Bilingual("页面用时", "page"),
    Bilingual("to-api 用时", "to-api"),
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
                Bilingual(
                    f"未比较：`{template}`，ComfyUI 没有其中的节点：{listed}。",
                    f"Not compared: `{template}`, whose nodes ComfyUI does not have: {listed}.",
                )
            )
        for template in result["different"]:
            names.append(Bilingual(f"**不同**：`{template}`。", f"**Different**: `{template}`."))
    return Section(
        Bilingual("`to-api` 与 ComfyUI 页面的转换比较", "`to-api` compared with ComfyUI's page"),
        Bilingual(
            f"页面的结果取自 Chromium {run['chromium']} 中的 `app.graphToPrompt()`。",
            f"The page's prompt is that of `app.graphToPrompt()` in Chromium {run['chromium']}.",
        ),
        [Table(CONVERSION_HEAD, rows), *names],
        "./zimage bench conversion -- --save",
    )


def agreement(run: Run) -> Section:
    """Return the section about the verdicts of the validator and the host, and their time."""
    head: list[Text] = [
        Bilingual("判定", "verdicts"),
        Bilingual("模板", "templates"),
        Bilingual("目标", "goal"),
        "",
    ]
    rows = _verdicts(run["agreement"])
    times: list[list[Text]] = []
    for name, result in run["seconds"].items():
        label = SETS.get(name, Bilingual("读取节点类", name))
        times.append([label, str(result.get("files", "")), f"{result['median'] * 1000:.0f} ms"])
    return Section(
        Bilingual("校验器：与 ComfyUI 的判定一致吗？", "Validator: agreement with ComfyUI"),
        Bilingual(
            f"全部 {run['templates']} 个官方模板，由具备所需文件的真实 ComfyUI 判定。",
            f"All {run['templates']} official templates, checked by a real ComfyUI that has "
            "every file they name.",
        ),
        [
            Table(head, rows),
            Table(
                [
                    Bilingual("整组用时", "time of a complete set"),
                    Bilingual("文件", "files"),
                    Bilingual("中位数", "median"),
                ],
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
        [Bilingual("双方接受", "accepted by both"), str(verdicts["accepted by both"]), "", ""],
        [Bilingual("双方拒绝", "refused by both"), str(both), "", ""],
        [
            Bilingual("仅校验器拒绝", "refused by the validator alone"),
            str(ours),
            "0",
            met(ours == 0),
        ],
        [
            Bilingual("仅 ComfyUI 拒绝", "refused by the host alone"),
            str(hosts),
            "0",
            met(hosts == 0),
        ],
        [
            Bilingual("未报告的 ComfyUI 错误", "errors of the host not reported"),
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
        rows.append([Bilingual(str(named(BREAKS, name)), name), *_counts(counts)])
    rows.append([Bilingual("**合计**", "**all**"), *_counts(total)])
    head: list[Text] = [
        Bilingual("破坏方式", "kind of break"),
        Bilingual("个数", "made"),
        Bilingual("按规则无害", "harmless by a rule"),
        Bilingual("发现", "caught"),
        Bilingual("漏掉", "missed"),
        Bilingual("比例", "share"),
        Bilingual("目标：100 %", "goal: 100 %"),
    ]
    return Section(
        Bilingual("校验器：破坏过的工作流", "Validator: broken workflows"),
        Bilingual(
            "发现：在正确的节点和输入上报告正确的代码，且破坏之前没有报告。",
            "Caught: the right code is reported at the right node and input, and was not reported "
            "before the break.",
        ),
        [Table(head, rows)],
        "./zimage bench validator -- --save",
    )


def _counts(counts: dict[str, int]) -> list[Text]:
    wrong = counts["caught"] + counts["missed"]
    caught = f"{counts['caught'] / wrong:.2%}" if wrong else "–"
    return [*(str(value) for value in counts.values()), caught, met(counts["missed"] == 0)]
