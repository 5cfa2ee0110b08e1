"""Packs: compare the results of published packs' nodes in a sandbox and in the host.

Each pack in ``--packs`` runs in three servers, one after the other: two load it in their own
process, and one runs it in a sandbox. Each node for which inputs can be generated gets its own
prompt, the same in all three. A node counts if it runs in the host and gives the same result twice.
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
"""Rounds of running nodes whose inputs are outputs of earlier nodes."""
LIMIT = 12.0
"""Time limit of a prompt in seconds."""
SCRUBBED = frozenset({"filename", "subfolder", "prompt_id"})
MODELS, GONE = "models", "no end, or the server's end"
Record = dict[str, Any]


def main(argv: list[str]) -> int:
    """Run all packs; return exit code 0 if all of them have loaded."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--packs", type=Path, required=True, help="a folder with packs")
    parser.add_argument("--only", nargs="*", default=[], help="names of packs to run")
    parser.add_argument("--nodes", nargs="*", default=[], help="names of nodes to run")
    parser.add_argument("--python", type=Path, help="a Python with the libraries of the packs")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    options = parser.parse_args(argv)
    _common.load_pack()
    names = sorted(entry.name for entry in options.packs.iterdir() if entry.is_dir())
    tried: dict[str, dict[str, Any]] = {}
    code = 0
    for name in options.only or names:
        tried[name] = Trial(options, name).run()
        # A pack takes minutes, so results are stored after each, with those of other packs.
        results = {**(_stored() if options.save else {}), **tried}
        last = len(tried) == len(options.only or names)
        with contextlib.nullcontext() if last else contextlib.redirect_stdout(None):
            code = _common.finish("packs", options, {"packs": results}, _table(results))
    return code or int(not all(entry["nodes"] for entry in tried.values()))


def _stored() -> dict[str, dict[str, Any]]:
    path = _common.result_path("packs")
    return json.loads(path.read_text("utf-8"))["packs"] if path.is_file() else {}


class Trial:
    """A pack in three servers."""

    def __init__(self, options: Any, name: str) -> None:
        self.options = options
        self.name = name
        self.prompts: dict[str, Graph] = {}
        self.works: list[str] = []
        self.skipped: dict[str, str] = {}
        self.info: dict[str, dict[str, Any]] = {}
        self.findings: list[str] = []

    def run(self) -> dict[str, Any]:
        """Run the pack in all servers; return the comparison."""
        results = {}
        for kind in ("host", "again", "sandbox"):
            _common.say(f"{self.name}: {kind}")
            with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
                # The same path for all three, because results may contain paths.
                shared = Path(tempfile.gettempdir()) / f"zimage-bench-packs-{os.getpid()}"
                shutil.rmtree(shared, ignore_errors=True)
                Path(folder).rename(shared)
                try:
                    results[kind] = self._served(shared, kind)
                finally:
                    shared.rename(folder)
        folders = {str(shared): "…", str(_common.the_host().path): "ComfyUI"}
        return _anywhere(self._compared(results), folders)

    def _served(self, folder: Path, kind: str) -> dict[str, Record]:
        with Runner(folder, self.options, self.name, kind) as runner:
            info = runner.server.client.get("/object_info")
            own_nodes = self._own(info)
            self.info[kind] = {entry: info[entry] for entry in own_nodes}
            if kind == "sandbox":
                health = runner.server.client.get("/health").get("sandboxes", {})
                self.findings = [
                    f"{entry.get('code')}: {entry.get('en', '')}"[:600]
                    for entry in health.get("findings", [])
                ]
            if kind == "host":
                records = self._explored(runner, Graphs(info), own_nodes)
                self.works = [key for key, entry in records.items() if entry["end"] == "success"]
                return records
            return {key: runner.run(self.prompts[key]) for key in self.works}

    def _own(self, info: dict[str, Any]) -> list[str]:
        module = f"custom_nodes.{self.name}"
        return [name for name, entry in info.items() if entry.get("python_module") == module]

    def _explored(self, runner: Runner, graphs: Graphs, own_nodes: list[str]) -> dict[str, Record]:
        """Run all nodes whose inputs exist, then those that need their outputs, and so on."""
        records: dict[str, Record] = {}
        left = [node for node in own_nodes if not self.options.nodes or node in self.options.nodes]
        for _ in range(ROUNDS):
            before = len(left)
            for name in list(left):
                with contextlib.suppress(NotRunnableError):
                    graphs.graph(name, False)
                    left.remove(name)
                    for full in (False, True)[: 1 + graphs.optional(name)]:
                        key = f"{name} +" if full else name
                        self.prompts[key] = graphs.graph(name, full)
                        records[key] = runner.run(self.prompts[key])
                        if records[key]["end"] == "success":
                            graphs.learn(name, full)
                        elif records[key]["end"] == GONE:
                            break
            if len(left) == before:
                break
        for name in left:
            try:
                graphs.graph(name, False)
            except NotRunnableError as error:
                self.skipped[name] = str(error)
        return records

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
        described = self._described_equally()
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

    def _described_equally(self) -> list[str]:
        """Return the nodes with the same description; random defaults are ignored."""
        host, again, sandbox = self.info["host"], self.info["again"], self.info["sandbox"]
        return [
            name
            for name in host
            if host[name] == sandbox.get(name)
            or (host[name] != again.get(name) and name in sandbox)
        ]


