"""The guardian against real processes: whatever becomes of a server, the port answers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from zimage_comfyui.cli.server import free_port
from zimage_comfyui.drill.stage import default_sighup
from zimage_comfyui.guardian import channel
from zimage_comfyui.guardian.launch_config import LaunchConfig
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.loop import Guardian, Outcome
from zimage_comfyui.guardian.mode import Mode
from zimage_comfyui.guardian.sockets import open_all
from zimage_comfyui.guardian.suspend_aware_clock import LONGEST_GAP
from zimage_comfyui.tests.fakes import small_server
from zimage_comfyui.tests.fakes.waiting import wait

PATIENT = Limits(grace=60, quick=0.3, failures=2, longest_pause=0.2, quiet=1)
IMPATIENT = replace(PATIENT, silence=2, probes=2)
"""For the tests of hangs alone: on a machine that does other work, two seconds are soon over."""
UNFORGIVING = replace(PATIENT, quiet=1e6)
BOUNDED = replace(PATIENT, ceiling=4000, grace=0, quick=0)
LIMITS = {
    "patient": PATIENT,
    "impatient": IMPATIENT,
    "unforgiving": UNFORGIVING,
    "bounded": BOUNDED,
}
RUNNER = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from pathlib import Path
from zimage_comfyui.tests.integration.test_guardian import launch_config, LIMITS
from zimage_comfyui.guardian.logging import configure_logging
from zimage_comfyui.guardian.loop import Guardian
from zimage_comfyui.guardian.sockets import open_all
from zimage_comfyui.errors import ZImageError

folder, port, how, standby = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "on"
limits = LIMITS[sys.argv[5]]
configure_logging(folder)
try:
    sockets = open_all("127.0.0.1", port)
except ZImageError:
    sockets = []
sys.exit(Guardian(launch_config(folder, how, standby), sockets, limits).run())
"""


def kill(pid: int) -> None:
    """SIGKILL, and wait until it works: until then it may take a connection with it."""
    process = psutil.Process(pid)
    process.kill()

    def dead() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait(dead)


PACK = Path(__file__).resolve().parents[2]


def launch_config(folder: Path, how: str = "good", standby: bool = False) -> LaunchConfig:
    """Small servers."""

    def command(mode: Mode, temporary: Path) -> list[str]:
        kind = "good" if how == "weak" and mode is not Mode.NORMAL else how
        words = [str(folder / "g.sock"), str(PACK), kind, mode.value, str(temporary)]
        return [sys.executable, "-I", small_server.__file__, *words]

    return LaunchConfig(command, folder, dict(os.environ), folder, "g", standby)


