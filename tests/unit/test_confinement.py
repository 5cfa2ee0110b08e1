"""Real processes confine themselves and try what a pack could try; says what stopped each."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.sandbox import confinement
from zimage_comfyui.sandbox.confinement import bpf, calls, numbers, seccomp

FAKES = Path(__file__).resolve().parent.parent / "fakes"
OFFER = confinement.probe()
MB = 2**20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the mechanisms")


def needs_landlock(version: int):
    """For tests of what this version of Landlock brought."""
    found = OFFER["landlock"]
    return pytest.mark.skipif(found < version, reason=f"Landlock {version} needed, {found} found")


needs_seccomp = pytest.mark.skipif(
    not OFFER["seccomp"] or numbers.machine() not in numbers.ARCHITECTURES,
    reason="no system call filters on this machine",
)
needs_x86 = pytest.mark.skipif(numbers.machine() != "x86_64", reason="calls of x86 by number")
needs_root = pytest.mark.skipif(OFFER["user"] != 0, reason="what only root could do otherwise")


def run(order: dict, environment: dict[str, str] | None = None, **options):
    """The process's word, or the signal that ended it."""
    done = subprocess.run(
        [sys.executable, "-I", str(FAKES / "jailed.py"), json.dumps(order)],
        env=environment or {"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )
    if done.returncode < 0:
        return signal.Signals(-done.returncode)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def attempt(jail: dict | None, name: str, *arguments, **order):
    """What became of one act: its value, an errno, or the signal that ended the process."""
    said = run({"jail": jail, "acts": [[name, *arguments]], **order})
    if isinstance(said, signal.Signals):
        return said
    assert all(one["state"] == "applied" for one in said["report"].values()), said["report"]
    return result(said["acts"][0])


def result(act: dict):
    """("done", value), an errno, or the name of an exception that has none."""
    return ("done", act["value"]) if "value" in act else act["errno"] or act["error"]


def several(jail: dict | None, acts: list[list], **order) -> list:
    """What became of acts in one process."""
    said = run({"jail": jail, "acts": acts, **order})
    assert not isinstance(said, signal.Signals), said
    return [result(act) for act in said["acts"]]


def stopped(name: str, *arguments, by, jail: dict | None = None, **order) -> None:
    """The act is possible outside a jail and fails in it as said."""
    free = attempt(None, name, *arguments)
    assert isinstance(free, tuple), f"{name} is impossible anyway: {free}"
    assert attempt(jail or {}, name, *arguments, **order) == by


@pytest.fixture
def place(tmp_path: Path):
    """A secret outside, folders and files that are granted, and the jail that grants them."""
    for name in ("write", "create", "read"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "read" / "model").write_text("model")
    (tmp_path / "create" / "theirs").write_text("theirs")
    return tmp_path


@pytest.fixture
def jail(place: Path) -> dict:
    return {name: [str(place / name)] for name in ("read", "write", "create")}


@needs_landlock(1)
def test_a_file_outside_is_neither_read_nor_changed(place: Path, jail: dict) -> None:
    """Landlock refuses reading, replacing, removing and listing."""
    secret = str(place / "secret")
    for name in ("read", "append"):
        stopped(name, secret, by=errno.EACCES, jail=jail, only="landlock")
    before = (place / "secret").read_bytes()
    acts = [["write", secret], ["unlink", secret], ["listing", str(place)]]
    assert several(jail, acts) == [errno.EACCES] * 3
    assert (place / "secret").read_bytes() == before


@needs_landlock(1)
def test_links_and_renames_lead_nowhere(place: Path, jail: dict) -> None:
    """A link that lies in a granted folder, new links, and moving in or out."""
    secret, inside = str(place / "secret"), str(place / "write" / "x")
    (place / "write" / "way").symlink_to(place / "secret")
    (place / "write" / "mine").write_text("mine")
    model, mine = str(place / "read" / "model"), str(place / "write" / "mine")
    way, theirs = str(place / "write" / "way"), str(place / "create" / "theirs")
    acts = [["symlink", target, str(place / "create" / "s")] for target in ("/etc/shadow", secret)]
    acts += [["read", way], ["write", way]]
    assert several(jail, acts) == [errno.EACCES] * 4
    acts = [[name, old, inside] for name in ("link", "rename") for old in (secret, model)]
    acts += [["rename", mine, str(place / "out")], ["link", theirs, str(place / "out")]]
    assert set(several(jail, acts)) <= {errno.EXDEV, errno.EACCES}


@needs_landlock(1)
def test_of_processes_only_the_own_one_is_seen() -> None:
    """Not the parent's environment and memory, nor anything by way of ``/proc/self/root``."""
    parent = os.getpid()
    for name in ("environ", "maps", "cmdline", "mem"):
        assert attempt({}, "read", f"/proc/{parent}/{name}", only="landlock") == errno.EACCES
    assert attempt({}, "listing", f"/proc/{parent}/fd") == errno.EACCES
    assert attempt({}, "read", "/proc/self/root/etc/passwd") == errno.EACCES
    own = ("/proc/self/status", "/proc/thread-self/comm", "/proc/meminfo", "/proc/cpuinfo")
    assert all(isinstance(one, tuple) for one in several({}, [["read", path] for path in own]))


@needs_landlock(1)
@pytest.mark.parametrize("version", range(1, OFFER["landlock"] + 1))
def test_older_kernels_confine_with_what_they_have(place: Path, jail: dict, version: int) -> None:
    """Files are protected with every version, and the report says what is left to seccomp."""
    acts = [["read", str(place / "secret")], ["write", str(place / "write" / "x")]]
    acts += [["open_truncating", str(place / "read" / "model")], ["unlink", str(place / "write/x")]]
    acts += [["kill", os.getpid()], ["own_signal"]]
    said = run({"jail": jail, "acts": acts, "version": version})
    found = [result(one) for one in said["acts"]]
    assert (found[0], found[1][0], found[3]) == (errno.EACCES, "done", ("done", None))
    assert found[2] in (errno.EACCES, errno.EPERM)
    assert found[4:] == [errno.EPERM, ("done", 2)]
    assert ("TCP" in said["report"]["landlock"]["gaps"]) == (version < 4)
    assert ("signals" in said["report"]["landlock"]["gaps"]) == (version < 6)


def test_a_missing_mechanism_is_told(place: Path) -> None:
    """Without Landlock the other mechanisms are applied and the report says what is open."""
    said = run({"jail": {}, "acts": [["read", str(place / "secret")], ["fork"]], "version": 0})
    assert said["report"]["landlock"]["state"] == "unavailable"
    assert "every file" in said["report"]["landlock"]["gaps"]
    assert [isinstance(result(one), tuple) for one in said["acts"]] == [True, not OFFER["seccomp"]]


@needs_landlock(1)
def test_procfs_is_held_in_memory() -> None:
    """Each rule on procfs is pinned by a descriptor, or it would be lost with the inode."""
    said = run({"jail": {}, "acts": [["pinned"]]})
    paths = said["acts"][0]["value"]
    assert {"/proc/meminfo", "/proc/stat"} <= set(paths)
    assert any(re.fullmatch(r"/proc/\d+", path) for path in paths)


@needs_landlock(1)
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/dev/shm", "/tmp", "/root", "/"])
def test_the_system_is_granted_in_parts(path: str) -> None:
    """Accounts, homes, temporary files and shared memory are not among them."""
    name = "listing" if os.path.isdir(path) else "read"
    assert attempt({}, name, path) == errno.EACCES
    if path == "/dev/shm":
        assert attempt({}, "write", "/dev/shm/zimage") == errno.EACCES


@needs_landlock(2)
def test_output_is_made_but_not_removed(place: Path, jail: dict) -> None:
    """New files, also moved in when finished; nothing goes away, no links and no FIFOs."""
    new, theirs = str(place / "create" / "new"), str(place / "create" / "theirs")
    acts = [["write", new], ["append", new], ["read", new], ["folder", new + "s"]]
    assert all(isinstance(one, tuple) for one in several(jail, acts))
    for path in (new, theirs):
        elsewhere = [path + "2", str(place / "write" / "y")]
        acts = [["unlink", path], *(["rename", path, one] for one in elsewhere)]
        assert several(jail, acts) == [errno.EACCES] * 3
    assert attempt(jail, "fifo", str(place / "create" / "fifo")) in (errno.EACCES, errno.EPERM)
    (place / "write" / "ready").write_text("ready")
    moved = attempt(jail, "rename", str(place / "write" / "ready"), str(place / "create" / "r"))
    assert moved == ("done", None)
    over = attempt(jail, "rename", str(place / "write" / "ready"), theirs)
    assert over in (errno.EACCES, errno.ENOENT)
    assert Path(theirs).read_text() == "theirs"


@needs_landlock(3)
def test_what_may_be_read_is_not_emptied(place: Path, jail: dict) -> None:
    """Neither by name nor while opening it for reading."""
    for path in (place / "secret", place / "read" / "model"):
        for name in ("truncate", "open_truncating"):
            assert attempt(jail, name, str(path), only="landlock") == errno.EACCES
        assert path.stat().st_size


@needs_seccomp
def test_older_landlock_has_seccomp_keep_files_whole(place: Path) -> None:
    """Before its third version Landlock lets files be emptied that are only to be read."""
    path = place / "read" / "model"
    for name in ("truncate", "open_truncating"):
        assert attempt({}, name, str(path), only="seccomp", abi=2) == errno.EPERM
    assert path.stat().st_size


@needs_seccomp
def test_modes_owners_and_times_stay(place: Path, jail: dict) -> None:
    """Changing them seems done, so that copying works, and is not, wherever the file is."""
    for path in (place / "secret", place / "read" / "model"):
        before = path.stat()
        assert attempt(jail, "spoil", str(path)) == ("done", None)
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_mtime) == (
            before.st_mode,
            before.st_uid,
            before.st_mtime,
        )
    model = place / "read" / "model"
    before = model.stat()
    assert attempt(jail, "spoil_opened", str(model)) == ("done", None)
    assert (model.stat().st_mode, model.stat().st_mtime) == (before.st_mode, before.st_mtime)
    assert attempt(jail, "attribute", str(model)) == errno.EOPNOTSUPP
    assert attempt(jail, "lease", str(model)) == errno.EPERM
    for gpu in (False, True):
        assert attempt({**jail, "gpu": gpu}, "flags", str(model)) == errno.EPERM
    stopped("listening_to", str(place), by=errno.EPERM, jail=jail)


@pytest.fixture
def listener():
    """A server on both loopback addresses that says hello; the port."""
    four = socket.create_server(("127.0.0.1", 0), backlog=20)
    port = four.getsockname()[1]
    six = socket.create_server(("::1", port), family=socket.AF_INET6) if _has_ipv6() else None
    yield port
    for one in (four, six):
        if one is not None:
            one.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@needs_seccomp
def test_nothing_goes_out(listener: int) -> None:
    """No TCP, UDP, binding or listening; the socket itself is refused."""
    stopped("datagram", listener, by=errno.EPERM)
    stopped("serve", by=errno.EPERM)
    for family, address in (("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")):
        assert attempt({}, "connect", family, address, listener) == errno.EPERM
    stopped("connect_opened", listener, by=errno.EPERM)


@needs_landlock(4)
def test_landlock_alone_keeps_tcp_in(listener: int) -> None:
    """Also a socket that was open before connects to nothing, and none is bound."""
    stopped("connect_opened", listener, by=errno.EACCES, only="landlock")
    stopped("bound", by=errno.EACCES, only="landlock")


@needs_seccomp
def test_with_the_network_it_connects_and_serves_nobody(listener: int) -> None:
    """TCP over loopback and the resolver work; listening does not, nor do Unix sockets."""
    jail = {"network": True}
    assert attempt(jail, "connect_opened", listener) == ("done", None)
    assert attempt(jail, "datagram", listener) == ("done", 1)
    assert attempt(jail, "resolve")[0] == "done"
    assert attempt(jail, "serve") == errno.EPERM
    assert attempt(jail, "unix", "@zimage") == errno.EPERM


@needs_seccomp
def test_no_unix_socket_is_reached(tmp_path: Path) -> None:
    """Neither by path nor by abstract name, nor from a pair of datagram sockets."""
    names = (str(tmp_path / "s"), f"@zimage-{os.getpid()}")
    for name in names:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(b"\0" + name[1:].encode() if name[0] == "@" else name)
            one.listen()
            stopped("unix", name, by=errno.EPERM, jail={"write": [str(tmp_path)]})
            if name[0] == "@" and OFFER["landlock"] >= 6:
                stopped("unix_opened", name, by=errno.EPERM, only="landlock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "d"))
        stopped("pair_of_datagrams", str(tmp_path / "d"), by=errno.EPERM)


@needs_seccomp
@needs_x86
def test_other_processes_are_out_of_reach() -> None:
    """No signal, limit, priority, processor or owner of signals for the parent."""
    parent = os.getpid()
    names = ("kill", "tgkill", "limit_of", "affinity_of", "priority_of", "signalled_by_owner")
    acts = [[name, parent] for name in names]
    assert all(isinstance(one, tuple) for one in several(None, acts))
    acts += [["queue_signal", parent], *(["kill", pid] for pid in (-1, 0, 1))]
    for order in ({}, {"only": "seccomp"}):
        assert several({}, acts, **order) == [errno.EPERM] * len(acts)
    assert attempt({}, "own_signal") == ("done", 2)
    assert attempt({}, "session") == errno.EPERM


@needs_landlock(6)
def test_landlock_alone_keeps_signals_in() -> None:
    """What seccomp cannot know by numbers is judged by who is in the same jail."""
    stopped("kill", os.getpid(), by=errno.EPERM, only="landlock")


@needs_seccomp
def test_reading_other_processes_ends_it() -> None:
    """Tracing and reading memory is what only an attack does."""
    parent, address = os.getpid(), id(None)
    if OFFER["user"] == 0:
        assert attempt(None, "memory_of", parent, address) == ("done", 16)
    for name, *more in (("memory_of", address), ("trace",)):
        assert attempt({}, name, parent, *more) == signal.SIGSYS
        if OFFER["landlock"]:
            assert attempt({}, name, parent, *more, only="landlock") == errno.EPERM


@needs_seccomp
def test_nothing_is_started() -> None:
    """Forks and programs are refused as for lack of permission; nothing hangs or is killed."""
    for name in ("fork", "spawn", "program"):
        stopped(name, by=errno.EPERM)
    assert attempt({}, "execute") == errno.EPERM


@needs_seccomp
@needs_landlock(1)
def test_programs_are_confined_too(place: Path, jail: dict, listener: int) -> None:
    """With processes they run, see no more files, and have neither network nor foreign signals."""
    jail["processes"] = True
    assert attempt(jail, "program") == ("done", 0)
    assert attempt(jail, "shell", f"cat {place}/read/model") == ("done", 0)
    assert attempt(jail, "shell", "kill -0 $$") == (
        ("done", 0) if OFFER["landlock"] >= 6 else ("done", 1)
    )
    for line in (
        f"cat {place}/secret",
        f"kill -0 {os.getpid()}",
        f"cat /proc/{os.getpid()}/environ",
        f"{sys.executable} -IS -c 'import socket; socket.socket()'",
        f"{sys.executable} -IS -c 'import os; os.chroot(\"/\")'",
    ):
        done = attempt(jail, "shell", line)
        assert done[0] == "done", line
        assert done[1] != 0, line
    # What could be written is not executed.
    (place / "write" / "tool").write_text("#!/bin/sh\n")
    (place / "write" / "tool").chmod(0o755)
    assert attempt(jail, "shell", f"{place}/write/tool") == ("done", 126)


KILLED, DENIED, GONE = signal.SIGSYS, errno.EPERM, errno.ENOSYS


BY_NUMBER = (
    ("pidfd_open", (1, 0), DENIED),
    ("pidfd_send_signal", (0, 0, 0, 0), DENIED),
    ("kcmp", (1, 1, 0, 0, 0), DENIED),
    ("perf_event_open", (0, 0, 0, 0, 0), DENIED),
    ("userfaultfd", (0,), DENIED),
    ("io_uring_setup", (1, 0), DENIED),
    ("keyctl", (0, 0), DENIED),
    ("unshare", (0x10000000,), DENIED),
    ("unshare", (0x00020000,), DENIED),
    ("personality", (0x0040000,), DENIED),
    ("personality", (0xFFFFFFFF,), None),
    ("clone3", (0, 0), GONE),
    ("clone", (0x10000000 | 17, 0, 0, 0, 0), DENIED),
    ("clone", (0x10000, 0, 0, 0, 0), errno.EINVAL),
    ("memfd_create", (0, 0), DENIED),
    ("shmget", (0, 4096, 0o1600), DENIED),
    ("mq_open", (0, 0, 0, 0), DENIED),
    ("setuid", (0,), DENIED),
    ("sethostname", (0, 0), DENIED),
    ("modify_ldt", (0, 0, 0), GONE),
    ("statmount", (0, 0, 0, 0), GONE),
    ("io_setup", (1, 0), GONE),
    ("bpf", (0, 0, 0), KILLED),
    ("setns", (0, 0), KILLED),
    ("open_by_handle_at", (0, 0, 0), KILLED),
    ("init_module", (0, 0, 0), KILLED),
    ("kexec_load", (0, 0, 0, 0), KILLED),
    ("chroot", (0,), KILLED),
    ("fsopen", (0, 0), KILLED),
    ("settimeofday", (0, 0), KILLED),
)


@needs_seccomp
@needs_x86
def test_calls_by_number() -> None:
    """What is tried in good faith fails, what is new does not exist, an attack ends the process."""
    known = numbers.numbers("x86_64")
    failing = [one for one in BY_NUMBER if one[2] is not KILLED]
    found = several({}, [["syscall", known[name], *values] for name, values, _ in failing])
    for (name, _, by), done in zip(failing, found, strict=True):
        assert done[0] == "done" if by is None else done == by, name
    for name, values, _ in set(BY_NUMBER) - set(failing):
        assert attempt({}, "syscall", known[name], *values) == KILLED, name


@needs_seccomp
@needs_x86
def test_other_gates_into_the_kernel_are_shut() -> None:
    """32-bit calls end the process; x32 ones do not exist, whatever the kernel was built with."""
    assert attempt({}, "compatible_call") == signal.SIGSYS
    strange = [["syscall", 0x40000000 | number] for number in (39, 57, 101)]
    assert several({}, strange) == [errno.ENOSYS] * 3


@needs_seccomp
@needs_root
def test_mounting_ends_it(tmp_path: Path) -> None:
    """Without capabilities it is refused, with the filter it is an attack."""
    assert attempt({}, "mount", str(tmp_path)) == signal.SIGSYS
    assert attempt({}, "mount", str(tmp_path), only="capabilities") == errno.EPERM


@needs_seccomp
def test_what_the_watcher_counts_on_stays() -> None:
    """The signal for the parent's death, being readable, and the filter itself."""
    options = ((1, 0), (4, 0), (36, 1), (22, 2), (28, 0), (0x59616D61, 1), (35, 1))
    asked = several({}, [["prctl", option, value] for option, value in options])
    assert asked == [errno.EPERM] * len(options)
    assert attempt({}, "death_signal") == ("done", signal.SIGTERM)
    assert attempt({}, "type_into_terminal") == errno.EPERM
    assert attempt({"gpu": True}, "type_into_terminal") == errno.EPERM


def test_no_capability_is_left() -> None:
    """None held, inherited, ambient or, as far as the user may change that, to be had."""
    found = attempt({}, "status")[1]
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == ("2" if OFFER["seccomp"] else "0")
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(found[name], 16) == 0, name
    if OFFER["user"] == 0:
        assert int(found["CapBnd"], 16) == 0


@needs_root
def test_root_loses_other_users_files(tmp_path: Path) -> None:
    """Being root no longer opens what its owner keeps to himself."""
    path = tmp_path / "theirs"
    path.write_text("x")
    path.chmod(0o600)
    os.chown(path, 12345, 12345)
    stopped("read", str(path), by=errno.EACCES, only="capabilities")
    stopped("kill", 1, by=errno.EPERM)


def test_memory_ends_with_an_error() -> None:
    """Private and shared memory; what the process has already is not counted."""
    small = {"memory": 200 * MB}
    assert attempt(small, "private_memory", 100 * MB) == ("done", 100 * MB)
    assert attempt(small, "private_memory", 400 * MB) == "MemoryError"
    assert attempt(small, "shared_memory", 400 * MB) == errno.ENOMEM
    gpu = {**small, "gpu": True}
    assert attempt(gpu, "private_memory", 400 * MB) == "MemoryError"
    assert attempt(gpu, "shared_memory", 400 * MB)[0] == "done"


@needs_seccomp
def test_files_without_names_need_the_gpu() -> None:
    """CUDA makes them; without it they would be memory that nothing counts."""
    stopped("memory_file", by=errno.EPERM)
    assert attempt({"gpu": True}, "memory_file") == ("done", None)


def test_descriptors_and_file_sizes_end_with_an_error(place: Path, jail: dict) -> None:
    """A flood of descriptors, a giant file, and the signal for it."""
    assert attempt({"files": 100}, "descriptors", 200) == errno.EMFILE
    jail["file_size"] = 4 * MB
    path = str(place / "write" / "giant")
    assert attempt(jail, "giant", path, 3 * MB)[0] == "done"
    assert attempt(jail, "giant", path, 5 * MB) == errno.EFBIG
    assert attempt(jail, "giant_killed", path, 5 * MB) == signal.SIGXFSZ


def test_limits_do_not_rise() -> None:
    """Not even for root, whose capabilities are gone."""
    jail = {"memory": 500 * MB, "file_size": MB}
    names = ("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_CORE")
    found = several(jail, [["raise_limit", name] for name in names])
    assert set(found) <= {"ValueError", errno.EPERM}


def test_tasks_are_said_not_to_be_limited() -> None:
    """The kernel's limit counts others' processes, so the report leaves it to a watcher."""
    said = run({"jail": {"tasks": 5}, "acts": []})["report"]["tasks"]
    assert said["state"] == "unavailable"
    assert "5 tasks" in said["gaps"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory):
    """What became of ordinary work in a jail, all in one process."""
    where = tmp_path_factory.mktemp("work")
    (where / "model").write_text("model")
    home = where / "home"
    home.mkdir()
    environment = confinement.scrub({"OMP_NUM_THREADS": "1"}, str(home), str(home))
    names = ("threads", "event_loop", "sleep", "temporary", "processor", "find_library", "digest")
    names += ("queues", "own_signal", "arrays", "program")
    acts = [[name] for name in names]
    acts += [["mapped", str(where / "model")], ["picture", str(home / "picture.png")]]
    acts += [["copies", str(where / "model"), str(home / "copy")]]
    jail = {"read": [str(where / "model")], "write": [str(home)], "memory": 16 * 1024 * MB}
    said = run({"jail": jail, "acts": acts}, environment)
    said["acts"] = {act[0]: done for act, done in zip(acts, said["acts"], strict=True)}
    return said, home


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 45),
        ("event_loop", 3),
        ("sleep", None),
        ("processor", True),
        ("find_library", ...),
        ("digest", "2d71"),
        ("queues", "x"),
        ("own_signal", 2),
        ("mapped", "mode"),
        ("picture", 64),
        ("copies", True),
        ("temporary", ...),
        ("arrays", [16777216.0, 27.0, 4096.0]),
    ],
)
def test_ordinary_work_is_possible(work, name: str, value) -> None:
    """Threads, asyncio, files, libraries, pictures with a font, numpy and torch."""
    found = work[0]["acts"][name]
    assert "value" in found, found
    assert value is ... or found["value"] == value


