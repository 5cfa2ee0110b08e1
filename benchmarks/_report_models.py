"""Sections about what is painted: adherence, the dual encoder, edits, parity, times of Turbo."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named, picture, share

Run = dict[str, Any]
WANTED_DB = 30.0
FIELDS: dict[str, Text] = {
    "subject": ("subject", "主体"),
    "colour": ("colour", "颜色"),
    "place": ("place", "位置"),
    "background": ("background", "背景"),
    "style": ("style", "风格"),
}
CONTROLS: dict[str, Text] = {
    "zero": ("control: nothing instead of text", "对照：没有文本特征"),
    "identity": ("control: no adapter", "对照：不经适配器"),
    "shuffled": ("control: another prompt's text", "对照：换成别的提示词"),
}


def _tally(name: Text, one: Run) -> list[Text]:
    fields: list[Text] = [str(one["wrong"].get(field, 0)) for field in FIELDS]
    return [name, share(one["right"], one["of"]), *fields]


HEAD: list[Text] = [
    ("model / language of the prompt", "模型 / 提示词语言"),
    ("right", "正确"),
    *((f"wrong: {en}", f"错：{zh}") for en, zh in FIELDS.values()),
]


def adherence(run: Run) -> Section:
    """The bundled models through Qwen3."""
    checker = run["checker"]
    seen = share(checker["right"], checker["of"])
    return Section(
        ("Do the small models paint what is asked?", "小模型画得对吗？"),
        (
            "Combinations that never occur in training, read back by geometry and colour alone.",
            "训练中从未出现的组合，仅凭几何与颜色读回判断。",
        ),
        [
            Table(HEAD, [_tally(name, one) for name, one in run["adherence"].items()]),
            (
                f"The checker itself, on freshly drawn scenes: {seen}.",
                f"检查程序本身，对新画的场景：{seen}。",
            ),
        ],
        "./zimage bench adherence -- --save",
    )


def dual(run: Run) -> Section:
    """The same through CLIP and BERT, with controls."""
    rows = [_tally(name, one) for name, one in run["adherence"].items()]
    rows += [_tally(named(CONTROLS, name), one) for name, one in run["controls"].items()]
    return Section(
        ("The same through CLIP-L and the Chinese BERT", "经 CLIP-L 与中文 BERT 双编码器"),
        (
            "The controls show that it is the trained adapter that carries the meaning.",
            "对照组说明：意思确实由训练过的适配器传达。",
        ),
        [Table(HEAD, rows)],
        "./zimage bench dual -- --save",
    )


def edit(run: Run) -> Section:
    """Edits by instruction."""
    rows: list[list[Text]] = []
    kept: list[list[Text]] = []
    for language, one in run["edits"].items():
        fields = [share(*one["fields"][field]) for field in ("colour", "background", "place")]
        rows.append([language, share(one["right"], one["of"]), *fields])
        kept += _kept(language, one["kept"])
    first: list[Text] = [
        ("language", "语言"),
        ("right", "正确"),
        ("colour", "颜色"),
        ("background", "背景"),
        ("place", "位置"),
    ]
    second: list[Text] = [
        ("language, edit", "语言、改动"),
        ("kept area, PSNR, median", "不该变的区域 PSNR 中位数"),
        ("all areas together", "所有区域合计"),
        ("goal ≥ 30 dB", "目标 ≥ 30 dB"),
        ("pictures ≥ 30 dB", "≥ 30 dB 的图"),
        ("goal: all", "目标：全部"),
        ("lowest", "最低"),
        ("model alone, median", "仅模型，中位数"),
        ("of it ≥ 30 dB", "其中 ≥ 30 dB"),
        ("autoencoder alone (bound)", "仅自编码器（上限）"),
        ("of it ≥ 30 dB", "其中 ≥ 30 dB"),
    ]
    return Section(
        ("Edits by instruction", "按指令改图"),
        (
            f"Unseen changes to unseen pictures, cfg {run['cfg']:g}, as the templates make them: "
            "with Z-Image Keep after the model. Right: what was to change did, everything else is "
            "as before.",
            f"未见过的图、未见过的改动，cfg {run['cfg']:g}，与模板一样在模型之后接“保持原样”。"
            "正确：该变的变了，其余不变。",
        ),
        [
            Table(first, rows),
            Table(second, kept),
            picture("images/edit.png", "Three pictures before and after", "三张图修改之前和之后"),
        ],
        "./zimage bench edit -- --save",
    )


def _kept(language: str, areas: Run) -> list[list[Text]]:
    """Rows of the kept area: all edits, then each kind of edit where the run tells them apart."""
    groups = {"all": areas} if "of" in areas else areas
    return [
        [
            (
                f"{language}, {FIELDS.get(kind, ('all', '全部'))[0]}",
                f"{language}，{FIELDS.get(kind, ('all', '全部'))[1]}",
            ),
            f"{area['median']} dB",
            f"{area['together']} dB" if "together" in area else "–",
            met(area["together"] >= WANTED_DB) if "together" in area else "–",
            share(area["enough"], area["of"]),
            met(area["enough"] == area["of"]),
            f"{area['lowest']} dB",
            f"{area['model']} dB" if "model" in area else "–",
            share(area["model_enough"], area["of"]) if "model" in area else "–",
            f"{area['autoencoder']} dB",
            share(area["autoencoder_enough"], area["of"]) if "autoencoder_enough" in area else "–",
        ]
        for kind, area in groups.items()
        if area["of"]
    ]


def parity(run: Run) -> Section:
    """Against diffusers."""
    goal = run["goal"]
    rows: list[list[Text]] = [
        [name, f"{one['absolute']:.1e}", f"{one['relative']:.1e}", met(one["absolute"] <= goal)]
        for name, one in run["rows"].items()
    ]
    head: list[Text] = [
        ("same random weights, float32", "相同的随机权重，float32"),
        ("greatest difference", "最大差异"),
        ("relative to the greatest value", "相对最大值"),
        (f"goal ≤ {goal:.0e}", f"目标 ≤ {goal:.0e}"),
    ]
    return Section(
        ("Our engine against diffusers", "与 diffusers 逐值比较"),
        (
            "*Mended*: diffusers 0.42 gives padded pieces of a caption more positions than "
            "features; the surplus is cut off there.",
            "*mended*：diffusers 0.42 给补齐的文本片段的位置多于特征，比较时去掉多余的位置。",
        ),
        [Table(head, rows)],
        "./zimage bench parity -- --save",
    )


def turbo(run: Run) -> Section:
    """Seconds per picture beside the host and diffusers."""
    names: dict[str, Text] = {
        "nodes": ("our nodes", "本节点包"),
        "host": ("ComfyUI's own nodes", "ComfyUI 原生节点"),
        "diffusers": "diffusers",
    }
    rows: list[list[Text]] = [
        [
            named(names, name),
            f"{one['seconds']['median']:.1f} s",
            f"{one['seconds']['min']:.1f} s",
            f"{one['seconds']['max']:.1f} s",
            f"{one['peak_rss_mib']:.0f} MiB",
            f"{run['ceiling']['share'][name]:.0%}",
        ]
        for name, one in run["contenders"].items()
    ]
    head: list[Text] = [
        "",
        ("picture, median", "每张图，中位数"),
        ("least", "最少"),
        ("most", "最多"),
        ("peak memory", "内存峰值"),
        ("of the matrix-product ceiling", "占矩阵乘上限"),
    ]
    size, steps = run["settings"]["size"], run["settings"]["steps"]
    return Section(
        ("Time of a Turbo picture", "一张 Turbo 图的时间"),
        (
            f"{size}, {steps} evaluations, a model of middle size with random weights; pictures "
            f"differ by at most {run['largest_difference']:g} of 255.",
            f"{size}，{steps} 次求值，中等大小的随机模型；"
            f"三者的图最多相差 {run['largest_difference']:g}/255。",
        ),
        [Table(head, rows)],
        "./zimage bench turbo -- --save",
    )
