"""Run as ``python -I jailed.py ORDER``: confines itself, acts, says as JSON what came of it.

The order is JSON: ``jail`` (absent for none), ``only`` (a single mechanism), and ``acts``, names of
functions in ``jailed_acts`` or ``jailed_work`` with their arguments. What has to be open before is
made by a function ``before_NAME``, whose results come first.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "sandbox")]
sys.dont_write_bytecode = True

confinement = importlib.import_module("confinement")
ACTS = {
    **vars(importlib.import_module("jailed_work")),
    **vars(importlib.import_module("jailed_acts")),
}


def pretend(version):
    """An older kernel's Landlock, or with 0 a kernel without it."""
    if not version:
        raise OSError(38, os.strerror(38))
    return version


def confine(order):
    """All mechanisms, or one alone so that no other does its work."""
    jail = confinement.Jail(**{k: v if not isinstance(v, list) else tuple(v)
                               for k, v in order["jail"].items()})  # fmt: skip
    if "version" in order:
        confinement.landlock.version = lambda: pretend(order["version"])
    if not order.get("only"):
        return confinement.confine(jail).describe()
    confinement.privileges.forbid_more()
    if order["only"] == "seccomp":
        outcome = confinement.seccomp.apply(jail, order.get("abi", 7), False)
    elif order["only"] == "capabilities":
        outcome = confinement.privileges.drop_capabilities()
    else:
        outcome = importlib.import_module(f"confinement.{order['only']}").apply(jail)
    if not isinstance(outcome, confinement.Outcome):
        outcome = outcome[0]
    return confinement.ConfinementReport({order["only"]: outcome}).describe()


def main():
    """One line of JSON: the report, seconds it took, and value or error of each act."""
    order = json.loads(sys.argv[1])
    if order.get("keep") is not None:
        confinement.close_others(order["keep"])
    acts = []
    for name, *arguments in order["acts"]:
        before = ACTS.get(f"before_{name}")
        acts.append((name, [*(before() if before else ()), *arguments]))
    started = time.perf_counter()
    report = confine(order) if order.get("jail") is not None else {}
    said = {"report": report, "seconds": time.perf_counter() - started, "acts": []}
    for name, arguments in acts:
        try:
            value = {"value": ACTS[name](*arguments)}
        except Exception as error:  # noqa: BLE001  every one is an answer
            value = {"error": type(error).__name__, "errno": getattr(error, "errno", None),
                     "text": str(error)}  # fmt: skip
        said["acts"].append(value)
    os.write(1, json.dumps(said).encode())


main()