def test_temporary_files_lie_in_the_granted_folder(work) -> None:
    """As the scrubbed environment says; a program is refused with the usual exception."""
    said, home = work
    assert Path(said["acts"]["temporary"]["value"]).parent == home
    assert said["acts"]["program"]["error"] == "PermissionError"
    assert said["report"]["environment"]["state"] == "applied"
    assert said["seconds"] < 1


def test_a_crash_is_told() -> None:
    """The traceback of faulthandler comes, then the signal."""
    assert attempt({}, "crash") == signal.SIGSEGV


def test_only_kept_descriptors_stay_open() -> None:
    """All others are closed, whatever their numbers."""
    one, other = os.pipe()
    try:
        order = {"keep": [0, 1, 2, one], "acts": [["open_descriptors"]]}
        said = run(order, pass_fds=(one, other))["acts"][0]["value"]
    finally:
        os.close(one)
        os.close(other)
    assert one in said
    assert other not in said


def test_loading_needs_nothing_else() -> None:
    """Neither torch nor ComfyUI nor the rest of the pack."""
    assert attempt(None, "modules") == ("done", [])


SECRETS = {
    "HF_TOKEN": "hf_x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "https_proxy": "http://user:word@proxy",
    "DBUS_SESSION_BUS_ADDRESS": "unix:x",
    "SSH_AUTH_SOCK": "/run/x",
    "PYTHONPATH": "/x",
    "LD_PRELOAD": "/x.so",
    "HOME": "/root",
    "DISPLAY": ":0",
}