class Runner:
    """A server with a pack and the helper pack."""

    def __init__(self, folder: Path, options: Any, name: str, kind: str) -> None:
        from zimage_comfyui.cli.host import Host
        from zimage_comfyui.cli.server import Server, write_paths
        from zimage_comfyui.sandbox.policy.policy import known as granted

        self.folder = folder
        packs = folder / "packs"
        shutil.copytree(options.packs / name, packs / name)
        (packs / HELPER).symlink_to(_common.pack_dir() / "benchmarks" / "_packs")
        models = folder / MODELS
        demo = _common.pack_dir() / "demo" / "models"
        known = {entry.name: str(entry) for entry in demo.iterdir() if entry.is_dir()}
        _files(folder / "input", models)
        known |= {entry.name: str(entry) for entry in models.iterdir()}
        write_paths(folder / "paths.json", {"custom_nodes": str(packs), **known})
        # Strict mode, so that no pack loads in the host, with the grants of the other modes.
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
        """Start without the queue of an earlier server, which would run its last prompt again."""
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
        """Run a prompt; return its end, its outputs and the files that it has written."""
        if not self.server.client.answers():
            self.server.stop()
            self._start()
        client, before = self.server.client, self._written()
        began = time.monotonic()
        status, answer = client.submit(graph)
        if status != 200:
            return {"end": f"refused: {json.dumps(answer)[:600]}"}
        entry = self._ended(answer["prompt_id"])
        if (seconds := time.monotonic() - began) > LIMIT / 4:
            _common.say(f"  {graph['target']['class_type']}: {seconds:.0f} s")
        if entry is None:
            return {"end": GONE}
        if entry["status"]["status_str"] != "success":
            errors = [x for kind, x in entry["status"]["messages"] if kind == "execution_error"]
            error = errors[0] if errors else {"exception_message": "interrupted"}
            node = "" if error.get("node_id") == "target" else f"{error.get('node_type')}: "
            return {"end": f"{node}{error['exception_message']}"[:600]}
        outputs = entry["outputs"]
        files = self._written()
        return {
            "end": "success",
            "caught": outputs.get("caught", {}).get("caught"),
            "shown": _scrubbed(outputs.get("target", {})),
            "files": sorted(digest for path, digest in files.items() if before.get(path) != digest),
        }

    def _ended(self, prompt: str) -> Any:
        began, interrupted = time.monotonic(), False
        while time.monotonic() < began + 1.5 * LIMIT:
            try:
                if entry := self.server.client.get(f"/history/{prompt}").get(prompt):
                    return entry
            except OSError:
                return None
            if time.monotonic() > began + LIMIT and not interrupted:
                interrupted = True
                self.server.client.request("/interrupt", {})
            time.sleep(0.01)
        self.server.stop()  # the prompt cannot be interrupted; the next one gets a new server
        return None

    def _written(self) -> dict[str, str]:
        digests = {}
        for kind in ("output", "temp"):
            for path in sorted((self.folder / kind).rglob("*")):
                if path.is_file():
                    digests[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return digests


def _files(inputs: Path, models: Path) -> None:
    """Write a picture and models of a few kilobytes, for nodes with file inputs."""
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
    adapter = {
        "image_proj.proj.weight": torch.randn(512, 48) * 0.1,
        "image_proj.proj.bias": torch.zeros(512),
        "image_proj.norm.weight": torch.ones(128),
        "image_proj.norm.bias": torch.zeros(128),
    }
    for index, width in enumerate(widths):
        for part in "kv":
            adapter[f"ip_adapter.{2 * index + 1}.to_{part}_ip.weight"] = (
                torch.randn(width, 128) * 0.1
            )
    save_file(adapter, models / "ipadapter" / "ip-adapter_sd15.safetensors")
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
    lora = {
        f"{key}.lora_up.weight": torch.randn(32, 2),
        f"{key}.lora_down.weight": torch.randn(2, 32),
        f"{key}.alpha": torch.tensor(2.0),
    }
    save_file(lora, models / "loras" / "a.safetensors")


def _anywhere(document: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a document without this machine's folders, which messages may contain."""
    text = json.dumps(document)
    for folder, name in names.items():
        text = text.replace(json.dumps(folder)[1:-1], name)
    return json.loads(text)


def _scrubbed(value: Any) -> Any:
    """Return what a node shows, without random names."""
    if isinstance(value, dict):
        return {k: "…" if k in SCRUBBED else _scrubbed(v) for k, v in value.items()}
    return [_scrubbed(item) for item in value] if isinstance(value, list) else value


def same(value: Any, other: Any) -> bool:
    """Return whether results are equal, apart from the last digits of tensors."""
    if isinstance(value, dict) and isinstance(other, dict):
        if "near" in value and "near" in other and value["tensor"] == other["tensor"]:
            if value["sha"] == other["sha"]:
                return True
            pairs = list(zip(value["near"], other["near"], strict=True))
            finite = [abs(a) for a, _ in pairs if math.isfinite(a)]
            least = max(1e-5, 1e-6 * max(finite, default=0.0))  # rounding of sums
            return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=least) for a, b in pairs)
        return value.keys() == other.keys() and all(same(value[k], other[k]) for k in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    return value == other


def difference(value: Any, other: Any) -> str:
    """Return the first difference as a line of text."""
    if isinstance(value, dict) and isinstance(other, dict) and "near" not in value:
        if other.get("end", "success") != "success":
            return str(other["end"])
        for key in [*value, *(k for k in other if k not in value)]:
            if not same(value.get(key), other.get(key)):
                return f"{key}: {difference(value.get(key), other.get(key))}"
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        index = next(i for i, (a, b) in enumerate(zip(value, other, strict=True)) if not same(a, b))
        return f"{index}: {difference(value[index], other[index])}"
    return f"{json.dumps(value)[:200]} / {json.dumps(other)[:200]}"


def _table(results: dict[str, Any]) -> str:
    lines = [f"{'pack':28} nodes described run same exact share"]
    for name, result in results.items():
        share = "-" if result["share"] is None else f"{result['share']:.1%}"
        described, run = result["described_equally"], result["run_in_the_host"]
        same, exact = result["same_in_the_sandbox"], result["to_the_last_bit"]
        counts = f"{result['nodes']:5} {described:9} {run:3} {same:4} {exact:5}"
        lines.append(f"{name:28} {counts} {share:>6}")
    for name, result in results.items():
        lines += ["", name, *(f"  {finding}" for finding in result["findings"])]
        lines += [f"  described differently: {key}" for key in result["described_differently"]]
        lines += [f"  {key}: {reason}" for key, reason in result["differ"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
