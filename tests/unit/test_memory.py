"""Around every prompt: room before, the same settings during, everything given back after."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import guardian, sandbox_source
from zimage_comfyui.patches.base import ram as ram_module
from zimage_comfyui.patches.memory import admission, prompt_memory, readings
from zimage_comfyui.patches.memory.estimate import Needs
from zimage_comfyui.patches.memory.prompt_memory import Memory
from zimage_comfyui.tests.fakes import graphs
from zimage_comfyui.tests.fakes.memory_host import CPU, GPU, MIB, Device, Host, Patcher

TRIVIAL = {"1": {"class_type": "EmptyImage", "inputs": {}}}
GRAPH = graphs.render()


class Ram:
    """A machine's RAM: all of it, what is free, and what this process has."""

    whole, free, resident = 1000 * MIB, 1000 * MIB, 500 * MIB


@pytest.fixture
def ram(monkeypatch) -> Ram:
    """What the machine is said to have."""
    found = Ram()
    monkeypatch.setattr(ram_module, "whole", lambda: found.whole)
    monkeypatch.setattr(ram_module, "available", lambda: found.free)
    monkeypatch.setattr(ram_module, "resident", lambda: found.resident)
    return found


@pytest.fixture(params=[CPU, GPU], ids=["cpu", "gpu"])
def host(request, monkeypatch, ram) -> Host:
    """A host of 100 MiB, on either device."""
    return Host(monkeypatch, request.param, 100 * MIB)


@pytest.fixture
def protocol(host):
    """The protocol, applied."""
    part = Memory()
    part.apply()
    yield part
    part.revert()


@pytest.fixture
def needs(monkeypatch) -> dict[str, int]:
    """What every known graph is said to need, MiB."""
    found = {"weights": 10, "one_branch": 10, "all_branches": 20, "pictures": 1}
    give = lambda *_: Needs(**{name: size * MIB for name, size in found.items()})  # noqa: E731
    monkeypatch.setattr(admission, "needs", give)
    return found


def run(host: Host, executor: Any, graph: dict[str, Any], id: str) -> None:
    """A prompt, and the host's worker asking for the next one."""
    executor.execute(graph, id)
    assert host.execution.PromptQueue().get() is None


def use(host: Host, ram: Ram, size: int) -> None:
    """Memory that no model accounts for, where this host measures it."""
    if host.place == GPU:
        host.extra += size
    else:
        ram.resident += size


def test_what_is_resident_is_told_when_memory_was_given_back(
    host, ram, protocol, monkeypatch
) -> None:
    """Not while the prompt has it; the guardian judges by it where there is no rest."""
    monkeypatch.setattr(guardian, "memory_at_rest", None)
    executor = host.execution.PromptExecutor()
    executor.execute(TRIVIAL, "0")
    ram.resident += 100 * MIB
    assert guardian.memory_at_rest is None
    assert host.execution.PromptQueue().get() is None
    assert guardian.memory_at_rest == {"prompts": 1, "resident": 600.0, "models": []}


def test_applied_once_and_undone(host, ram) -> None:
    """Prompts run as before, with what they were given; applying twice is applying once."""
    kind = host.execution.PromptExecutor
    original, get = kind.execute, host.execution.PromptQueue.get
    part = Memory()
    for _ in range(2):
        part.apply()
        assert part.active
    executor = kind()
    executor.execute(TRIVIAL, "id", {"client_id": "c"}, ["1"])
    assert executor.ran == ("id", {"client_id": "c"}, ["1"])
    executor.execute(TRIVIAL, prompt_id="other", execute_outputs=["1"])
    assert executor.ran == ("other", {}, ["1"])
    assert part.counts["prompts"] == 1  # the memory of the second is not given back yet
    host.execution.PromptQueue().get()
    assert part.counts["prompts"] == 2
    for _ in range(2):
        part.revert()
        assert not part.active
        assert (kind.execute, host.execution.PromptQueue.get) == (original, get)
    assert readings.gc.get_freeze_count() == 0


def test_a_different_host_is_left_alone(host) -> None:
    """The executor takes something else."""
    kind = host.execution.PromptExecutor
    kind.execute = theirs = lambda self, prompt, other: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        Memory().apply()
    assert kind.execute is theirs


