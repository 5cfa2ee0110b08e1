"""Sections about the models: adherence, dual encoder, edits, parity, times of Turbo."""

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
    "zero": ("control: no text features", "对照：没有文本特征"),
    "identity": ("control: no adapter", "对照：不经适配器"),
    "shuffled": ("control: text of another prompt", "对照：换成其他提示词"),
}


def _tally(name: Text, tally: Run) -> list[Text]:
    fields: list[Text] = [str(tally["wrong"].get(field, 0)) for field in FIELDS]
    return [name, share(tally["right"], tally["of"]), *fields]


HEAD: list[Text] = [
    ("model / language of the prompt", "模型 / 提示词语言"),
    ("right", "正确"),
    *((f"wrong: {en}", f"错：{zh}") for en, zh in FIELDS.values()),
]


def adherence(run: Run) -> Section:
    """Return the section about prompts encoded by Qwen3."""
    checker = run["checker"]
    accuracy = share(checker["right"], checker["of"])
    return Section(
        ("Do the small models follow the prompt?", "小模型是否遵循提示词？"),
        (
            "Combinations that do not occur in training, recognised by geometry and colour alone.",
            "训练中从未出现的组合，仅凭几何与颜色识别。",
        ),
        [
            Table(HEAD, [_tally(name, tally) for name, tally in run["adherence"].items()]),
            (
                f"The checker itself, on rendered scenes: {accuracy}.",
                f"检查程序本身，对渲染的场景：{accuracy}。",
            ),
        ],
        "./zimage bench adherence -- --save",
    )


def dual(run: Run) -> Section:
    """Return the section about prompts encoded by CLIP and BERT, with controls."""
    rows = [_tally(name, tally) for name, tally in run["adherence"].items()]
    rows += [_tally(named(CONTROLS, name), tally) for name, tally in run["controls"].items()]
    return Section(
        ("The same with CLIP-L and the Chinese BERT", "经 CLIP-L 与中文 BERT 双编码器"),
        (
            "The controls show that the trained adapter is responsible for the result.",
            "对照组说明结果来自训练过的适配器。",
        ),
        [Table(HEAD, rows)],
        "./zimage bench dual -- --save",
    )


EDIT_HEAD: list[Text] = [
    ("language", "语言"),
    ("right", "正确"),
    ("colour", "颜色"),
    ("background", "背景"),
    ("place", "位置"),
]
UNCHANGED_HEAD: list[Text] = [
    ("language, edit", "语言、改动"),
    ("unchanged area, PSNR, median", "不应改变的区域，PSNR 中位数"),
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


def edit(run: Run) -> Section:
    """Return the section about edits by instruction."""
    rows: list[list[Text]] = []
    kept_rows: list[list[Text]] = []
    for language, result in run["edits"].items():
        fields = [share(*result["fields"][field]) for field in ("colour", "background", "place")]
        rows.append([language, share(result["right"], result["of"]), *fields])
        kept_rows += _kept(language, result["kept"])
    return Section(
        ("Edits by instruction", "按指令改图"),
        (
            f"Edits and pictures that do not occur in training, cfg {run['cfg']:g}, as in the "
            "templates: with Z-Image Keep after the model. Right: the picture has the requested "
            "change and no other.",
            f"训练中未出现的图片和改动，cfg {run['cfg']:g}，与模板一样在模型之后接“保持原样”。"
            "正确：只发生了所要求的改动。",
        ),
        [
            Table(EDIT_HEAD, rows),
            Table(UNCHANGED_HEAD, kept_rows),
            picture("images/edit.png", "Three pictures before and after", "三张图片的修改前后对比"),
        ],
        "./zimage bench edit -- --save",
    )


def _kept(language: str, areas: Run) -> list[list[Text]]:
    """Return rows about the unchanged area: all edits, then each kind of edit if it is stored."""
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
    """Return the section about the comparison with diffusers."""
    goal = run["goal"]
    rows: list[list[Text]] = [
        [
            name,
            f"{difference['absolute']:.1e}",
            f"{difference['relative']:.1e}",
            met(difference["absolute"] <= goal),
        ]
        for name, difference in run["rows"].items()
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
            "features; the surplus positions are removed for the comparison.",
            "*mended*：diffusers 0.42 给填充过的文本片段的位置多于特征，比较时去掉多余的位置。",
        ),
        [Table(head, rows)],
        "./zimage bench parity -- --save",
    )


def turbo(run: Run) -> Section:
    """Return the section about seconds per picture, compared with the host and diffusers."""
    names: dict[str, Text] = {
        "nodes": ("our nodes", "本节点包"),
        "host": ("ComfyUI's own nodes", "ComfyUI 原生节点"),
        "diffusers": "diffusers",
    }
    rows: list[list[Text]] = [
        [
            named(names, name),
            f"{result['seconds']['median']:.1f} s",
            f"{result['seconds']['min']:.1f} s",
            f"{result['seconds']['max']:.1f} s",
            f"{result['peak_rss_mib']:.0f} MiB",
            f"{run['ceiling']['share'][name]:.0%}",
        ]
        for name, result in run["contenders"].items()
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
