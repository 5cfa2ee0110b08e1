"""Ways to break a prompt in API form; those for saved workflows are in :mod:`.page_mutations`.

A break names the code that must tell it and where, or the rule by which it harms nothing: then the
host accepts the result too.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from zimage_comfyui.tests.fakes.workflows import Document, Findings, told
from zimage_comfyui.validator.inputs import UPLOADS, Input
from zimage_comfyui.validator.knowledge import Knowledge
from zimage_comfyui.validator.values import MODEL_SUFFIXES

NOWHERE = "no such node"
BIG = 10**30


@dataclass(frozen=True)
class Break:
    """What was broken.

    Attributes:
        codes: one of them must be told, at one of ``nodes`` (empty: about the whole) and, if
            ``input`` is not empty, for that input.
        harmless: the rule by which nothing is wrong; empty if something is.
    """

    codes: tuple[str, ...]
    nodes: frozenset[str] = frozenset()
    input: str = ""
    harmless: str = ""
    severity: str = "error"


Breaker = Callable[[Document, Knowledge, random.Random], Break | None]


# --- picking -------------------------------------------------------------------------------------

Place = tuple[str, str, Any, Input]


def _places(prompt: Document, known: Knowledge, *, linked: bool) -> list[Place]:
    """Node, name, value and class of every input that is linked, or that is not."""
    return [
        (number, name, value, kind.inputs[name])
        for number, node in prompt.items()
        if (kind := known.get(node["class_type"]))
        for name, value in node["inputs"].items()
        if name in kind.inputs and isinstance(value, list) == linked
    ]


def _pick(rng: random.Random, found: list[Any]) -> Any:
    return rng.choice(found) if found else None


def reached(prompt: Document, known: Knowledge) -> set[str]:
    """Nodes that the host looks at."""
    kinds = {number: known.get(node.get("class_type")) for number, node in prompt.items()}
    waiting = [number for number, kind in kinds.items() if kind and kind.is_output]
    found: set[str] = set()
    while waiting:
        number = waiting.pop()
        if number not in found and kinds.get(number):
            found.add(number)
            values = prompt[number]["inputs"]
            waiting += [v[0] for name, v in values.items()
                        if isinstance(v, list) and v and name in kinds[number].inputs]  # fmt: skip
    return found


def _at(prompt: Document, known: Knowledge, place: Place, *codes: str, rule: str = "") -> Break:
    """A break at an input; nothing is wrong with a node that no output needs."""
    number, name = place[:2]
    rule = rule or ("" if number in reached(prompt, known) else "no output needs it")
    return Break(codes, frozenset({number}), name, rule)


# --- API form --------------------------------------------------------------------------------


def _delete(linked: bool) -> Breaker:
    def delete(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
        if not (place := _pick(rng, _places(prompt, known, linked=linked))):
            return None
        rule = "" if place[3].required else "optional"
        made = _at(prompt, known, place, "ZI-WF-INPUT-MISSING", rule=rule)
        del prompt[place[0]]["inputs"][place[1]]
        return made

    return delete


def _misspell(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    every = [place for kind in (True, False) for place in _places(prompt, known, linked=kind)]
    if not (place := _pick(rng, every)):
        return None
    rule = "" if place[3].required else "optional"
    made = _at(prompt, known, place, "ZI-WF-INPUT-MISSING", rule=rule)
    inputs = prompt[place[0]]["inputs"]
    inputs[place[1] + "_"] = inputs.pop(place[1])
    return made


def _relink(make: Callable[[list, random.Random], list], code: str) -> Breaker:
    def relink(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
        if not (place := _pick(rng, _places(prompt, known, linked=True))):
            return None
        made = _at(prompt, known, place, code)
        prompt[place[0]]["inputs"][place[1]] = make(place[2], rng)
        return made

    return relink


def _other_type(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    place = _pick(rng, _places(prompt, known, linked=True))
    outputs = [
        (number, slot, kind)
        for number, node in prompt.items()
        if place and number != place[0]
        for slot, kind in enumerate(known.node_classes[node["class_type"]].outputs)
    ]
    if not outputs:
        return None
    origin, slot, given = rng.choice(outputs)
    fitting = "*" in (given, *place[3].types) or bool(set(given.split(",")) & place[3].types)
    made = _at(prompt, known, place, "ZI-WF-TYPE", rule="its type fits" if fitting else "")
    prompt[place[0]]["inputs"][place[1]] = [origin, slot]
    return made


def _no_number(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    places = [place for place in _places(prompt, known, linked=False)
              if "COMBO" not in place[3].types]  # fmt: skip
    if not (place := _pick(rng, places)):
        return None
    rule = "" if place[3].types & {"INT", "FLOAT"} else "any value is a text or a truth"
    made = _at(prompt, known, place, "ZI-WF-VALUE", rule=rule)
    prompt[place[0]]["inputs"][place[1]] = rng.choice(["many", "", None, {}, "1,5"])
    return made


def _out_of_range(wanted: tuple[str, ...] = ()) -> Breaker:
    def exceed(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
        places = [
            place for place in _places(prompt, known, linked=False)
            if place[3].types & {"INT", "FLOAT"} and (not wanted or place[1] in wanted)
        ]  # fmt: skip
        if not (place := _pick(rng, places)):
            return None
        side = rng.choice(["min", "max"])
        limit = place[3].options.get(side)
        amount = (limit or 0) + (-1 if side == "min" else 1) * rng.choice([1, 1000, BIG])
        rule = "the host states no limit" if limit is None else ""
        made = _at(prompt, known, place, "ZI-WF-RANGE", rule=rule)
        prompt[place[0]]["inputs"][place[1]] = amount
        return made

    return exceed


def _bad_choice(files: bool) -> Breaker:
    def choose(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
        places = [
            place for place in _places(prompt, known, linked=False)
            if "COMBO" in place[3].types and place[3].choices is not None
            and _is_file(place[3], place[2]) == files
        ]  # fmt: skip
        if not (place := _pick(rng, places)):
            return None
        rule = "several of a list" if place[3].options.get("multiselect") else ""
        made = _at(prompt, known, place, *_CHOICE, rule=rule)
        prompt[place[0]]["inputs"][place[1]] = f"x{place[2]}" if files else rng.choice(_NO_CHOICE)
        return made

    return choose


def _is_file(entry: Input, value: Any) -> bool:
    return any(map(entry.options.get, UPLOADS)) or str(value).lower().endswith(MODEL_SUFFIXES)


_CHOICE = ("ZI-WF-CHOICE", "ZI-WF-MODEL", "ZI-WF-FILE")
_NO_CHOICE = ["nonsense", "", 12345, None]


def _unsafe(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    places = [place for place in _places(prompt, known, linked=False)
              if "COMBO" in place[3].types and str(place[2]).endswith(".safetensors")]  # fmt: skip
    if not (place := _pick(rng, places)):
        return None
    prompt[place[0]]["inputs"][place[1]] = place[2].replace(".safetensors", rng.choice(_PICKLES))
    return Break(("ZI-WF-UNSAFE",), frozenset({place[0]}), place[1], severity="warning")


_PICKLES = [".ckpt", ".pt", ".bin", ".PTH"]


def _rename_class(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    number = rng.choice(list(prompt))
    if rng.random() < 0.2:
        del prompt[number]["class_type"]
        return Break(("ZI-WF-CLASS",), frozenset({number}))
    prompt[number]["class_type"] += "X"
    return Break(("ZI-WF-NODE-UNKNOWN",), frozenset({number}))


def _remove_node(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    number = rng.choice(list(prompt))
    seen = reached(prompt, known) - {number}
    users = [user for user, _, value, _ in _places(prompt, known, linked=True)
             if value[0] == number and user in seen]  # fmt: skip
    last = not any(known.node_classes[prompt[other]["class_type"]].is_output for other in seen)
    del prompt[number]
    if users:
        return Break(("ZI-WF-LINK",), frozenset(users))
    if last:
        return Break(("ZI-WF-NO-OUTPUT", "ZI-WF-EMPTY"))
    return Break((), harmless="nothing used it")


def _ring(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    """A link from a node back to itself or to one that feeds it."""
    if not (place := _pick(rng, _places(prompt, known, linked=True))):
        return None
    behind = {place[0]}
    waiting = [place[0]]
    while waiting:  # everything that the node feeds
        number = waiting.pop()
        for user, _, value, _ in _places(prompt, known, linked=True):
            if value[0] == number and user not in behind:
                behind.add(user)
                waiting.append(user)
    sources = [n for n in behind if known.node_classes[prompt[n]["class_type"]].outputs]
    origin = _pick(rng, sorted(sources))
    if origin is None:
        return None
    made = _at(prompt, known, place, "ZI-WF-CYCLE")
    outputs = known.node_classes[prompt[origin]["class_type"]].outputs
    prompt[place[0]]["inputs"][place[1]] = [origin, rng.randrange(len(outputs))]
    alive = place[0] in reached(prompt, known)
    rule = "" if alive else made.harmless or "no output needs it"
    return Break(made.codes, frozenset(behind), harmless=rule)


def _no_output(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    for number in [n for n, e in prompt.items() if known.node_classes[e["class_type"]].is_output]:
        del prompt[number]
    return Break(("ZI-WF-NO-OUTPUT", "ZI-WF-EMPTY"))


def _loose_copy(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    inner = [
        n for n, entry in prompt.items() if not known.node_classes[entry["class_type"]].is_output
    ]
    if not (number := _pick(rng, inner)):
        return None
    prompt["loose"] = copy.deepcopy(prompt[number])
    return Break(("ZI-WF-UNREACHABLE",), frozenset({"loose"}), severity="warning")


def _broken_text(prompt: Document, known: Knowledge, rng: random.Random) -> Break | None:
    places = [place for place in _places(prompt, known, linked=False)
              if "STRING" in place[3].types and isinstance(place[2], str)]  # fmt: skip
    if not (place := _pick(rng, places)):
        return None
    made = _at(prompt, known, place, "ZI-WF-TEXT")
    at = rng.randrange(len(place[2]) + 1)
    text = place[2][:at] + rng.choice("\ufffd\ud800\ue000\u202e") + place[2][at:]
    prompt[place[0]]["inputs"][place[1]] = text
    return replace(made, harmless="")  # the request fuse looks at every node


API: dict[str, Breaker] = {
    "link removed": _delete(linked=True),
    "value removed": _delete(linked=False),
    "input misspelt": _misspell,
    "link to nowhere": _relink(lambda link, rng: [NOWHERE, link[1]], "ZI-WF-LINK"),
    "link misshapen": _relink(
        lambda link, rng: rng.choice([[], link[:1], [*link, 0], [{}, 0]]), "ZI-WF-LINK"
    ),
    "output that is not there": _relink(lambda link, rng: [link[0], 99], "ZI-WF-SLOT"),
    "link of another type": _other_type,
    "no number": _no_number,
    "out of range": _out_of_range(),
    "seed or size out of range": _out_of_range(("seed", "noise_seed", "width", "height")),
    "not a choice": _bad_choice(files=False),
    "file that is not there": _bad_choice(files=True),
    "pickle file": _unsafe,
    "class renamed": _rename_class,
    "node removed": _remove_node,
    "ring": _ring,
    "no output": _no_output,
    "loose node": _loose_copy,
    "broken text": _broken_text,
}
"""Ways to break a prompt."""


def caught(made: Break, findings: Findings, before: Findings) -> bool:
    """True when a finding that was not there before tells the break, where it is."""
    for finding in findings - before:
        code, severity, node, name = finding
        at = not made.nodes or node in made.nodes
        named = not made.input or name == made.input
        if code in made.codes and at and named and severity in (made.severity, "error"):
            return True
    return False


def already(made: Break, before: Findings) -> bool:
    """True when the very thing was told of the unbroken file, which proves nothing."""
    return caught(made, before, frozenset())


@dataclass(frozen=True)
class Good:
    """An unbroken document and what is told of it."""

    title: str
    document: Document
    findings: Findings


def broken(
    name: str, breaker: Breaker, goods: Iterable[Good], known: Knowledge, times: int = 1
) -> Iterator[tuple[Good, Break, Document]]:
    """Every document broken so many times, by chance but always the same."""
    for good in goods:
        for number in range(times):
            document = copy.deepcopy(good.document)
            made = breaker(document, known, random.Random(f"{name} {good.title} {number}"))
            if made is not None and not already(made, good.findings):
                yield good, made, document


def trial(
    name: str, breaker: Breaker, goods: Iterable[Good], known: Knowledge, times: int = 1
) -> tuple[Counter[str], list[str]]:
    """Break every document so many times and see what is told.

    Returns:
        How many were ``made``, ``harmless`` (and how many for each rule), ``caught`` and ``missed``
        of the others; and which were missed.
    """
    count: Counter[str] = Counter()
    missed: list[str] = []
    for good, made, document in broken(name, breaker, goods, known, times):
        count["made"] += 1
        if made.harmless:
            count.update(["harmless", f"harmless: {made.harmless}"])
        elif caught(made, told(document, known), good.findings):
            count["caught"] += 1
        else:
            count["missed"] += 1
            missed.append(f"{good.title}: {made}")
    return count, missed