def test_settings_are_frozen_and_restored(host, protocol) -> None:
    """No kernel is chosen by trying; afterwards, failed or not, all is as it was."""
    cudnn = host.torch.backends.cudnn
    executor = host.execution.PromptExecutor()
    seen = []

    def work() -> None:
        seen.append(cudnn.benchmark)
        cudnn.benchmark = "a node's"
        raise KeyError

    executor.work = work
    with pytest.raises(KeyError):
        executor.execute(TRIVIAL, "id")
    assert seen == [False]
    assert cudnn.benchmark is True


def test_who_asked_for_autotune_keeps_it(host, protocol, monkeypatch) -> None:
    """``--fast autotune`` is the operator's word."""
    fast = [SimpleNamespace(value="autotune")]
    arguments = SimpleNamespace(args=SimpleNamespace(fast=fast))
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    with prompt_memory.fixed_settings():
        assert host.torch.backends.cudnn.benchmark is True


def test_a_trivial_prompt_costs_no_collecting(host, protocol) -> None:
    """Memory has not moved."""
    executor = host.execution.PromptExecutor()
    for number in range(3):
        run(host, executor, TRIVIAL, str(number))
    assert host.collected == []
    assert protocol.details()["released"] == 0


def test_what_a_prompt_leaves_is_told_once(host, ram, protocol, caplog) -> None:
    """More than 3 % in use than before and by no model; less is not told, both are given back."""
    executor = host.execution.PromptExecutor()
    use(host, ram, 100 * MIB)
    for size, told in ((9, 0), (120, 1), (9, 1), (-120, 2)):
        executor.work = lambda size=size: use(host, ram, size * MIB)
        run(host, executor, TRIVIAL, f"prompt-{size}")
        if host.place == CPU:
            assert protocol.counts["deviations"] == told
    assert protocol.counts["released"] == len(host.collected) == 4
    assert caplog.text.count("prompt-120") == 1


def test_what_is_kept_for_sandboxes_is_left_by_nobody(
    host, ram, protocol, monkeypatch, caplog
) -> None:
    """Their arenas wait for the next tensor; once they are gone, what stays is told."""
    kept = [0]
    monkeypatch.setattr(sandbox_source, "_kept", lambda: kept[0])
    executor = host.execution.PromptExecutor()

    def work(size: int, of_that: int) -> None:
        ram.resident += size * MIB
        kept[0] += of_that * MIB

    for id, size, of_that, told in (
        ("fills", 100, 100, 0), ("empties", -100, -100, 0), ("leaks", 100, 0, 1),
    ):  # fmt: skip
        executor.work = lambda size=size, of_that=of_that: work(size, of_that)
        run(host, executor, TRIVIAL, id)
        assert protocol.counts["deviations"] == (told if host.place == CPU else 0)
        assert ("leaks left +100 MiB" in caplog.text) is (host.place == CPU and id == "leaks")


def test_a_client_is_told_before_memory_is_given_back(host, ram, protocol) -> None:
    """Collecting takes a while; a worker that asks nobody collects before its next prompt."""
    executor = host.execution.PromptExecutor()
    executor.work = lambda: use(host, ram, 100 * MIB)
    executor.execute(TRIVIAL, "first")
    assert host.collected == []
    executor.work = lambda: seen.append(len(host.collected))
    seen: list[int] = []
    executor.execute(TRIVIAL, "second")
    assert seen == [1]


def test_a_little_stays_for_the_prompt_that_follows(host, ram, protocol, caplog) -> None:
    """Until none follows; then what all of them have left is told, not what the last one has."""
    queue, executor = host.execution.PromptQueue(), host.execution.PromptExecutor()
    waited = []

    def get(self: Any, timeout: float | None = None) -> Any:
        waited.append(timeout)
        return self.queue.pop(0) if self.queue else None

    protocol.revert()
    host.execution.PromptQueue.get = get
    protocol.apply()
    executor.work = lambda: use(host, ram, 15 * MIB)
    for id in ("first", "second", "third"):
        executor.execute(TRIVIAL, id)
        queue.queue = ["next"] if id != "third" else []
        assert queue.get() == (None if id == "third" else "next")
        assert len(host.collected) == (id == "third")
    assert waited == [prompt_memory.PAUSE] * 3 + [None]
    assert protocol.counts["prompts"] == 3
    assert "third left +45 MiB" in caplog.text
    executor.work = lambda: use(host, ram, 80 * MIB)
    queue.queue = ["next"]
    executor.execute(TRIVIAL, "much")
    assert queue.get() == "next"
    assert len(host.collected) == 2


