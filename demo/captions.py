"""Captions for scenes of the small world, in Chinese and English, in varied wordings.

A full caption names subject, colour, background, place and style, with varying order and synonyms.
A short caption leaves out fields that have the value of :data:`DEFAULT`, so that "a red star" has a
definite meaning.
"""

from __future__ import annotations

import random

from .world import Scene

DEFAULT = Scene(subject="gift", colour="red", background="white", place="centre", style="poster")

ZH = {
    "ball": ("圆球", "球", "圆形", "球体"),
    "star": ("星星", "五角星", "星形摆件"),
    "heart": ("爱心", "心形", "桃心"),
    "gift": ("礼盒", "礼物盒", "礼品盒"),
    "umbrella": ("雨伞", "伞", "小伞"),
    "vase": ("花瓶", "瓷瓶", "瓶子"),
}
EN = {
    "ball": ("ball", "sphere", "round ball", "circle"),
    "star": ("star", "five-pointed star"),
    "heart": ("heart", "heart shape"),
    "gift": ("gift box", "gift", "present"),
    "umbrella": ("umbrella", "parasol"),
    "vase": ("vase", "porcelain vase", "bottle"),
}
ZH_COLOURS = {
    "red": ("红色", "大红色", "红"),
    "orange": ("橙色", "橘色", "橘红色"),
    "yellow": ("黄色", "金黄色", "明黄色"),
    "green": ("绿色", "翠绿色", "绿"),
    "cyan": ("青色", "青绿色", "湖蓝色"),
    "blue": ("蓝色", "宝蓝色", "蓝"),
    "purple": ("紫色", "紫罗兰色", "紫"),
    "pink": ("粉色", "粉红色", "桃粉色"),
}
EN_COLOURS = {
    "red": ("red", "bright red"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden yellow"),
    "green": ("green", "emerald green"),
    "cyan": ("cyan", "teal", "turquoise"),
    "blue": ("blue", "royal blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "hot pink"),
}
ZH_BACKGROUNDS = {
    "white": ("白色", "米白色", "纯白"),
    "grey": ("灰色", "浅灰色", "银灰色"),
    "yellow": ("黄色", "浅黄色", "淡黄色"),
    "green": ("绿色", "浅绿色", "淡绿色"),
    "blue": ("蓝色", "浅蓝色", "天蓝色"),
    "purple": ("紫色", "浅紫色", "淡紫色"),
    "pink": ("粉色", "浅粉色", "粉红色"),
    "navy": ("深蓝色", "藏青色", "夜蓝色"),
}
EN_BACKGROUNDS = {
    "white": ("white", "plain white", "off-white"),
    "grey": ("grey", "light grey", "gray"),
    "yellow": ("yellow", "pale yellow"),
    "green": ("green", "pale green", "light green"),
    "blue": ("blue", "light blue", "sky blue"),
    "purple": ("purple", "light purple", "lavender"),
    "pink": ("pink", "light pink", "pale pink"),
    "navy": ("navy", "dark blue", "navy blue"),
}
ZH_PLACES = {
    "left": ("左边", "左侧", "画面左边", "画面左侧"),
    "centre": ("中间", "中央", "画面中间", "正中央"),
    "right": ("右边", "右侧", "画面右边", "画面右侧"),
}
EN_PLACES = {
    "left": ("on the left", "on the left side", "at the left"),
    "centre": ("in the centre", "in the middle", "in the center"),
    "right": ("on the right", "on the right side", "at the right"),
}
ZH_STYLES = {
    "poster": ("产品海报", "电商海报", "电商产品海报", "商品海报"),
    "ink": ("水墨画", "古风插画", "古风水墨插画", "水墨山水"),
}
EN_STYLES = {
    "poster": ("product poster", "e-commerce poster", "product advertisement"),
    "ink": ("ink wash painting", "ancient-style illustration", "ink landscape"),
}
ZH_FORMS = (
    "{s}，{p}一个{c}的{o}，{b}背景",
    "{s}，{b}背景，{c}{o}放在{p}",
    "一张{s}：{c}的{o}在{p}，背景是{b}",
    "{b}背景的{s}，{p}有一个{c}{o}",
    "{p}是一个{c}的{o}，背景{b}，{s}风格",
    "{c}{o}，位于{p}，{b}背景，{s}",
)
EN_FORMS = (
    "{s}, a {c} {o} {p}, {b} background",
    "{s} with a {b} background and a {c} {o} {p}",
    "a {s} of a {c} {o} {p}, {b} background",
    "a {c} {o} {p} on a {b} background, {s}",
    "{b} background, {c} {o} {p}, {s} style",
    "{s}: {p} there is a {c} {o}, the background is {b}",
)
ZH_EXTRAS = ("高清", "柔和光线", "高级感", "留白", "细节精致", "简洁构图", "意境悠远", "主体突出")
EN_EXTRAS = ("high detail", "soft light", "clean composition", "elegant", "studio lighting")
ZH_WORDS = (ZH, ZH_COLOURS, ZH_BACKGROUNDS, ZH_PLACES, ZH_STYLES)
EN_WORDS = (EN, EN_COLOURS, EN_BACKGROUNDS, EN_PLACES, EN_STYLES)


def full_caption(scene: Scene, language: str, rng: random.Random) -> str:
    """Return a caption in "zh" or "en" that names every field of the scene."""
    chinese = language == "zh"
    text = rng.choice(ZH_FORMS if chinese else EN_FORMS).format(**_words(scene, chinese, rng))
    count = rng.choices((0, 1, 2), (6, 3, 1))[0]
    separator, extras = ("，", ZH_EXTRAS) if chinese else (", ", EN_EXTRAS)
    return separator.join([text, *rng.sample(extras, count)])


def short_caption(scene: Scene, language: str, rng: random.Random) -> str | None:
    """Return a caption without some fields that equal :data:`DEFAULT`; None if no field does."""
    chinese = language == "zh"
    fields = ("background", "place", "style")
    omitted = [f for f in fields if getattr(scene, f) == getattr(DEFAULT, f) and rng.random() < 0.7]
    if not omitted:
        return None
    words = _words(scene, chinese, rng)
    parts = [words["c"] + ("的" if chinese else " ") + words["o"]]
    if not chinese:
        parts[0] = "a " + parts[0]
    if "background" not in omitted:
        parts.append(words["b"] + ("背景" if chinese else " background"))
    if "place" not in omitted:
        parts.append(("在" if chinese else "") + words["p"])
    if "style" not in omitted:
        parts.append(words["s"])
    return ("，" if chinese else ", ").join(parts)


def plain_caption(scene: Scene) -> str:
    """Return the fixed wording of a scene, which names every field."""
    return ZH_FORMS[0].format(
        o=ZH[scene.subject][0],
        c=ZH_COLOURS[scene.colour][0],
        b=ZH_BACKGROUNDS[scene.background][0],
        p=ZH_PLACES[scene.place][0],
        s=ZH_STYLES[scene.style][0],
    )


def mixed_caption(scene: Scene, rng: random.Random) -> str:
    """Return a full caption with words of both languages."""
    chinese = rng.random() < 0.5
    words = _words(scene, chinese, rng)
    foreign = _words(scene, not chinese, rng)
    replaced = rng.sample(sorted(words), rng.randint(1, len(words) - 1))
    form = rng.choice(ZH_FORMS if chinese else EN_FORMS)
    return form.format(**(words | {key: foreign[key] for key in replaced}))


def caption(scene: Scene, rng: random.Random) -> str:
    """Return a training caption in either language, sometimes short."""
    language = rng.choice(("zh", "en"))
    if rng.random() < 0.35 and (text := short_caption(scene, language, rng)) is not None:
        return text
    return full_caption(scene, language, rng)


def _words(scene: Scene, chinese: bool, rng: random.Random) -> dict[str, str]:
    """Choose a synonym for each field: object, colour, background, place, style."""
    subjects, colours, backgrounds, places, styles = ZH_WORDS if chinese else EN_WORDS
    return {
        "o": rng.choice(subjects[scene.subject]),
        "c": rng.choice(colours[scene.colour]),
        "b": rng.choice(backgrounds[scene.background]),
        "p": rng.choice(places[scene.place]),
        "s": rng.choice(styles[scene.style]),
    }