class Guarded:
    """A guardian in a process of its own, and a client of what it guards."""

    def __init__(
        self, folder: Path, how: str = "good", standby: bool = False, limits: str = "patient"
    ) -> None:
        self.port = free_port()
        self.folder, self.how, self.standby, self.limits = folder, how, standby, limits
        self.start()

    def start(self) -> None:
        """Start, or start anew."""
        script = RUNNER.format(tests=str(PACK / "tests"))
        words = [str(self.folder), str(self.port), self.how, "on" if self.standby else "off"]
        words.append(self.limits)
        with (self.folder / "errors.txt").open("ab") as errors, default_sighup():
            self.process = subprocess.Popen([sys.executable, "-c", script, *words], stderr=errors)

    def ask(self, path: str = "/who", timeout: float = 30) -> int:
        """The process that answered."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return int(answer.read().split()[0])

    def whoever(self) -> int:
        """The process that answers, once one does."""

        def attempt() -> int:
            try:
                return self.ask()
            except OSError:
                return 0

        return wait(attempt)

    def log(self) -> str:
        """What the guardian has told."""
        return (self.folder / "guardian.log").read_text(encoding="utf-8")

    def told(self, pid: int, text: str) -> bool:
        """Whether something was told of a process."""
        return any(f"[{pid}]" in line and text in line for line in self.log().splitlines())

    def children(self) -> list[int]:
        """Its processes."""
        return [one.pid for one in psutil.Process(self.process.pid).children()]

    def stop(self) -> int:
        """End it in order."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    """Makes guardians and ends them."""
    made: list[Guarded] = []

    def make(*how: object, **more: object) -> Guarded:
        made.append(Guarded(tmp_path, *how, **more))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.stop()


def test_the_next_server_answers_on_the_same_port(guard) -> None:
    """A server that dies is replaced; whoever connects meanwhile waits and is answered."""
    guarded = guard()
    first = guarded.whoever()
    kill(first)
    second = guarded.ask()  # no retry: a refused connection fails here
    assert second != first
    assert "SIGKILL (unexpected)" in guarded.log()
    assert guarded.stop() == Outcome.STOPPED
    assert not psutil.pid_exists(second)
    assert {path.name for path in guarded.folder.iterdir()} == {"errors.txt", "guardian.log"}


def test_a_standby_takes_over(guard) -> None:
    """It has started before it is needed, and another takes its place."""
    guarded = guard(standby=True)
    first = guarded.whoever()
    waiting = wait(lambda: [pid for pid in guarded.children() if pid != first])[0]
    wait(lambda: guarded.told(waiting, "ready"))
    kill(first)
    assert guarded.ask() == waiting
    assert wait(lambda: [pid for pid in guarded.children() if pid != waiting])


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/stop", "no heartbeat for"),
        ("/block", "event loop blocked"),
        ("/sleep", "its worker ended"),
    ],
)
def test_one_that_hangs_is_replaced(guard, path: str, why: str) -> None:
    """Stopped, with an event loop that does nothing, or without a worker; first its stacks are
    written down."""
    guarded = guard(limits="impatient")
    first = guarded.whoever()
    with contextlib.suppress(OSError):  # a stopped one does not answer
        guarded.ask(path)
    wait(lambda: guarded.whoever() != first)
    assert why in guarded.log()
    assert not psutil.pid_exists(first)
    assert f'File "{small_server.__file__}"' in (guarded.folder / "errors.txt").read_text()


def test_a_pause_of_everything_is_no_hang(guard) -> None:
    """A paused container, a machine asleep: the guardian looks before the server has spoken."""
    guarded = guard(limits="impatient")
    first = guarded.whoever()
    both = [psutil.Process(pid) for pid in (first, guarded.process.pid)]
    for one in both:
        one.suspend()
    stopped = time.monotonic()
    wait(lambda: time.monotonic() - stopped > LONGEST_GAP + IMPATIENT.silence)
    looks = both[1].num_ctx_switches().voluntary
    both[1].resume()
    wait(lambda: both[1].num_ctx_switches().voluntary > looks + 2)
    both[0].resume()
    assert guarded.ask() == first
    assert guarded.ask("/replace") == first
    wait(lambda: guarded.whoever() != first)
    assert "to be killed" not in guarded.log()


def test_a_planned_replacement_lets_the_prompt_end(guard) -> None:
    """On request, and by SIGHUP; the old one works to the end, nothing is refused."""
    guarded = guard()
    first = guarded.whoever()
    guarded.ask("/work")
    guarded.ask("/replace")
    wait(lambda: guarded.whoever() != first)
    assert guarded.told(first, "ended: exit 0 (asked)")
    second = guarded.ask()
    guarded.process.send_signal(signal.SIGHUP)
    wait(lambda: guarded.whoever() != second)
    assert guarded.told(second, "ended: exit 0 (SIGHUP)")
    assert "pause" not in guarded.log()


def test_what_needs_more_than_the_ceiling_ends(guard) -> None:
    """In another server it would need as much again; this one is replaced when it has ended."""
    guarded = guard(limits="bounded")
    first = guarded.whoever()
    guarded.ask("/work")
    guarded.ask("/swell")
    wait(lambda: guarded.told(first, "memory 5100 MiB > 4000 MiB") or guarded.told(first, "ended"))
    assert f"worked {first}" in (guarded.folder / "errors.txt").read_text()
    wait(lambda: guarded.whoever() != first)


def test_sighup_starts_anew_and_does_not_use_the_standby(guard) -> None:
    """The standby has imported what was there before."""
    guarded = guard(standby=True)
    first = guarded.whoever()
    waiting = wait(lambda: [pid for pid in guarded.children() if pid != first])[0]
    wait(lambda: guarded.told(waiting, "ready"))
    guarded.process.send_signal(signal.SIGHUP)
    wait(lambda: guarded.whoever() != first)
    assert guarded.ask() != waiting
    assert guarded.told(waiting, "ended")
    assert "pause" not in guarded.log()


@pytest.mark.parametrize("adopted", [False, True], ids=["its own", "adopted"])
@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_server_has_started_ends_with_it(guard, adopted: bool, harm: signal.Signals) -> None:
    """A forked child would keep the locks of the queue from the next server."""
    guarded = guard()
    first = guarded.whoever()
    started = psutil.Process(guarded.ask("/start"))
    if adopted:
        guarded.process.kill()
        guarded.process.wait()
        guarded.start()
        wait(lambda: guarded.told(first, "found a running server"))
    os.kill(first, harm)
    wait(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)
    assert guarded.ask() != first


def test_a_stranger_is_told_so(guard) -> None:
    """A process that has a server's environment, and is none, goes its own way."""
    guarded = guard()
    guarded.whoever()
    peer = channel.connect(guarded.folder / "g.sock", 30)
    peer.send({"hello": "starting"})
    assert peer.receive() == ({"stranger": True}, [])
    peer.close()