def test_a_queue_whose_get_is_a_packs_own(host, ram, protocol) -> None:
    """It may not call the host's; memory is given back at once then."""
    executor = host.execution.PromptExecutor()
    executor.server.prompt_queue = host.execution.PromptQueue()
    executor.server.prompt_queue.get = lambda timeout=None: None
    executor.work = lambda: use(host, ram, 50 * MIB)
    executor.execute(TRIVIAL, "id")
    assert len(host.collected) == 1


def test_small_growth_is_collected_sooner_or_later(host, ram, protocol) -> None:
    """What counts is how far memory has moved since it was last collected."""
    executor = host.execution.PromptExecutor()
    executor.work = lambda: use(host, ram, 3 * MIB)
    for number in range(6):
        run(host, executor, TRIVIAL, str(number))
    assert len(host.collected) == 2


def test_what_models_that_have_gone_took_is_given_back(host, ram, protocol) -> None:
    """Freed memory stays with the process: nothing has moved until it is given back."""
    executor = host.execution.PromptExecutor()
    executor.work = lambda: host.management.load_models_gpu([Patcher(60 * MIB, host.place)])
    run(host, executor, TRIVIAL, "loads")
    before = len(host.collected)
    executor.work = lambda: None
    run(host, executor, TRIVIAL, "uses")
    assert len(host.collected) == before
    executor.work = host.management.unload_all_models
    executor.execute(TRIVIAL, "unloads")
    assert len(host.collected) == before
    assert host.execution.PromptQueue().get() is None
    assert len(host.collected) == before + 1


def test_what_was_given_back_meanwhile_is_no_level(host, ram, protocol) -> None:
    """Models that an idle time has unloaded are collected again after the next use."""
    executor = host.execution.PromptExecutor()
    executor.work = lambda: use(host, ram, 50 * MIB)
    run(host, executor, TRIVIAL, "first")
    use(host, ram, -50 * MIB)
    run(host, executor, TRIVIAL, "again")
    assert len(host.collected) == 2


def test_models_account_for_themselves(host, ram, protocol, caplog) -> None:
    """Loading is no deviation; the same models at another level later are one."""
    executor = host.execution.PromptExecutor()
    model = Patcher(60 * MIB, host.place)

    def load(tokenizer: int) -> None:
        host.management.load_models_gpu([model])
        ram.resident += (60 if host.place == CPU else 0) * MIB
        use(host, ram, tokenizer * MIB)

    def unload() -> None:
        host.management.unload_all_models()
        ram.resident -= (60 if host.place == CPU else 0) * MIB

    for tokenizer, told in ((30, 0), (0, 0), (40, 1)):
        executor.work = lambda tokenizer=tokenizer: load(tokenizer)
        run(host, executor, TRIVIAL, "loads")
        executor.work = unload
        run(host, executor, TRIVIAL, "unloads")
        assert protocol.counts["deviations"] >= told
        if not told:
            assert "loads" not in caplog.text.replace("unloads", "")


def test_a_model_that_is_moved_in_part_is_no_deviation(monkeypatch, ram) -> None:
    """The same models are loaded, and less of them is on the GPU."""
    host, part = Host(monkeypatch, GPU, 100 * MIB), Memory()
    part.apply()
    executor = host.execution.PromptExecutor()
    model = Patcher(60 * MIB)
    host.management.load_models_gpu([model])
    executor.work = lambda: setattr(model.model.weights[0], "device", CPU)
    run(host, executor, TRIVIAL, "id")
    part.revert()
    assert (part.counts["released"], part.counts["deviations"]) == (1, 0)


def test_a_device_in_an_error_fails_no_prompt(host, protocol, monkeypatch, caplog) -> None:
    """The prompt itself tells; memory is measured again with the next."""
    executor = host.execution.PromptExecutor()
    with monkeypatch.context() as broken:
        broken.setattr(host.management, "get_torch_device", lambda: Device("broken").gone)
        run(host, executor, GRAPH, "id")
    assert executor.ran[0] == "id"
    assert "cannot be measured" in caplog.text
    run(host, executor, GRAPH, "next")
    assert protocol.counts["prompts"] == 2


