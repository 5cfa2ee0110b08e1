"""The template as the parent of workers: nothing of them outlives it, however the host ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_comfyui.sandbox.host.template_client import TEMPLATE, TemplateClient
from zimage_comfyui.tests.fakes.waiting import wait

LOAD = """
import ctypes, importlib, importlib.util, os, socket, subprocess, sys
spec = importlib.util.spec_from_file_location("template", sys.argv[1])
template = importlib.util.module_from_spec(spec)
spec.loader.exec_module(template)
template.load_package()
fork_server = importlib.import_module("zimage_sandbox.worker.fork_server")
libc = ctypes.CDLL(None)
"""
ORPHANS = (
    LOAD
    + """
libc.prctl(template.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
words = "sleep 600 & echo $!; wait"
worker = subprocess.Popen(["sh", "-c", f"sh -c '{words}' & wait"], stdout=subprocess.PIPE)
last = int(worker.stdout.readline())
own = fork_server.ForkServer.__new__(fork_server.ForkServer)
own.workers = {}
own._reap_orphans()
print(last, fork_server._children())
"""
)
# A host that asks its template for one worker, which leaves programs behind, and then waits.
HOST = (
    LOAD
    + """
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # a line in one piece

def daemon(*steps):
    "A program whose parents have ended; each step is done in a child of the one before."
    if os.fork():
        return
    for step in steps:
        step()
        if os.fork():
            os._exit(0)
    say("program", os.getpid())
    os.execvp("sleep", ["sleep", "600"])

def start(frames, handover):
    "In the place of a worker's first steps."
    daemon()
    daemon(lambda: None)
    daemon(os.setsid, os.setsid)
    say("worker", os.getpid())
    os.read(frames, 1)

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if not (pid := os.fork()):
    ours.close()
    libc.prctl(template.PR_SET_PDEATHSIG, 9, 0, 0, 0)
    libc.prctl(template.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    fork_server.ForkServer(theirs, libc, template.watch_host(libc), start).run()
theirs.close()
say("template", pid)
if not (bystander := os.fork()):  # keeps the host's end open, whatever becomes of the host
    os.read(os.pipe()[0], 1)
say("bystander", bystander)
kept, given = socket.socketpair()
socket.send_fds(ours, [fork_server.REQUEST.pack(1)], [given.fileno(), given.fileno(), 1])
input()
ours.shutdown(socket.SHUT_RDWR)
os.waitpid(pid, 0)
say("template", "is", "over")
input()
"""
)


def test_what_a_worker_leaves_behind_is_ended_to_the_last() -> None:
    """Children, theirs, and theirs again, though each appears only when its parent has ended."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, str(TEMPLATE)], capture_output=True, text=True, check=True
    )
    last, left = done.stdout.split(maxsplit=1)
    assert left == "[]\n"
    assert not Path(f"/proc/{last}").exists()


class Family:
    """A host, its template, a worker and three programs that it has left behind; and another
    process that has the host's end of the template's socket."""

    def __init__(self) -> None:
        self.host = subprocess.Popen(
            [sys.executable, "-c", HOST, str(TEMPLATE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.host.stdout is not None
        lines = [self.host.stdout.readline().split() for _ in range(6)]
        self.template, self.worker, self.bystander = (
            next(int(pid) for what, pid in lines if what == kind)
            for kind in ("template", "worker", "bystander")
        )
        self.programs = [int(pid) for what, pid in lines if what == "program"]
        assert len(self.programs) == 3

    def left(self) -> list[int]:
        """Who of template, worker and programs lives."""
        return [one for one in (self.template, self.worker, *self.programs) if lives(one)]


def lives(pid: int) -> bool:
    """Whether it is there and no zombie, which nobody may be there to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def family() -> Iterator[Family]:
    found = Family()
    yield found
    found.host.kill()
    for pid in (found.bystander, *found.left()):  # they hold what the host prints to
        os.kill(pid, signal.SIGKILL)
    found.host.communicate()


def test_a_host_that_is_killed_takes_programs_with_it(family: Family) -> None:
    """Daemons of two forks, in groups and sessions of their own or not: all are the template's."""
    family.host.kill()
    wait(lambda: family.left() == [])


def test_a_host_that_hangs_up_is_rid_of_programs_at_once(family: Family) -> None:
    """When the template is over, so is all that was below it."""
    assert family.host.stdin is not None
    assert family.host.stdout is not None
    family.host.stdin.write("\n")
    family.host.stdin.flush()
    assert family.host.stdout.readline() == "template is over\n"
    assert family.left() == []


def test_a_template_that_is_killed_takes_its_workers_with_it(family: Family) -> None:
    """The kernel sees to that; what they have started has to be ended by the host."""
    os.kill(family.template, signal.SIGKILL)
    wait(lambda: not lives(family.worker))


def test_the_host_ends_what_a_template_leaves_behind_that_was_killed() -> None:
    """By the workers' groups; its own group, which is what 0 would be, it leaves alone."""
    words = ["sh", "-c", "sleep 600 & echo; exec sleep 600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        client = TemplateClient.__new__(TemplateClient)
        client._alive = {1: worker.pid, 2: 0}
        client._kill_groups()
        worker.stdout.read()  # ends with the last that holds it
    assert worker.returncode == -signal.SIGKILL
