"""Benchmarks: what they count and what they tell about the machine."""

import ast
import getpass
import json
import math
import platform
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def importable(pack_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """As when a benchmark is run by file: its own folder is on the path."""
    monkeypatch.syspath_prepend(str(pack_dir / "benchmarks"))


def test_every_benchmark_says_what_it_measures(pack_dir: Path):
    """The list shows the first line of each docstring; each has a main."""
    for path in (pack_dir / "benchmarks").glob("[!_]*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree)
        assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_full_size_evaluation_costs_what_is_known():
    """About 6.0e13 FLOP at 1024x1024, with refiners that see one kind of token."""
    import _models

    flops = _models.evaluation_flops(_models.FULL, 1024, 1024, 48)
    assert flops == pytest.approx(5.7e13, rel=0.06)


def test_tokens_are_counted_with_their_padding():
    """Both counts go up in steps of 32."""
    import _models

    def cost(side: int, caption: int) -> float:
        return _models.evaluation_flops(_models.MIDDLE, side, 64, caption)

    assert cost(128, 33) == cost(128, 64)
    assert cost(128, 32) < cost(128, 33)
    assert cost(64, 1) == cost(128, 1)  # 16 and 32 image tokens


def test_summary_keeps_every_value():
    """The median for the table, the values for whoever doubts it."""
    import _common

    assert _common.summary([3.0, 1.0, 2.0]) == {
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "values": [3.0, 1.0, 2.0],
    }


def test_ratio_below_one_favours_the_first():
    """Half the seconds of the other is 0.5, on the memory that the machine has."""
    import turbo

    def one(seconds: float, rss: float) -> dict:
        return {"seconds": {"median": seconds}, "peak_rss_mib": rss, "peak_device_mib": 0.0}

    ratios = turbo._ratios({"nodes": one(1, 100), "host": one(2, 100), "diffusers": one(4, 50)})
    assert ratios["nodes/host"] == {"seconds": 0.5, "peak_rss_mib": 1.0}
    assert ratios["nodes/diffusers"] == {"seconds": 0.25, "peak_rss_mib": 2.0}


def test_overhead_is_that_of_pairs():
    """The median of differences and ratios, not the difference and ratio of medians."""
    import overhead

    def runs(*done: float) -> list[dict[str, float]]:
        return [{"accepted": one / 10, "done": one} for one in done]

    found = overhead.compared({"bare": runs(10, 100, 1), "hardened": runs(11, 90, 4)})
    assert found["difference_ms"]["median"] == 1
    assert found["ratio"]["median"] == 1.1
    assert found["accepted_difference_ms"]["median"] == 0.1
    assert (found["bare_ms"]["median"], found["hardened_ms"]["median"]) == (10, 11)


def test_submissions_compares_each_pair():
    """The goal is that of the most connections."""
    import submissions

    found = submissions.summarized(
        {
            16: {"bare": [1000.0, 100.0, 10.0], "hardened": [800.0, 90.0, 5.0]},
            1: {"bare": [100.0], "hardened": [10.0]},
        }
    )
    assert found["connections"]["16"]["ratio"]["values"] == [0.8, 0.9, 0.5]
    assert found["goals"]["met"]
    assert found["connections"]["1"]["ratio"]["median"] == 0.1


def test_overhead_asks_for_something_new_each_time():
    """What a server has already made costs nothing."""
    import _common
    from _client import trivial_graph, turbo_graph

    _common.load_pack()
    for graph in (trivial_graph, turbo_graph):
        assert graph(1) != graph(2)


def test_a_slope_is_that_among_the_same_models():
    """A hundred MiB for the models that are there are no growth; one a thousand requests is."""
    import soak

    level = {"turbo": 900, "both": 1000}
    late = ["turbo"] * 10 + ["both"] * 10
    points = [(x, level[models] + 1.5 * x, models) for x, models in enumerate(late)]
    assert soak.slope(points) == {"slope": 1.5, "plus_minus": 0.0}
    noisy = [(x, y + (-1) ** x, models) for x, y, models in points]
    found = soak.slope(noisy)
    assert abs(found["slope"] - 1.5) < found["plus_minus"] < 1
    assert soak.slope(points[:2]) == {"slope": None, "plus_minus": None}


def test_machine_is_described_without_naming_it():
    """Processor, memory and versions; no host name, user or path."""
    import _common

    text = json.dumps(_common.machine())
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text


def test_peak_of_a_process_is_counted_anew(pack_dir: Path):
    """After a reset the peak is what is resident now, then grows with use."""
    code = (
        "import os, _common\n"
        "pid = os.getpid()\n"
        "bytearray(b'x' * (96 * 2**20))\n"
        "high = _common.peak_rss(pid)\n"
        "_common.reset_peak(pid)\n"
        "low = _common.peak_rss(pid)\n"
        "block = bytearray(b'x' * (64 * 2**20))\n"
        "print(high - low, _common.peak_rss(pid) - low)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pack_dir / "benchmarks",
        capture_output=True,
        text=True,
        check=True,
    )
    fell, rose = (int(word) for word in done.stdout.split())
    assert fell > 64 * 2**20
    assert rose > 48 * 2**20


def test_results_of_nodes_are_compared_by_bits_then_by_numbers():
    """Last digits may differ, shapes and anything else may not."""
    import packs

    def result(sha: str, *near: float, kind: str = "float32[2]") -> dict:
        return {"end": "success", "caught": [{"tensor": kind, "sha": sha, "near": list(near)}]}

    assert packs.same(result("a", 1.0), result("b", 1.00001))
    assert not packs.same(result("a", 1.0), result("b", 1.1))
    assert packs.same(result("a", 42.0, 0.0), result("b", 42.0, 2e-5))
    assert not packs.same(result("a", 42.0, 0.0), result("b", 42.0, 2e-4))
    assert not packs.same(result("a", math.inf, 1.0), result("b", math.inf, 2.0))
    assert not packs.same(result("a", 1.0), result("a", 1.0, kind="float32[1, 2]"))
    assert "1.1" in packs.difference(result("a", 1.0), result("b", 1.1))
    assert packs.difference(result("a", 1.0), {"end": "refused"}) == "refused"


def test_a_prompt_for_a_node_has_what_it_needs():
    """Of ComfyUI's types from the helper, of the pack's own from a node that has run."""
    from _packs_graphs import Graphs, NotRunnableError

    def node(outputs: list[str], **inputs: list) -> dict:
        return {"input": {"required": inputs}, "output": outputs, "output_node": False}

    info = {
        "BenchMake": {"input": {"required": {"kind": [["IMAGE"]]}}, "output": ["*"]},
        "Find": node(["SEGS"], image=["IMAGE"], size=["INT", {"default": 4096}]),
        "Use": node(["IMAGE"], segs=["SEGS"], how=[["a", "b"], {"default": "b"}]),
    }
    graphs = Graphs(info)
    with pytest.raises(NotRunnableError, match="SEGS"):
        graphs.graph("Use", False)
    assert graphs.graph("Find", False)["target"]["inputs"]["size"] == 128
    graphs.learn("Find", False)
    graph = graphs.graph("Use", False)
    assert graph["target"]["inputs"] == {"segs": ["target.segs", 0], "how": "b"}
    assert graph["target.segs.image"]["class_type"] == "BenchMake"
    assert graph["caught"]["inputs"] == {"value0": ["target", 0]}
