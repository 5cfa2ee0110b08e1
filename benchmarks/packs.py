"""Packs as they are published: what each of their nodes gives in a sandbox and in the host.

For every pack in ``--packs`` three servers, one after the other: two that load it in their own
process and one that runs it in a sandbox. Every node for which inputs can be made gets a prompt of
its own, the same in all three. A node counts when it runs in the host and gives the same twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
from _packs_graphs import Graph, Graphs, NotRunnableError

HELPER = "bench_packs"
ROUNDS = 5
"""So often nodes are looked for that can be run with what those before have given."""
LIMIT = 12.0
"""Seconds for one prompt."""
SCRUBBED = frozenset({"filename", "subfolder", "prompt_id"})
MODELS, GONE = "models", "no end, or the server's end"
Record = dict[str, Any]


def main(argv: list[str]) -> int:
    """Try all packs; exit code 0 when each of them has loaded."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--packs", type=Path, required=True, help="a folder with packs")
    parser.add_argument("--only", nargs="*", default=[], help="these packs of it")
    parser.add_argument("--nodes", nargs="*", default=[], help="these nodes of them")
    parser.add_argument("--python", type=Path, help="that has the libraries which they need")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    options = parser.parse_args(argv)
    _common.load_pack()
    names = sorted(one.name for one in options.packs.iterdir() if one.is_dir())
    tried: dict[str, dict[str, Any]] = {}
    code = 0
    for name in options.only or names:
        tried[name] = Trial(options, name).run()
        # Every pack takes minutes: what there is is stored at once, beside packs tried before.
        found = {**(_stored() if options.save else {}), **tried}
        last = len(tried) == len(options.only or names)
        with contextlib.nullcontext() if last else contextlib.redirect_stdout(None):
            code = _common.finish("packs", options, {"packs": found}, _table(found))
    return code or int(not all(one["nodes"] for one in tried.values()))


def _stored() -> dict[str, dict[str, Any]]:
    path = _common.result_path("packs")
    return json.loads(path.read_text("utf-8"))["packs"] if path.is_file() else {}


class Trial:
    """One pack in three servers."""

    def __init__(self, options: Any, name: str) -> None:
        self.options, self.name = options, name
        self.prompts: dict[str, Graph] = {}
        self.works: list[str] = []
        self.skipped: dict[str, str] = {}
        self.info: dict[str, dict[str, Any]] = {}
        self.findings: list[str] = []

    def run(self) -> dict[str, Any]:
        """All of it."""
        results = {}
        for kind in ("host", "again", "sandbox"):
            _common.say(f"{self.name}: {kind}")
            with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
                # One path for all three: nodes say where they have written.
                place = Path(tempfile.gettempdir()) / f"zimage-bench-packs-{os.getpid()}"
                shutil.rmtree(place, ignore_errors=True)
                Path(folder).rename(place)
                try:
                    results[kind] = self._served(place, kind)
                finally:
                    place.rename(folder)
        folders = {str(place): "…", str(_common.the_host().path): "ComfyUI"}
        return _anywhere(self._compared(results), folders)

    def _served(self, folder: Path, kind: str) -> dict[str, Record]:
        with Runner(folder, self.options, self.name, kind) as runner:
            info = runner.server.client.get("/object_info")
            own = self._own(info)
            self.info[kind] = {one: info[one] for one in own}
            if kind == "sandbox":
                health = runner.server.client.get("/health").get("sandboxes", {})
                self.findings = [
                    f"{one.get('code')}: {one.get('en', '')}"[:600]
                    for one in health.get("findings", [])
                ]
            if kind == "host":
                found = self._explored(runner, Graphs(info), own)
                self.works = [key for key, one in found.items() if one["end"] == "success"]
                return found
            return {key: runner.run(self.prompts[key]) for key in self.works}

    def _own(self, info: dict[str, Any]) -> list[str]:
        module = f"custom_nodes.{self.name}"
        return [name for name, one in info.items() if one.get("python_module") == module]

    def _explored(self, runner: Runner, graphs: Graphs, own: list[str]) -> dict[str, Record]:
        """Run all that can be run, and what can be run with what that has given, and so on."""
        found: dict[str, Record] = {}
        left = [one for one in own if not self.options.nodes or one in self.options.nodes]
        for _ in range(ROUNDS):
            before = len(left)
            for name in list(left):
                with contextlib.suppress(NotRunnableError):
                    graphs.graph(name, False)
                    left.remove(name)
                    for full in (False, True)[: 1 + graphs.optional(name)]:
                        key = f"{name} +" if full else name
                        self.prompts[key] = graphs.graph(name, full)
                        found[key] = runner.run(self.prompts[key])
                        if found[key]["end"] == "success":
                            graphs.learn(name, full)
                        elif found[key]["end"] == GONE:
                            break
            if len(left) == before:
                break
        for name in left:
            try:
                graphs.graph(name, False)
            except NotRunnableError as error:
                self.skipped[name] = str(error)
        return found

    def _compared(self, results: dict[str, dict[str, Record]]) -> dict[str, Any]:
        host, again, inside = results["host"], results["again"], results["sandbox"]
        fails, unsteady, differ = {}, [], {}
        works, exact = set(), set()
        for key, first in host.items():
            name = key.removesuffix(" +")
            if first["end"] != "success":
                fails[key] = first["end"]
            elif not same(first, again[key]):
                unsteady.append(key)
            else:
                works.add(name)
                if not same(first, inside[key]):
                    differ[key] = difference(first, inside[key])
                elif first == inside[key]:
                    exact.add(name)
        same_nodes = works - {key.removesuffix(" +") for key in differ}
        one, two, other = self.info["host"], self.info["again"], self.info["sandbox"]
        # Some draw a default by chance: those say nothing.
        described = [
            name
            for name in one
            if one[name] == other.get(name) or (one[name] != two.get(name) and name in other)
        ]
        return {
            "commit": _common.commit(),
            "nodes": len(self.info["host"]),
            "nodes_in_the_sandbox": len(self.info["sandbox"]),
            "described_equally": len(described),
            "described_differently": sorted(set(self.info["host"]) - set(described)),
            "run_in_the_host": len(works),
            "same_in_the_sandbox": len(same_nodes),
            "to_the_last_bit": len(exact & same_nodes),
            "share": round(len(same_nodes) / len(works), 4) if works else None,
            "differ": differ,
            "not_the_same_twice": sorted(set(unsteady)),
            "fail_in_the_host": {
                k: v for k, v in fails.items() if k.removesuffix(" +") not in works
            },
            "not_run": self.skipped,
            "findings": self.findings,
        }


