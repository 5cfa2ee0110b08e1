"""Sections about the models: adherence, dual encoder, edits, parity, times of Turbo."""

from __future__ import annotations

from typing import Any

from _report import Section, Table, Text, met, named, picture, share

from zimage_comfyui.errors.bilingual import Bilingual

Run = dict[str, Any]
WANTED_DB = 30.0
FIELDS = {
    "subject": Bilingual("主体", "subject"),
    "colour": Bilingual("颜色", "colour"),
    "place": Bilingual("位置", "place"),
    "background": Bilingual("背景", "background"),
    "style": Bilingual("风格", "style"),
}
CONTROLS: dict[str, Text] = {
    "zero": Bilingual("对照：没有文本特征", "control: no text features"),
    "identity": Bilingual("对照：不经适配器", "control: no adapter"),
    "shuffled": Bilingual("对照：换成其他提示词", "control: text of another prompt"),
}


def _tally(name: Text, tally: Run) -> list[Text]:
    fields: list[Text] = [str(tally["wrong"].get(field, 0)) for field in FIELDS]
    return [name, share(tally["right"], tally["of"]), *fields]


HEAD: list[Text] = [
    Bilingual("模型 / 提示词语言", "model / language of the prompt"),
    Bilingual("正确", "right"),
    *(Bilingual(f"错：{field.chinese}", f"wrong: {field.english}") for field in FIELDS.values()),
]


def adherence(run: Run) -> Section:
    """Return the section about prompts encoded by Qwen3."""
    checker = run["checker"]
    accuracy = share(checker["right"], checker["of"])
    return Section(
        Bilingual("小模型是否遵循提示词？", "Do the small models follow the prompt?"),
        Bilingual(
            "训练中从未出现的组合，仅凭几何与颜色识别。",
            "Combinations that do not occur in training, recognised by geometry and colour alone.",
        ),
        [
            Table(HEAD, [_tally(name, tally) for name, tally in run["adherence"].items()]),
            Bilingual(
                f"检查程序本身，对渲染的场景：{accuracy}。",
                f"The checker itself, on rendered scenes: {accuracy}.",
            ),
        ],
        "./zimage bench adherence -- --save",
    )


def dual(run: Run) -> Section:
    """Return the section about prompts encoded by CLIP and BERT, with controls."""
    rows = [_tally(name, tally) for name, tally in run["adherence"].items()]
    rows += [_tally(named(CONTROLS, name), tally) for name, tally in run["controls"].items()]
    return Section(
        Bilingual("经 CLIP-L 与中文 BERT 双编码器", "The same with CLIP-L and the Chinese BERT"),
        Bilingual(
            "对照组说明结果来自训练过的适配器。",
            "The controls show that the trained adapter is responsible for the result.",
        ),
        [Table(HEAD, rows)],
        "./zimage bench dual -- --save",
    )


EDIT_HEAD: list[Text] = [
    Bilingual("语言", "language"),
    Bilingual("正确", "right"),
    Bilingual("颜色", "colour"),
    Bilingual("背景", "background"),
    Bilingual("位置", "place"),
]
UNCHANGED_HEAD: list[Text] = [
    Bilingual("语言、改动", "language, edit"),
    Bilingual("不应改变的区域，PSNR 中位数", "unchanged area, PSNR, median"),
    Bilingual("所有区域合计", "all areas together"),
    Bilingual("目标 ≥ 30 dB", "goal ≥ 30 dB"),
    Bilingual("≥ 30 dB 的图", "pictures ≥ 30 dB"),
    Bilingual("目标：全部", "goal: all"),
    Bilingual("最低", "lowest"),
    Bilingual("仅模型，中位数", "model alone, median"),
    Bilingual("其中 ≥ 30 dB", "of it ≥ 30 dB"),
    Bilingual("仅自编码器（上限）", "autoencoder alone (bound)"),
    Bilingual("其中 ≥ 30 dB", "of it ≥ 30 dB"),
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
        Bilingual("按指令改图", "Edits by instruction"),
        Bilingual(
            f"训练中未出现的图片和改动，cfg {run['cfg']:g}，与模板一样在模型之后接“保持原样”。"
            "正确：只发生了所要求的改动。",
            f"Edits and pictures that do not occur in training, cfg {run['cfg']:g}, as in the "
            "templates: with Z-Image Keep after the model. Right: the picture has the requested "
            "change and no other.",
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
            Bilingual("{language}，{kind}", "{language}, {kind}").format(
                language=language, kind=FIELDS.get(kind, Bilingual("全部", "all"))
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
        Bilingual("相同的随机权重，float32", "same random weights, float32"),
        Bilingual("最大差异", "greatest difference"),
        Bilingual("相对最大值", "relative to the greatest value"),
        Bilingual(f"目标 ≤ {goal:.0e}", f"goal ≤ {goal:.0e}"),
    ]
    return Section(
        Bilingual("与 diffusers 逐值比较", "Our engine against diffusers"),
        Bilingual(
            "*mended*：diffusers 0.42 给填充过的文本片段的位置多于特征，比较时去掉多余的位置。",
            "*Mended*: diffusers 0.42 gives padded pieces of a caption more positions than "
            "features; the surplus positions are removed for the comparison.",
        ),
        [Table(head, rows)],
        "./zimage bench parity -- --save",
    )


def turbo(run: Run) -> Section:
    """Return the section about seconds per picture, compared with the host and diffusers."""
    names: dict[str, Text] = {
        "nodes": Bilingual("本节点包", "our nodes"),
        "host": Bilingual("ComfyUI 原生节点", "ComfyUI's own nodes"),
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
        Bilingual("每张图，中位数", "picture, median"),
        Bilingual("最少", "least"),
        Bilingual("最多", "most"),
        Bilingual("内存峰值", "peak memory"),
        Bilingual("占矩阵乘上限", "of the matrix-product ceiling"),
    ]
    size, steps = run["settings"]["size"], run["settings"]["steps"]
    return Section(
        Bilingual("一张 Turbo 图的时间", "Time of a Turbo picture"),
        Bilingual(
            f"{size}，{steps} 次求值，中等大小的随机模型；"
            f"三者的图最多相差 {run['largest_difference']:g}/255。",
            f"{size}, {steps} evaluations, a model of middle size with random weights; pictures "
            f"differ by at most {run['largest_difference']:g} of 255.",
        ),
        [Table(head, rows)],
        "./zimage bench turbo -- --save",
    )