def test_a_guardian_that_is_killed_costs_nothing(guard) -> None:
    """The server goes on, and the next guardian finds it."""
    guarded = guard(standby=True)
    first = guarded.whoever()
    waiting = wait(lambda: [pid for pid in guarded.children() if pid != first])[0]
    wait(lambda: guarded.told(waiting, "ready"))
    guarded.process.kill()
    guarded.process.wait()
    assert guarded.ask() == first
    wait(lambda: not psutil.pid_exists(waiting))
    guarded.start()
    wait(lambda: guarded.told(first, "found a running server"))
    assert guarded.ask() == first
    kill(first)
    assert guarded.ask() != first


def test_a_port_that_is_free_in_a_moment(tmp_path: Path) -> None:
    """A server that was killed with its guardian has it until the kernel is done with it."""
    sockets = open_all("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    small = launch_config(tmp_path, "dumb")
    guardian = Guardian(
        replace(small, reopen_sockets=lambda: open_all("127.0.0.1", port)), [], PATIENT
    )
    closing = threading.Timer(0.5, sockets[0].close)
    closing.start()
    assert guardian.run() == Outcome.UNUSABLE  # it has started servers, which are of no use here
    closing.join()
    assert guardian.sockets[0].getsockname()[1] == port
    guardian.sockets[0].close()


def test_a_port_that_somebody_else_has(tmp_path: Path) -> None:
    """Nobody says hello, so there is nothing to guard."""
    assert Guardian(launch_config(tmp_path), [], PATIENT).run() == Outcome.PORT_IN_USE


def test_servers_that_do_not_know_the_guardian(tmp_path: Path) -> None:
    """After two of them it stands aside, so that ComfyUI can be started without it."""
    sockets = open_all("127.0.0.1", 0)
    assert Guardian(launch_config(tmp_path, "dumb"), sockets, PATIENT).run() == Outcome.UNUSABLE
    sockets[0].close()


def test_less_is_started_after_deaths_in_a_row(guard) -> None:
    """Safe mode works here; when it has been quiet, the normal mode is tried again."""
    guarded = guard("weak")
    guarded.whoever()
    log = guarded.log()
    assert log.count("ended: exit 5") == PATIENT.failures
    assert "starting a server (degraded)" in log
    wait(lambda: "to be replaced: stable again" in guarded.log())
    wait(lambda: guarded.log().count("starting a server (normal)") > PATIENT.failures)


def test_a_server_in_safe_mode_that_lost_its_guardian_leaves_it(guard) -> None:
    """The next guardian has not seen the failures, and learns of the mode from the server."""
    guarded = guard("weak", limits="unforgiving")
    first = guarded.whoever()
    guarded.process.kill()
    guarded.process.wait()
    guarded.how, guarded.limits = "good", "patient"
    guarded.start()
    wait(lambda: guarded.told(first, "found a running server"))
    wait(lambda: guarded.told(first, "ended: exit status unknown (stable again"))
    second = guarded.whoever()
    assert "starting a server (normal)" in [
        line.partition(" / ")[2] for line in guarded.log().splitlines() if f"[{second}]" in line
    ]


def test_nothing_is_refused_while_servers_die(guard) -> None:
    """A client that asks all the time sees resets at most, never a refused connection."""
    guarded = guard(standby=True)
    guarded.whoever()
    stop, refused, answered = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answered.append(guarded.ask())
            except urllib.error.URLError as error:
                if isinstance(error.reason, ConnectionRefusedError):
                    refused.append(error)
            except OSError:
                pass

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(5):
            pid = guarded.whoever()
            kill(pid)
            wait(lambda pid=pid: guarded.whoever() != pid)
        wait(lambda: len(set(answered)) >= 6)
    finally:
        stop.set()
        thread.join()
    assert refused == []