class Runner:
    """A server with one pack and the helper."""

    def __init__(self, folder: Path, options: Any, name: str, kind: str) -> None:
        from zimage_comfyui.cli.host import Host
        from zimage_comfyui.cli.server import Server, write_paths
        from zimage_comfyui.sandbox.policy.policy import known as granted

        self.folder, packs = folder, folder / "packs"
        shutil.copytree(options.packs / name, packs / name)
        (packs / HELPER).symlink_to(_common.pack_dir() / "benchmarks" / "_packs")
        models = folder / MODELS
        demo = _common.pack_dir() / "demo" / "models"
        known = {one.name: str(one) for one in demo.iterdir() if one.is_dir()}
        _files(folder / "input", models)
        known |= {one.name: str(one) for one in models.iterdir()}
        write_paths(folder / "paths.json", {"custom_nodes": str(packs), **known})
        # Strict mode, so that nothing loads in the host, with what other modes grant this pack.
        grants = {**granted().get(name.lower(), {}), "run": "sandbox"}
        lines = [f"{key} = {json.dumps(grants[key])}" for key in grants if key != "variables"]
        inside = "\n".join([f'[packs."{name}"]', *lines, ""])
        self.policy = f'[packs.{HELPER}]\nrun = "trusted"\n{inside}'
        host = _common.the_host()
        if options.python is not None:
            host = Host(host.path, options.python, host.source)
        mode = "strict" if kind == "sandbox" else "off"
        env = {**os.environ, "ZIMAGE_SANDBOX": mode, "TORCHDYNAMO_DISABLE": "1"}  # takes minutes
        arguments = ("--extra-model-paths-config", str(folder / "paths.json"))
        self.server = Server(host, _common.pack_dir(), folder, arguments, env=env)
        self.kept = options.logs / f"{name}-{kind}.log" if options.logs else None

    def __enter__(self) -> Runner:
        self._start()
        return self

    def _start(self) -> None:
        """Without what a server before has left: it would run the prompt that had no end again."""
        policy = self.folder / "user" / "__zimage" / "sandbox.toml"
        shutil.rmtree(self.folder / "user", ignore_errors=True)
        policy.parent.mkdir(parents=True)
        policy.write_text(self.policy)
        self.server.start()

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        if self.kept is not None:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.server.log, self.kept)

    def run(self, graph: Graph) -> Record:
        """One prompt: how it ended, what came out, and which files there are since."""
        if not self.server.client.answers():
            self.server.stop()
            self._start()
        client, before = self.server.client, self._written()
        began = time.monotonic()
        status, answer = client.submit(graph)
        if status != 200:
            return {"end": f"refused: {json.dumps(answer)[:600]}"}
        entry = self._ended(answer["prompt_id"])
        if (took := time.monotonic() - began) > LIMIT / 4:
            _common.say(f"  {graph['target']['class_type']}: {took:.0f} s")
        if entry is None:
            return {"end": GONE}
        if entry["status"]["status_str"] != "success":
            errors = [x for kind, x in entry["status"]["messages"] if kind == "execution_error"]
            about = errors[0] if errors else {"exception_message": "interrupted"}
            node = "" if about.get("node_id") == "target" else f"{about.get('node_type')}: "
            return {"end": f"{node}{about['exception_message']}"[:600]}
        outputs = entry["outputs"]
        files = self._written()
        return {
            "end": "success",
            "caught": outputs.get("caught", {}).get("caught"),
            "shown": _scrubbed(outputs.get("target", {})),
            "files": sorted(digest for path, digest in files.items() if before.get(path) != digest),
        }

    def _ended(self, prompt: str) -> Any:
        began, asked = time.monotonic(), False
        while time.monotonic() < began + 1.5 * LIMIT:
            try:
                if entry := self.server.client.get(f"/history/{prompt}").get(prompt):
                    return entry
            except OSError:
                return None
            if time.monotonic() > began + LIMIT and not asked:
                asked = True
                self.server.client.request("/interrupt", {})
            time.sleep(0.01)
        self.server.stop()  # it holds on to what it does: the next prompt gets a new one
        return None

    def _written(self) -> dict[str, str]:
        found = {}
        for kind in ("output", "temp"):
            for path in sorted((self.folder / kind).rglob("*")):
                if path.is_file():
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return found


