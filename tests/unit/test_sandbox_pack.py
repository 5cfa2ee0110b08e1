"""When a pack's process starts, ends and starts again; what it may take of the machine."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.errors.bilingual import english as in_english
from zimage_comfyui.sandbox.host import crash_history, input_refresh
from zimage_comfyui.sandbox.host import description_limits as described_module
from zimage_comfyui.sandbox.host import pack as pack_module
from zimage_comfyui.sandbox.host.description_cache import state_of
from zimage_comfyui.sandbox.host.description_limits import MAX_PATHS, make_safe
from zimage_comfyui.sandbox.host.log_capture import Output
from zimage_comfyui.sandbox.host.pack import Pack
from zimage_comfyui.sandbox.host.usage import LeakDetector, Usage
from zimage_comfyui.sandbox.policy.policy import PackRule
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.description_codec import pack_description
from zimage_comfyui.tests.fakes.fake_session import FakeSession
from zimage_comfyui.tests.fakes.waiting import wait


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made() -> list[FakeSession]:
    return []


@pytest.fixture
def pack(clock: Clock, made: list[FakeSession], monkeypatch: pytest.MonkeyPatch) -> Pack:
    """A pack whose processes are fakes, and that does not begin anew by itself."""

    def start(_pack: Pack) -> Any:
        made.append(FakeSession())
        return made[-1]

    monkeypatch.setattr(Pack, "_after_end", lambda self, session, _restart: session.close())
    # The name in that module alone: all other modules go on with the real clock.
    monkeypatch.setattr(crash_history, "time", SimpleNamespace(sleep=clock.advance))
    return Pack("some", PackRule(), start, Output("some"), clock)


def test_a_living_process_is_used_again(pack: Pack, made: list[FakeSession]) -> None:
    """One start for many calls."""
    assert pack.ready() is pack.ready()
    assert len(made) == 1


def test_a_process_that_ended_is_replaced(pack: Pack, made: list[FakeSession]) -> None:
    """The next call has another one; the old one is put away."""
    pack.ready()
    made[0].process.status = 9
    assert pack.ready() is made[1]
    wait(lambda: made[0].closed)


def test_starting_again_takes_longer_each_time(
    pack: Pack, made: list[FakeSession], clock: Clock
) -> None:
    """At once after the first end, a second after the next."""
    waited = []
    for _ in range(2):
        pack.ready()
        made[-1].process.status = 9
        began = clock.now
        pack.ready()
        waited.append(clock.now - began)
    assert waited == [0.0, 1.0]


def test_three_ends_in_five_minutes_are_a_quarantine(
    pack: Pack, made: list[FakeSession], clock: Clock
) -> None:
    """Until somebody lifts it."""
    for _ in range(2):
        pack.ready()
        made[-1].process.status = 9
    pack.ready()
    made[-1].process.status = 9
    with pytest.raises(ZImageError, match="ZI-SANDBOX-QUARANTINE"):
        pack.ready()
    pack.lift()
    assert pack.ready() is made[-1]


def test_old_ends_are_forgotten(pack: Pack, made: list[FakeSession], clock: Clock) -> None:
    """Three in an hour are no quarantine."""
    for _ in range(6):
        pack.ready()
        made[-1].process.status = 9
        clock.now += 200
    assert pack.ready() is made[-1]


@pytest.mark.parametrize("said", [b"", b"\xc1 no frame", b"\x91" * 100_000, "text", None])
def test_a_description_that_is_none_is_a_coded_failure(
    pack: Pack, made: list[FakeSession], said: Any
) -> None:
    """Whatever a worker says of its pack, the process is put away and the error has a code."""
    pack.ready()
    made[0].call = lambda *_: said  # type: ignore[attr-defined]
    with pytest.raises(ZImageError, match="ZI-SANDBOX-IMPORT"):
        pack.discover()
    assert made[0].closed


def test_an_end_that_was_wanted_counts_for_nothing(pack: Pack, made: list[FakeSession]) -> None:
    """Interrupting a node that does not listen ends its process."""
    for _ in range(5):
        pack.ready()
        made[-1].process.kill("interrupted")
    assert pack.ready() is made[-1]
    assert pack.reason == ""


def test_an_idle_process_rests_unless_the_host_holds_objects_of_it(
    pack: Pack, made: list[FakeSession], clock: Clock
) -> None:
    """What ComfyUI's cache refers to stays alive."""
    pack.ready()
    made[0].objects.handle_count = 1
    clock.now += 3600
    pack.tend()
    assert pack.session is made[0]
    made[0].objects.handle_count = 0
    pack.tend()
    assert pack.session is None


