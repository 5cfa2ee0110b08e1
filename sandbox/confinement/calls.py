"""Which system calls a confined process may make, and why.

A list of what is allowed, because kernels get new calls every year and a list of what is forbidden
ages badly. What is not listed does not exist (ENOSYS), as on an older kernel, for which libraries
are prepared. EPERM is the answer to what programs try in good faith and can do without. What only
an attack does ends the process, so that whoever watches it learns of the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import ioctls
from .bpf import ALLOW, KILL, Clause, Rule, Test, errno
from .jail import Jail

REFUSED = errno(1)  # EPERM
ABSENT = errno(38)  # ENOSYS
UNSUPPORTED = errno(95)  # EOPNOTSUPP
DONE = errno(0)

_FILES = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range
    open openat openat2 creat stat fstat lstat newfstatat statx statfs fstatfs access faccessat
    faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir umask mkdir mkdirat rmdir
    rename renameat renameat2 link linkat unlink unlinkat symlink symlinkat truncate ftruncate
    fallocate fadvise64 readahead flock fsync fdatasync sync syncfs sync_file_range sendfile splice
    tee vmsplice copy_file_range cachestat dup dup2 dup3 pipe pipe2
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
"""
# Event loops. Without inotify: it would tell the names of files in folders that are not granted.
_WAITING = """
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
"""
# torch, OpenMP and CUDA place memory on NUMA nodes; code that is made at run time needs mprotect.
_MEMORY = """
    mmap munmap mremap mprotect brk msync mincore madvise mlock mlock2 munlock mlockall munlockall
    get_mempolicy set_mempolicy mbind set_mempolicy_home_node membarrier pkey_alloc pkey_free
    pkey_mprotect mseal map_shadow_stack
"""
# arch_prctl also asks for AMX, which oneDNN uses.
_THREADS = """
    futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list get_robust_list rseq
    set_tid_address arch_prctl gettid sched_yield sched_getaffinity sched_getparam
    sched_getscheduler sched_getattr sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval getcpu exit exit_group wait4 waitid
"""
_SIGNALS = """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack
    restart_syscall pause alarm setitimer getitimer timer_create timer_settime timer_gettime
    timer_getoverrun timer_delete nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday
    time
"""
# Questions about oneself and the machine; limits can only be lowered.
_QUESTIONS = """
    getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getgroups getresuid
    getresgid capget getpriority ioprio_get getrlimit setrlimit getrusage times sysinfo uname
    getrandom
"""
# On the pairs of asyncio and multiprocessing, and on what was open before.
_SOCKETS = """
    recvfrom recvmsg recvmmsg sendmsg sendmmsg shutdown getsockname getpeername getsockopt
    setsockopt
"""

_KILLING = """
    ptrace process_vm_readv process_vm_writev bpf open_by_handle_at
    mount umount2 pivot_root chroot setns fsopen fsconfig fsmount fspick move_mount open_tree
    open_tree_attr mount_setattr swapon swapoff
    init_module finit_module delete_module kexec_load kexec_file_load reboot iopl ioperm
    settimeofday clock_settime
"""
# asyncio tries pidfd_open, profilers perf_event_open, graphics libraries kcmp, keyrings keyctl.
_REFUSING = """
    pidfd_open pidfd_send_signal pidfd_getfd kcmp perf_event_open userfaultfd keyctl add_key
    request_key io_uring_setup io_uring_enter io_uring_register unshare name_to_handle_at
    process_madvise process_mrelease memfd_secret inotify_init inotify_init1 inotify_add_watch
    fanotify_init sethostname setdomainname syslog acct quotactl quotactl_fd adjtimex clock_adjtime
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    setsid setpgid shmget shmat shmctl msgget semget mq_open mq_unlink vhangup
    accept accept4 listen
"""
# Landlock does not govern these, and an owner may do them to every file, also to one that can only
# be read: a changed mode locks others out, a changed time has files cleared away. Seeming done
# keeps shutil.copy and unpackers going; modes come from umask instead.
_SEEMING_DONE = """
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
    utime utimes futimesat utimensat
"""
_UNSUPPORTED = "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"

_NEW_NAMESPACES = 0x7E020000
_THREAD, _PARENT = 0x00010000, 0x00008000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _SEQPACKET, _KIND_OF_SOCKET = 1, 5, 0xF
_QUERY = 0xFFFFFFFF
_ANY_WAY, _TRUNCATING = 0o3, 0o1000
# Leases make others wait, the rest has signals sent to whom one names.
_FCNTL = (8, 10, 15, 1024, 1026)  # SETOWN SETSIG SETOWN_EX SETLEASE NOTIFY
# Names of threads and of memory, timer slack, huge pages, vector lengths; and questions. Not what a
# watcher counts on: the parent-death signal, being dumpable, whose child orphans become.
_PRCTL = (2, 3, 7, 15, 16, 21, 23, 27, 29, 30, 34, 37, 38, 39, 40, 41, 42, 47)
_PRCTL += (50, 51, 52, 54, 56, 63, 64, 66, 0x41555856, 0x53564D41)