def _files(inputs: Path, models: Path) -> None:
    """A picture, a sound, and models of a few kilobytes, for nodes that choose a file."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    inputs.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(1)
    Image.fromarray(dice.integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(inputs / "a.png")
    for kind in ("ipadapter", "loras"):
        (models / kind).mkdir(parents=True)
    torch.manual_seed(5)
    widths = [32, 32, 64, 64, 128, 128, *[128] * 3, *[64] * 3, *[32] * 3, 128]
    found = {
        "image_proj.proj.weight": torch.randn(512, 48) * 0.1,
        "image_proj.proj.bias": torch.zeros(512),
        "image_proj.norm.weight": torch.ones(128),
        "image_proj.norm.bias": torch.zeros(128),
    }
    for index, width in enumerate(widths):
        for part in "kv":
            found[f"ip_adapter.{2 * index + 1}.to_{part}_ip.weight"] = torch.randn(width, 128) * 0.1
    save_file(found, models / "ipadapter" / "ip-adapter_sd15.safetensors")
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
    lora = {
        f"{key}.lora_up.weight": torch.randn(32, 2),
        f"{key}.lora_down.weight": torch.randn(2, 32),
        f"{key}.alpha": torch.tensor(2.0),
    }
    save_file(lora, models / "loras" / "a.safetensors")


def _anywhere(found: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same without this machine's folders, which messages name."""
    text = json.dumps(found)
    for folder, name in names.items():
        text = text.replace(json.dumps(folder)[1:-1], name)
    return json.loads(text)


def _scrubbed(value: Any) -> Any:
    """What a node shows, without names that are drawn by chance."""
    if isinstance(value, dict):
        return {k: "…" if k in SCRUBBED else _scrubbed(v) for k, v in value.items()}
    return [_scrubbed(one) for one in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of tensors."""
    if isinstance(one, dict) and isinstance(other, dict):
        if "near" in one and "near" in other and one["tensor"] == other["tensor"]:
            if one["sha"] == other["sha"]:
                return True
            pairs = list(zip(one["near"], other["near"], strict=True))
            finite = [abs(a) for a, _ in pairs if math.isfinite(a)]
            least = max(1e-5, 1e-6 * max(finite, default=0.0))  # a sum's rounding
            return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=least) for a, b in pairs)
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def difference(one: Any, other: Any) -> str:
    """Where the two part, in a line."""
    if isinstance(one, dict) and isinstance(other, dict) and "near" not in one:
        if other.get("end", "success") != "success":
            return str(other["end"])
        for key in [*one, *(k for k in other if k not in one)]:
            if not same(one.get(key), other.get(key)):
                return f"{key}: {difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        index = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if not same(a, b))
        return f"{index}: {difference(one[index], other[index])}"
    return f"{json.dumps(one)[:200]} / {json.dumps(other)[:200]}"


def _table(found: dict[str, Any]) -> str:
    lines = [f"{'pack':28} nodes described run same exact share"]
    for name, one in found.items():
        share = "-" if one["share"] is None else f"{one['share']:.1%}"
        lines.append(
            f"{name:28} {one['nodes']:5} {one['described_equally']:9} {one['run_in_the_host']:3} "
            f"{one['same_in_the_sandbox']:4} {one['to_the_last_bit']:5} {share:>6}"
        )
    for name, one in found.items():
        lines += ["", name, *(f"  {finding}" for finding in one["findings"])]
        lines += [f"  described differently: {key}" for key in one["described_differently"]]
        lines += [f"  {key}: {reason}" for key, reason in one["differ"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