def test_objects_that_ended_with_their_process_make_a_new_generation(
    pack: Pack, made: list[FakeSession]
) -> None:
    """Only then: ComfyUI forgets what it has cached of such nodes."""
    pack.ready()
    made[0].process.status = 9
    pack.ready()
    assert pack.generation() == 0
    made[1].objects.handle_count = 2
    made[1].process.status = 9
    pack.ready()
    assert pack.generation() == 1


def test_too_many_threads_end_a_process(
    clock: Clock, made: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds for root, too."""
    monkeypatch.setattr(Pack, "_after_end", lambda self, session, _restart: session.close())
    found = FakeSession()
    few = Pack("some", PackRule(tasks=1), lambda _pack: found, Output("some"), clock)  # type: ignore[arg-type, return-value]
    few.ready()
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        few.tend()
    finally:
        stop.set()
        other.join()
    assert "threads and processes, 1 are granted" in str(found.process.end_reason)


def test_nobody_recycles_what_is_in_use(pack: Pack, made: list[FakeSession], clock: Clock) -> None:
    """Between its start and the call there is time: arguments are packed."""
    with pack.use() as process:
        clock.now += 10_000
        pack.tend()
        assert not process.closed
    clock.now += 10_000
    pack.tend()
    assert made[0].closed


def described(*lists: list[str]) -> list[bytes]:
    """What a process says of its inputs, time after time."""
    packed = [pack_description({"required": {"file": (one,)}}) for one in lists]
    return [m.encode(m.Inputs({"N": (one, None)}, ["/no/such"])) for one in packed]


def of_files(pack: Pack, path: str, state: str) -> m.PackInfo:
    """Its description, from an earlier start."""
    inputs = pack_description({"required": {"file": (["old"],)}})
    node = m.NodeInfo("N", None, False, None, inputs, None, {}, True)
    pack.info = m.PackInfo(True, [node], looked_at=[path], state=state)
    return pack.info


def test_lists_are_asked_for_when_their_files_have_changed(
    pack: Pack, made: list[FakeSession], clock: Clock, tmp_path: Path
) -> None:
    """No process is started for what is as it was; what is new is stored."""
    info, kept = of_files(pack, str(tmp_path), state_of([str(tmp_path)])), []
    pack.store_description(kept.append)
    clock.now += 2
    assert pack.inputs("N")[0] == {"required": {"file": (["old"],)}}
    assert not made
    answers = described(["new"])
    FakeSession.call = lambda *_: answers.pop(0)  # type: ignore[attr-defined]
    try:
        (tmp_path / "new").write_text("")
        clock.now += 2
        assert pack.inputs("N")[0] == {"required": {"file": (["new"],)}}
    finally:
        del FakeSession.call  # type: ignore[attr-defined]
    assert len(made) == 1
    assert kept == [info]
    assert info.looked_at == ["/no/such"]
    pack.stop()
    clock.now += 2
    assert pack.inputs("N")[0] == {"required": {"file": (["new"],)}}
    assert len(made) == 1


def test_who_asks_for_lists_waits_for_none(
    pack: Pack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is where ComfyUI answers everybody: what is late is there the next time."""
    monkeypatch.setattr(input_refresh, "WAIT_SECONDS", 0.01)
    of_files(pack, "/no/such", "another")
    go, asked, answers = threading.Event(), [], described(["new"])

    def call(*_: Any) -> bytes:
        asked.append(1)
        go.wait(60)
        return answers.pop(0)

    monkeypatch.setattr(FakeSession, "call", call, raising=False)
    for _ in range(5):
        clock.now += 2
        assert pack.inputs("N")[0] == {"required": {"file": (["old"],)}}
    go.set()
    wait(lambda: pack.inputs("N")[0] == {"required": {"file": (["new"],)}})
    assert asked == [1]


@pytest.mark.parametrize(
    "said", ["text", None, ["new"], b"\xc1 no frame", b"", described(["new"])[0] + b" " * 100]
)
def test_lists_that_are_none_change_nothing(
    pack: Pack, made: list[FakeSession], clock: Clock, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    """An answer that is no bytes, or too many, ends its process; one that means nothing is told."""
    monkeypatch.setattr(described_module, "MAX_BYTES", 100)
    info, kept = of_files(pack, "/no/such", "another"), []
    pack.store_description(kept.append)
    monkeypatch.setattr(FakeSession, "call", lambda *_: said, raising=False)
    clock.now += 2
    assert pack.inputs("N")[0] == {"required": {"file": (["old"],)}}
    assert (info.looked_at, info.state, kept) == (["/no/such"], "another", [])
    ended = not isinstance(said, bytes) or len(said) > 100
    assert made[0].closed == ended
    assert in_english(pack.reason) == ("bad description" if ended else "")


def test_of_what_lists_depend_on_so_much_is_looked_at(
    pack: Pack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at where everybody waits, whenever somebody asks."""
    looked: list[list[str]] = []
    monkeypatch.setattr(input_refresh, "state_of", lambda paths: looked.append([*paths]) or "new")
    paths = [f"/no/{number}" for number in range(MAX_PATHS + 1)]
    inputs = pack_description({"required": {"file": (["new"],)}})
    answer = m.encode(m.Inputs({"N": (inputs, None)}, paths))
    monkeypatch.setattr(FakeSession, "call", lambda *_: answer, raising=False)
    info = of_files(pack, "/no/such", "another")
    clock.now += 2
    assert pack.inputs("N")[0] == {"required": {"file": (["new"],)}}
    assert MAX_PATHS == 5000
    assert looked[-1] == info.looked_at == paths[:-1]


def test_a_description_is_fit_for_the_log() -> None:
    """Whatever it says."""
    text = "first\n[core] ERROR forged\x1b[2J" + "x" * 10**6
    node = m.NodeInfo("N", None, False, None, None, None, {}, False, error=text)
    info = make_safe(
        m.PackInfo(
            False, [node], text, text, patched=[text] * 5000, handlers=[text],
            looked_at=["/x"] * 10**6,
        )
    )  # fmt: skip
    assert len(info.looked_at) == 5000
    said = [info.trace, info.missing, *info.patched, *info.handlers, node.error]
    assert not any("\n[" in one or "\x1b" in one for one in said)
    assert len("".join(said)) < 400_000


def test_shared_memory_counts_as_the_packs(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at exactly only when it may matter."""
    monkeypatch.setattr(Pack, "_after_end", lambda *_: None)
    uses = [Usage(0, 1, 2**30), Usage(0, 1, 2**31), Usage(0, 1, 2**31)]
    monkeypatch.setattr(pack_module, "measure", lambda _pid: uses.pop(0))
    shares = [2**20, 2**31]
    monkeypatch.setattr(pack_module, "shared_bytes", lambda _pid: shares.pop(0))
    found = FakeSession()
    some = Pack("some", PackRule(memory=1.5), lambda _pack: found, Output("some"), clock)  # type: ignore[arg-type, return-value]
    some.ready()
    for _ in range(2):
        some.tend()
        assert found.process.end_reason is None
    some.tend()
    assert in_english(found.process.end_reason) == "2.0 GiB of memory, 1.5 are granted"


@pytest.mark.parametrize(
    ("rule", "use", "english", "chinese"),
    [
        (PackRule(tasks=1), Usage(0, 7), "7 threads and processes, 1 are", "有 7 个线程和进程"),
        (PackRule(memory=1), Usage(3 * 2**30, 1), "3.0 GiB of memory", "用了 3.0 GiB 内存"),
    ],
)
def test_why_a_process_was_ended_is_said_in_both_languages(
    pack: Pack, made: list[FakeSession], monkeypatch: pytest.MonkeyPatch,
    rule: PackRule, use: Usage, english: str, chinese: str,
) -> None:  # fmt: skip
    """In errors and for the panel."""
    pack.rule = rule
    uses = [Usage(0, 1), use, use]
    monkeypatch.setattr(pack_module, "measure", lambda _pid: uses.pop(0))
    monkeypatch.setattr(Pack, "_after_end", lambda *_: None)
    pack.ready()
    for _ in range(2):
        pack.tend()
    found = ZImageError(
        "ZI-SANDBOX-DIED", pack="p", node="n", found=made[0].process.end_reason, tail=""
    )
    assert english in found.english
    assert chinese in found.chinese
    assert english not in found.chinese
    assert pack.reason == made[0].process.end_reason


def test_a_process_that_leaks_is_replaced_between_prompts(
    pack: Pack, made: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its nodes have kept since the prompt began may still be wanted by it."""
    running: dict[int, Any] = {0: (1, "another"), 1: (2, "its prompt")}
    server: Any = types.ModuleType("server")
    queue = types.SimpleNamespace(currently_running=running)
    server.PromptServer = types.SimpleNamespace(instance=types.SimpleNamespace(prompt_queue=queue))
    monkeypatch.setitem(sys.modules, "server", server)
    monkeypatch.setattr(LeakDetector, "leaks", lambda _self: True)
    pack._prompt = "its prompt"
    pack.ready()
    pack.tend()
    assert not made[0].closed
    del running[1]
    pack.tend()
    assert made[0].closed