@dataclass(frozen=True)
class Setting:
    """What the rules depend on beside the jail.

    Attributes:
        pid: of the process that is confined.
        abi: Landlock's version in force; 0 for none.
        signals: whether Landlock keeps signals within the jail.
    """

    pid: int
    abi: int
    signals: bool


def rules(jail: Jail, setting: Setting) -> dict[str, Rule]:
    """A rule for each call that exists."""
    found: dict[str, Rule] = {}
    allowed = (_FILES, _WAITING, _MEMORY, _THREADS, _SIGNALS, _QUESTIONS, _SOCKETS)
    for answer, listed in (
        *((ALLOW, names) for names in allowed),
        (KILL, _KILLING),
        (REFUSED, _REFUSING),
        (DONE, _SEEMING_DONE),
        (UNSUPPORTED, _UNSUPPORTED),
        (ALLOW if jail.gpu else REFUSED, "memfd_create"),
        (ALLOW if jail.processes else REFUSED, "fork vfork execve execveat"),
        (ALLOW if jail.network else REFUSED, "connect bind"),
        # Its flags are in memory, where a filter cannot see them; the C library then uses clone.
        (ABSENT, "clone3"),
    ):
        found.update(dict.fromkeys(listed.split(), Rule(answer)))
    found.update(_of_processes(jail, setting))
    found.update(_of_sockets(jail))
    found.update(_of_files(jail, setting))
    return found


def _only(argument: int, *values: int, mask: int = _QUERY) -> Rule:
    return Rule(REFUSED, (Clause(ALLOW, (Test(argument, values, mask),)),))


def _of_processes(jail: Jail, setting: Setting) -> dict[str, Rule]:
    own = _only(0, 0, setting.pid)
    # By number 0 is the whole group, to which the host can belong.
    signalled = Rule(ALLOW) if jail.processes and setting.signals else _only(0, setting.pid)
    thread = Clause(ALLOW, (Test(0, (_THREAD,), _THREAD | _NEW_NAMESPACES),))
    # A sibling would be the child of somebody who does not know of it.
    process = Clause(ALLOW, (Test(0, (0,), _THREAD | _PARENT | _NEW_NAMESPACES),))
    myself = Clause(ALLOW, (Test(0, (0,)), Test(1, (0, setting.pid))))
    mine = Clause(ALLOW, (Test(0, (1,)), Test(1, (0, setting.pid))))
    return {
        "clone": Rule(REFUSED, (thread, process) if jail.processes else (thread,)),
        **dict.fromkeys(("kill", "tkill", "tgkill"), signalled),
        **dict.fromkeys(("rt_sigqueueinfo", "rt_tgsigqueueinfo"), signalled),
        **dict.fromkeys(("prlimit64", "migrate_pages", "move_pages"), own),
        **dict.fromkeys(("sched_setaffinity", "sched_setparam", "sched_setscheduler"), own),
        "sched_setattr": own,
        "setpriority": Rule(REFUSED, (myself,)),
        "ioprio_set": Rule(REFUSED, (mine,)),
        "prctl": _only(0, *_PRCTL),
        "personality": _only(0, _QUERY),
    }


def _of_sockets(jail: Jail) -> dict[str, Rule]:
    # A pair of datagram sockets could send to any other by name, such as the system's log.
    kinds = Test(1, (_STREAM, _SEQPACKET), _KIND_OF_SOCKET)
    found = {"socketpair": Rule(REFUSED, (Clause(ALLOW, (Test(0, (_UNIX,)), kinds)),))}
    if jail.network:
        internet = Clause(ALLOW, (Test(0, (_INET, _INET6)),))
        # The resolver asks for this machine's addresses.
        routes = Clause(ALLOW, (Test(0, (_NETLINK,)), Test(2, (0,))))
        found["socket"] = Rule(REFUSED, (internet, routes))
        found["sendto"] = Rule(ALLOW)
    else:
        nowhere = (Test(4, (0,)), Test(4, (0,), high=True))
        found["socket"] = Rule(REFUSED)
        found["sendto"] = Rule(REFUSED, (Clause(ALLOW, nowhere),))
    return found


def _of_files(jail: Jail, setting: Setting) -> dict[str, Rule]:
    regular = (0, 0o100000)
    found = {
        "mknod": _only(1, *regular, mask=0o170000),
        "mknodat": _only(2, *regular, mask=0o170000),
        "fcntl": Rule(ALLOW, (Clause(REFUSED, (Test(1, _FCNTL),)),)),
        "ioctl": ioctls.rule(jail.gpu),
    }
    if setting.abi < 3:
        # Before that Landlock lets a file be shortened that may only be read.
        found["truncate"] = Rule(REFUSED)
        found["openat2"] = Rule(ABSENT)
        for name, argument in (("open", 1), ("openat", 2)):
            emptied = Test(argument, (_TRUNCATING,), _TRUNCATING | _ANY_WAY)
            found[name] = Rule(ALLOW, (Clause(REFUSED, (emptied,)),))
    return found