def test_a_prompt_that_can_never_fit_is_refused(host, ram, protocol, needs) -> None:
    """Before anything runs or is unloaded, at the node that states the size; the next one runs."""
    needs["one_branch"] = 5000
    executor = host.execution.PromptExecutor()
    host.management.load_models_gpu([Patcher(60 * MIB, host.place)])
    executor.execute(GRAPH, "huge", {"client_id": "page"})
    assert not hasattr(executor, "ran")
    assert (host.asked, executor.resets) == ([], 1)
    assert not executor.success
    assert executor.server.client_id == "page"
    assert executor.history_result == {"outputs": {}, "meta": {}}
    events = dict(executor.status_messages)
    assert list(events) == ["execution_start", "execution_error"]
    error = events["execution_error"]
    assert (error["node_id"], error["node_type"]) == ("size", "ZImageLatent")
    assert error["exception_type"] == "ZI-MEMORY"
    assert "4.9 GB" in error["exception_message"]
    needs["one_branch"] = 10
    executor.execute(GRAPH, "next")
    assert executor.success
    assert protocol.details()["refused"] == 1


def test_weights_need_not_fit_on_the_gpu(host, ram, protocol, needs) -> None:
    """The host brings them from RAM as it goes; without such a place they never fit."""
    needs["weights"] = 1050
    executor = host.execution.PromptExecutor()
    executor.execute(GRAPH, "large")
    assert executor.success is (host.place == GPU)


def test_room_is_made_on_the_gpu(host, protocol, needs) -> None:
    """As much as a prompt works in; on the CPU unloading gives nothing back."""
    host.management.load_models_gpu([Patcher(90 * MIB, host.place)])
    host.execution.PromptExecutor().execute(GRAPH, "id")
    assert host.asked == ([20 * MIB] if host.place == GPU else [])
    assert host.on_device() == (45 if host.place == GPU else 90) * MIB


def test_another_loader_waits_for_ram(host, ram, protocol, needs) -> None:
    """Only where RAM is short and the files are others, caches and models go first."""
    executor = host.execution.PromptExecutor()
    other = graphs.render(load__model_name="tiny-base.safetensors")
    resets: dict[str, int] = {}
    for name, graph, free in (
        ("first", GRAPH, 1), ("same", GRAPH, 1), ("room", other, 500), ("short", GRAPH, 1),
    ):  # fmt: skip
        ram.free = free * MIB
        executor.execute(graph, name)
        resets[name] = executor.resets - 1
    assert resets == {"first": 0, "same": 0, "room": 0, "short": 1}
    assert {"swaps": 1, "incomplete": 0}.items() <= protocol.details().items()


def test_a_model_that_stays_in_ram_is_told(host, ram, protocol, needs, caplog) -> None:
    """Somebody else holds it; the prompt runs all the same."""
    model = Patcher(60 * MIB, host.place)
    host.management.load_models_gpu([model])
    executor = host.execution.PromptExecutor()
    executor.execute(GRAPH, "first")
    ram.free = 0
    executor.execute(graphs.render(load__model_name="tiny-base.safetensors"), "other")
    assert protocol.details()["incomplete"] == 1
    assert "60 of 60 MiB" in caplog.text
    assert executor.success


def test_an_estimate_that_fails_refuses_nothing(host, protocol, monkeypatch, caplog) -> None:
    """It is told in the log."""
    monkeypatch.setattr(admission, "jobs", lambda _graph: 1 / 0)
    executor = host.execution.PromptExecutor()
    executor.execute(GRAPH, "id")
    assert executor.success
    assert "is not known" in caplog.text


def test_limits_of_a_container(tmp_path, monkeypatch) -> None:
    """Both versions of cgroups; no limit is no limit."""
    monkeypatch.setattr(ram_module, "CGROUP", tmp_path)
    machine: Any = SimpleNamespace(total=64 * MIB, available=50 * MIB)
    monkeypatch.setattr(ram_module.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(ram_module.psutil, "swap_memory", lambda: SimpleNamespace(total=8 * MIB))
    monkeypatch.setattr(ram_module, "resident", lambda: 10 * MIB)
    assert (ram_module.whole(), ram_module.available()) == (72 * MIB, 50 * MIB)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{24 * MIB}\n")
    assert (ram_module.whole(), ram_module.available()) == (32 * MIB, 14 * MIB)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert ram_module.whole() == 72 * MIB
    (tmp_path / "memory.max").write_text(f"{20 * MIB}\n")
    (tmp_path / "memory.swap.max").write_text("0\n")
    assert (ram_module.whole(), ram_module.available()) == (20 * MIB, 10 * MIB)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.swap.max").write_text("max\n")
    assert ram_module.whole() == 72 * MIB