def test_the_environment_is_made_of_what_is_known() -> None:
    """Language, time, threads and, with a GPU, its choice; homes and caches are its own."""
    kept = {"PATH": "/bin", "LC_ALL": "de_DE.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "3"}
    gpu = {"CUDA_VISIBLE_DEVICES": "1"}
    clean = confinement.scrub({**SECRETS, **kept, **gpu}, "/jail/home", "/jail/temp")
    assert kept.items() <= clean.items()
    assert not (SECRETS.keys() - {"HOME"} | gpu.keys()) & clean.keys()
    assert clean["HOME"] == "/jail/home"
    assert clean["TMPDIR"] == "/jail/temp"
    assert clean["HF_HOME"].startswith("/jail/home/")
    assert gpu.items() <= confinement.scrub(gpu, "/h", "/t", gpu=True).items()


def test_a_process_that_was_started_with_secrets_says_so() -> None:
    """They stay readable in ``/proc/self/environ``, so the report names the variables."""
    said = run({"jail": {}, "acts": []}, {"PATH": os.defpath, "HF_TOKEN": "hf_x"})["report"]
    assert said["environment"]["state"] == "failed"
    assert "HF_TOKEN" in said["environment"]["reason"]
    assert "hf_x" not in json.dumps(said)


def test_the_report_names_what_could_not_be_granted(place: Path) -> None:
    """A folder that does not exist is left out and told."""
    said = run({"jail": {"read": [str(place / "nowhere")]}, "acts": []})["report"]
    if OFFER["landlock"]:
        assert str(place / "nowhere") in said["landlock"]["reason"]
    assert set(said) >= {"no_new_privs", "capabilities", "landlock", "limits", "seccomp"}


def answer(code: list[bpf.Instruction], architecture: int, number: int, *arguments: int) -> int:
    """What a filter says, without a kernel."""
    words = [number, architecture, 0, 0]
    for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6]:
        words += [one & 0xFFFFFFFF, one >> 32]
    at, value = 0, 0
    while True:
        operation, true, false, operand = code[at]
        at += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            value = words[operand // 4]
        elif operation == 0x54:
            value &= operand
        elif operation == 0x05:
            at += operand
        else:
            holds = value == operand if operation == 0x15 else value >= operand
            at += true if holds else false


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_filters_answer_as_the_rules_say(architecture: str) -> None:
    """Every number on both architectures, strange gates, numbers to come, halves of pointers."""
    setting = calls.Setting(4711, 7, True)
    code = seccomp.build(confinement.Jail(), setting, architecture)
    assert len(code) < 4096
    assert all(true < 256 and false < 256 for _, true, false, _ in code)
    arch, known = numbers.ARCHITECTURES[architecture], numbers.numbers(architecture)
    rules = calls.rules(confinement.Jail(), setting)
    for name, number in known.items():
        rule = rules.get(name, bpf.Rule(calls.ABSENT))
        if not rule.clauses:
            assert answer(code, arch, number) == rule.otherwise, name
    for number in (max(known.values()) + 1, 0x40000000, 0x40000000 | known["read"], 2**32 - 1):
        assert answer(code, arch, number) == calls.ABSENT
    assert answer(code, 0x40000003, known["getpid"]) == bpf.KILL
    for other in set(numbers.ARCHITECTURES.values()) - {arch}:
        assert answer(code, other, known["getpid"]) == bpf.KILL
    assert answer(code, arch, known["kill"], 4711) == bpf.ALLOW
    assert answer(code, arch, known["kill"], 4712) == calls.REFUSED
    assert answer(code, arch, known["kill"], 2**32 - 1) == calls.REFUSED
    assert answer(code, arch, known["sendto"], 0, 0, 0, 0, 0) == bpf.ALLOW
    assert answer(code, arch, known["sendto"], 0, 0, 0, 0, 1 << 32) == calls.REFUSED
    assert answer(code, arch, known["clone"], 0x3D0F00) == bpf.ALLOW
    assert answer(code, arch, known["clone"], 0x3D0F00 | 0x10000000) == calls.REFUSED
    assert answer(code, arch, known["clone"], 17) == calls.REFUSED


def test_rules_are_about_calls_that_exist() -> None:
    """A name that is misspelt would be a rule that never holds."""
    for options in ({}, {"network": True, "gpu": True, "processes": True}):
        rules = calls.rules(confinement.Jail(**options), calls.Setting(1, 1, False))
        assert not rules.keys() - numbers.names()


def test_numbers_are_those_of_this_system() -> None:
    """As far as its headers know them."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no headers of the kernel")
    found = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    known = numbers.numbers("x86_64")
    assert len(found) > 300
    assert {k: int(v) for k, v in found if k in known}.items() <= known.items()
    generic = Path("/usr/include/asm-generic/unistd.h").read_text()
    others = {k: int(v) for k, v in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", generic)}
    arm = numbers.numbers("aarch64")
    assert all(arm[k] == v for k, v in others.items() if k in arm)


def test_probing_changes_nothing() -> None:
    """The tests' own process is as it was."""
    assert confinement.probe() == OFFER
