"""Files of the system that Python, torch, OpenCV, Pillow and fontconfig read, for every jail.

None is private: no home, temporary or shared-memory folder, no variable data, no accounts, and no
process but the calling one. Most of them do not exist on any one machine.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .jail import Jail


@dataclass(frozen=True)
class Granted:
    """Files and folders of the system.

    Attributes:
        read: readable.
        devices: readable and writable.
    """

    read: tuple[str, ...]
    devices: tuple[str, ...]


def granted(jail: Jail) -> Granted:
    """Return what is granted in addition to a jail's own folders.

    Patterns are resolved, links are not.
    """
    read = [*_PROGRAMS, *_interpreter(), *_ETC, *_PROC, *_SYS]
    devices: list[str] = [*_DEVICES]
    if jail.network:
        read += _NETWORK
    if jail.gpu:
        read += _GPU
        devices += _GPU_DEVICES
    return Granted(_existing(read), _existing(devices))


_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_ETC = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/locale.conf"),
    *("/etc/fonts", "/etc/mime.types", "/etc/os-release", "/etc/debian_version"),
    # OpenSSL, which hashlib needs, fails if its configuration exists and cannot be read.
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"),
)
_PROC = (
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg"),
    *("/proc/version", "/proc/filesystems", "/proc/uptime", "/proc/vmstat"),
    # The allocators of the C library and others read these.
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count"),
    *("/proc/sys/kernel/osrelease", "/proc/sys/kernel/ostype", "/proc/sys/kernel/pid_max"),
    *("/proc/sys/kernel/cap_last_cap", "/proc/sys/kernel/ngroups_max"),
    *("/proc/sys/kernel/threads-max", "/proc/sys/kernel/random/uuid"),
)
_SYS = (
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    "/sys/kernel/mm/transparent_hugepage",
    # Limits of a container: OpenCV, joblib and others size their pools by these.
    *("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/memory.max"),
    *("/sys/fs/cgroup/cpuset.cpus.effective", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    *("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_NETWORK = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols"),
    # The target of resolv.conf is replaced whenever the network changes.
    "/run/systemd/resolve",
    # Certificates of authorities, without the private keys in the folders next to them.
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ca-certificates", "/etc/ca-certificates.conf"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust"),
)
_GPU = (
    *("/proc/driver/nvidia", "/proc/devices", "/proc/modules"),
    *("/sys/devices", "/sys/bus", "/sys/class", "/sys/dev", "/sys/module"),
    *("/etc/OpenCL", "/etc/vulkan", "/etc/nvidia", "/etc/egl", "/etc/glvnd"),
    *("/opt/rocm", "/opt/rocm-*"),
)
_GPU_DEVICES = ("/dev/nvidia*", "/dev/dri", "/dev/dxg", "/dev/kfd")
# Not the whole prefix, which can be the root of the file system or a home folder.
_PREFIX = (
    *("bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share", "targets", "nvvm"),
    *("pyvenv.cfg", "ssl/cert.pem", "ssl/cacert.pem", "ssl/openssl.cnf", "etc/fonts"),
)


def _interpreter() -> list[str]:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return [os.path.join(prefix, path) for prefix in sorted(prefixes) for path in _PREFIX]


def _existing(patterns: Sequence[str]) -> tuple[str, ...]:
    existing: dict[str, None] = {}
    for pattern in patterns:
        paths = glob.glob(pattern) if "*" in pattern else [pattern]
        existing.update((path, None) for path in paths if os.path.exists(path))
    return tuple(existing)
