"""What a pack may try that is harmful. Each act returns something, or raises what stopped it."""

import ctypes
import mmap
import os
import signal
import socket
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def syscall(number, *arguments):
    """Any call by its number."""
    return _checked(_libc.syscall(*(ctypes.c_long(one) for one in (number, *arguments))))


def prctl(option, value):
    """With one argument."""
    return _checked(_libc.prctl(*(ctypes.c_long(one) for one in (option, value, 0, 0, 0))))


def read(path):
    """The beginning of a file."""
    with open(path, "rb") as file:
        return len(file.read(100))


def listing(path):
    """What is in a folder."""
    return len(os.listdir(path))


def write(path):
    """Make or replace a file."""
    return Path(path).write_text("new")


def append(path):
    """To a file that exists."""
    with open(path, "a") as file:
        return file.write("more")


def unlink(path):
    """Remove a file."""
    os.unlink(path)


def rename(old, new):
    """Move a file."""
    os.rename(old, new)


def link(old, new):
    """A second name for a file."""
    os.link(old, new)


def symlink(target, path):
    """A link to somewhere else."""
    os.symlink(target, path)


def fifo(path):
    """A file that makes readers wait."""
    os.mkfifo(path)


def folder(path):
    """A new folder."""
    os.mkdir(path)


def truncate(path):
    """Empty a file by its name."""
    os.truncate(path, 0)


def open_truncating(path):
    """Empty a file while opening it for reading only."""
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def spoil(path):
    """Change mode, owner and times."""
    os.chmod(path, 0)
    os.chown(path, 12345, 12345)
    os.utime(path, (1, 1))


def spoil_opened(path):
    """The same by a descriptor, and attributes."""
    with open(path, "rb") as file:
        os.fchmod(file.fileno(), 0)
        os.fchown(file.fileno(), 12345, 12345)
        os.utime(file.fileno(), (1, 1))


def attribute(path):
    """Set an extended attribute."""
    os.setxattr(path, "user.x", b"1")


def flags(path):
    """Ask for the flags of a file, and set them (``chattr``)."""
    import fcntl

    with open(path, "rb") as file:
        found = fcntl.ioctl(file, 0x80086601, bytes(8))
        fcntl.ioctl(file, 0x40086602, found)


def lease(path):
    """Make others wait who open the file."""
    import fcntl

    with open(path, "rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def listening_to(path):
    """Be told the names of files in a folder."""
    number = _checked(_libc.inotify_init1(0))
    return _checked(_libc.inotify_add_watch(number, path.encode(), 0x100))


def connect(family, *address):
    """TCP."""
    with socket.socket(getattr(socket, family), socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(tuple(address))
        return one.recv(2).decode()


def datagram(port):
    """UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x", ("127.0.0.1", port))


def serve():
    """Be connected to."""
    with socket.socket() as one:
        one.listen()


def bound():
    """Take a port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


def before_connect_opened():
    """A socket from before."""
    return (socket.socket(),)


def connect_opened(one, port):
    """With a socket that was there."""
    with one:
        one.connect(("127.0.0.1", port))


def _unix(name):
    return b"\0" + name[1:].encode() if name.startswith("@") else name


def unix(name):
    """A Unix socket; ``@`` for an abstract name."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(_unix(name))


def before_unix_opened():
    """A socket from before."""
    return (socket.socket(socket.AF_UNIX),)


def unix_opened(one, name):
    """With a socket that was there."""
    with one:
        one.connect(_unix(name))


def pair_of_datagrams(name):
    """A socket of a pair can send to any other by name."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return one.sendto(b"x", _unix(name))


def kill(pid, number=0):
    """Signal 0 reaches nobody but shows whether others would."""
    os.kill(pid, number)


def tgkill(pid):
    """A thread of another process."""
    return syscall(234, pid, pid, 0)


def queue_signal(pid):
    """A signal with a value; as if the kernel had sent it."""
    information = ctypes.create_string_buffer(struct.pack("3i", 0, 0, -1), 128)
    return _checked(_libc.syscall(129, pid, 0, information))


def own_signal():
    """To oneself, handled."""
    heard = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    return len(heard)


def signalled_by_owner(pid):
    """Have a descriptor's signals sent to another process."""
    import fcntl

    one, _other = os.pipe()
    fcntl.fcntl(one, fcntl.F_SETOWN, pid)


def memory_of(pid, address):
    """Read another process's memory by the call for it."""
    buffer = ctypes.create_string_buffer(16)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
    there = (ctypes.c_void_p * 2)(address, 16)
    return _checked(_libc.process_vm_readv(pid, here, 1, there, 1, 0))


def trace(pid):
    """Attach to a process (PTRACE_SEIZE)."""
    return _checked(_libc.ptrace(0x4206, pid, None, None))


def fork():
    """A second process."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def spawn():
    """A program, by way of vfork."""
    return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1]


def execute():
    """Become another program."""
    os.execv("/bin/true", ["true"])


def program():
    """As packs do it."""
    import subprocess

    return subprocess.run(["true"], check=True, timeout=20).returncode


def shell(line):
    """What a program may do; its exit status."""
    import subprocess

    return subprocess.run(["/bin/sh", "-c", line], timeout=20, capture_output=True).returncode


def session():
    """Leave the group by which a watcher ends everything."""
    os.setsid()


def mount(path):
    """A file system over a folder."""
    return _checked(_libc.mount(b"none", path.encode(), b"tmpfs", 0, None))


def private_memory(size):
    """Allocated and written to."""
    return len(bytearray(size))


def shared_memory(size):
    """Anonymous, shared."""
    mmap.mmap(-1, size).close()


def memory_file():
    """A file without a name."""
    os.close(os.memfd_create("x"))


def descriptors(most):
    """As many as there are to be had."""
    found = []
    try:
        while len(found) < most:
            found.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for one in found:
            os.close(one)
    return len(found)


def giant(path, size):
    """A file of this size, without its blocks."""
    with open(path, "wb") as file:
        file.truncate(size)


def giant_killed(path, size):
    """The same with the signal that is sent then."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    giant(path, size)


def raise_limit(name):
    """Ask for more than the limit."""
    import resource

    kind = getattr(resource, name)
    resource.setrlimit(kind, (resource.RLIM_INFINITY,) * 2)


def limit_of(pid):
    """Change the limits of another process."""
    import resource

    return resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))


def affinity_of(pid):
    """Choose where another process runs."""
    os.sched_setaffinity(pid, os.sched_getaffinity(0))


def priority_of(pid):
    """Make another process slow."""
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


def type_into_terminal():
    """Put input into the terminal that standard input is."""
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")


def compatible_call():
    """A call through the gate for 32-bit programs."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid); int 0x80; ret
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def before_death_signal():
    """Told by the kernel when the parent dies."""
    return (prctl(1, signal.SIGTERM),)


def death_signal(_):
    """Which signal that would be."""
    number = ctypes.c_int()
    _libc.prctl(2, ctypes.byref(number), 0, 0, 0)
    return number.value


def crash():
    """As a library does that has an error."""
    import faulthandler

    faulthandler.enable()
    ctypes.string_at(0)
