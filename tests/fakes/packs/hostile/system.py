"""Attempts on the machine."""

import ctypes
import mmap
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import folder_paths

LIBC = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A system call; raises OSError as Python does."""
    found = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(one) for one in arguments])
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def read(path, **_):
    with open(path, "rb") as file:
        return file.read(64)


def write(path, **_):
    with open(path, "ab") as file:
        return file.write(b"hostile")


def through_link(path, **_):
    link = os.path.join(folder_paths.get_temp_directory(), "link")
    os.symlink(path, link)
    return read(link)


def through_hard_link(path, **_):
    link = os.path.join(folder_paths.get_temp_directory(), "hard")
    os.link(path, link)
    return read(link)


def through_proc(path, **_):
    return read("/proc/self/root" + path)


def own_environment(secret, **_):
    found = read_all("/proc/self/environ") + repr(dict(os.environ)).encode()
    return found.find(secret.encode()) if secret.encode() in found else denied("not there")


def denied(why):
    raise PermissionError(why)


def read_all(path):
    with open(path, "rb") as file:
        return file.read()


def environment_of(pid, **_):
    return read_all(f"/proc/{pid}/environ")


def memory_of(pid, **_):
    return open(f"/proc/{pid}/mem", "rb").close()


def remove(path, **_):
    return os.remove(path)


def rename(path, **_):
    return os.rename(path, os.path.join(folder_paths.get_temp_directory(), "taken"))


def truncate(path, **_):
    return os.truncate(path, 0)


def connect(port, family="AF_INET", host="127.0.0.1", **_):
    with socket.socket(getattr(socket, family), socket.SOCK_STREAM) as one:
        one.settimeout(5)
        return one.connect((host, port))


def datagram(port, **_):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"secret", ("127.0.0.1", port))


def unix(path, **_):
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect(path)


def listen(**_):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.listen()


def netlink(**_):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno()


def raw(**_):
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).fileno()


def ptrace(pid, **_):
    return call(101, 16, pid, 0, 0)


def other_memory(pid, **_):
    buffer = ctypes.create_string_buffer(8)
    pair = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    return call(310, pid, ctypes.addressof(pair), 1, ctypes.addressof(pair), 1, 0)


def kill(pid, **_):
    return os.kill(pid, signal.SIGKILL)


def kill_all(**_):
    return os.kill(-1, 0)  # would have reached everybody, and harms nobody


def kill_template(**_):
    return os.kill(os.getppid(), signal.SIGKILL)


def kill_thread(pid, **_):
    return call(234, pid, pid, signal.SIGKILL)


def pidfd(pid, **_):
    return os.pidfd_open(pid)


def fork(**_):
    pid = os.fork()
    if not pid:
        os._exit(0)
    return pid


def fork_bomb(**_):
    made = 0
    for _number in range(10_000):
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        made += 1
    return made


def program(**_):
    return subprocess.run(["/bin/true"], check=True).returncode


def spawn(**_):
    return os.posix_spawn("/bin/true", ["true"], {})


def execute(**_):
    return os.execv("/bin/true", ["true"])


def memory(**_):
    return len(bytearray(64 * 2**30))


def shared_memory(**_):
    return len(mmap.mmap(-1, 64 * 2**30, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))


def descriptors(**_):
    made = []
    try:
        while len(made) < 100_000:
            made.append(os.dup(0))
    finally:
        for one in made:
            os.close(one)
    return len(made)


def threads(**_):
    stop = threading.Event()
    for _number in range(2_000):
        threading.Thread(target=stop.wait, daemon=True).start()
    stop.wait(600)


def shm(**_):
    return write("/dev/shm/hostile")


def memfd(**_):
    return os.memfd_create("hostile")


def mount(**_):
    return call(165, 0, 0, 0, 0, 0)


def unshare(**_):
    return call(272, 0x10000000)


def chroot(**_):
    return os.chroot("/")


def namespace(**_):
    with open("/proc/1/ns/mnt", "rb") as file:
        return call(308, file.fileno(), 0)


def deathsig(**_):
    return call(157, 1, 0, 0, 0, 0)


def dumpable(**_):
    return call(157, 4, 0, 0, 0, 0)


def personality(**_):
    return call(135, 0x0040000)


def keyring(**_):
    return call(250, 0, -3, 1)


def bpf(**_):
    return call(321, 0, 0, 0)


def ring(**_):
    return call(425, 1, 0)


def faults(**_):
    return call(323, 0)


def handle_of_file(**_):
    return call(304, -100, 0, 0)


def become(**_):
    return os.setuid(65534)


def device(**_):
    return read("/dev/vda")


def make_device(**_):
    path = os.path.join(folder_paths.get_temp_directory(), "disk")
    return os.mknod(path, 0o60600, os.makedev(254, 0))


def limits(**_):
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))


def priority(pid, **_):
    return os.setpriority(os.PRIO_PROCESS, pid, 19)


def clock(**_):
    return time.clock_settime(time.CLOCK_REALTIME, time.time())


def set_user_bit(**_):
    path = os.path.join(folder_paths.get_temp_directory(), "tool")
    shutil.copyfile(sys.executable, path)
    os.chmod(path, 0o6755)
    mode = os.stat(path).st_mode & 0o7111
    return oct(mode) if mode else denied("the bits were not set")


def old_calls(**_):
    return call(0x40000000 + 39)


def stop_itself(**_):
    return os.kill(os.getpid(), signal.SIGSTOP)


ATTEMPTS = {name: one for name, one in globals().items() if callable(one) and name.islower()}
