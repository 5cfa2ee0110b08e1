"""Every text of the guardian's log, in Chinese and English."""

from __future__ import annotations

import signal

from ..errors.bilingual import Bilingual
from .mode import Mode

EVENTS = {
    "start": Bilingual("正在守护端口 {port}", "guarding port {port}"),
    "stop": Bilingual(
        "{signal}：正在有序停止；再次收到信号则立即结束",
        "{signal}: stopping in order; a second signal stops at once",
    ),
    "connect": Bilingual(
        "无法接受服务器的连接：{error}", "cannot accept the connection of a server: {error}"
    ),
    "adopt": Bilingual("找到正在运行的服务器", "found a running server"),
    "ready": Bilingual("{seconds:.1f} 秒后就绪", "ready after {seconds:.1f} s"),
    "fork": Bilingual("无法启动服务器：{error}", "cannot start a server: {error}"),
    "spawn": Bilingual("正在启动服务器（{mode}）", "starting a server ({mode})"),
    "go": Bilingual("开始提供服务", "serves now"),
    "end": Bilingual("已结束：{status}（{reason}）", "ended: {status} ({reason})"),
    "ran": Bilingual("结束时正在运行的任务：{prompts}", "prompts that were running: {prompts}"),
    "pause": Bilingual(
        "{seconds:.1f} 秒后再次启动（{mode}）", "next start in {seconds:.1f} s, mode {mode}"
    ),
    "kill": Bilingual("将被强制终止：{reason}", "to be killed: {reason}"),
    "replace": Bilingual("将被替换：{reason}", "to be replaced: {reason}"),
    "gpu": Bilingual(
        "GPU 可用显存 {free:.0f} MiB，需要 {needed:.0f} MiB：最多等待 {seconds:.0f} 秒",
        "{free:.0f} MiB of GPU memory are free, {needed:.0f} MiB are needed: "
        "waiting for up to {seconds:.0f} s",
    ),
    "gpu full": Bilingual(
        "GPU 可用显存仍只有 {free:.0f} MiB，不再等待，直接启动；"
        "请用 nvidia-smi 查看哪些进程占用显存",
        "still only {free:.0f} MiB of GPU memory are free, starting anyway; "
        "nvidia-smi shows the processes that use it",
    ),
    "log": Bilingual("无法写入日志 {path}：{error}", "cannot write the log {path}: {error}"),
}
"""Texts by the name of the event, which the journal's field ``ZIMAGE_EVENT`` holds."""

REASONS = {
    "unexpected": Bilingual("意外结束", "unexpected"),
    "outdated": Bilingual("已有更新的服务器", "superseded by a newer server"),
    "late": Bilingual("{reason}；未按时结束", "{reason}; it did not end in time"),
    "unreachable": Bilingual("无法通知它开始服务", "it cannot be told to serve"),
    "stable": Bilingual("已稳定运行，恢复正常模式", "stable again, back to normal mode"),
    "age": Bilingual("已运行 {seconds:.0f} 秒", "age {seconds:.0f} s"),
    "ceiling": Bilingual(
        "内存 {mib:.0f} MiB > {limit:.0f} MiB", "memory {mib:.0f} MiB > {limit:.0f} MiB"
    ),
    "growth": Bilingual(
        "内存在 {seconds:.0f} 秒内增长 {mib:.0f} MiB", "memory +{mib:.0f} MiB in {seconds:.0f} s"
    ),
    "not ready": Bilingual("{seconds:.0f} 秒后仍未就绪", "not ready after {seconds:.0f} s"),
    "no heartbeat": Bilingual("{seconds:.0f} 秒无心跳", "no heartbeat for {seconds:.0f} s"),
    "blocked": Bilingual("事件循环阻塞 {seconds:.0f} 秒", "event loop blocked for {seconds:.0f} s"),
    "gpu": Bilingual("GPU 出错：{error}", "the GPU has failed: {error}"),
    "worker": Bilingual("工作线程已结束 {seconds:.0f} 秒", "its worker ended {seconds:.0f} s ago"),
    "port": Bilingual("端口 {seconds:.0f} 秒无响应", "no response on the port for {seconds:.0f} s"),
}
"""Reasons to end a server."""

MODES = {
    Mode.NORMAL: Bilingual("正常模式", "normal"),
    Mode.SAFE: Bilingual("降级模式", "degraded"),
    Mode.CPU: Bilingual("CPU 模式", "cpu"),
}

EXIT_CODE = Bilingual("退出码 {code}", "exit {code}")
EXIT_UNKNOWN = Bilingual("退出状态未知", "exit status unknown")


def event_text(name: str, **values: object) -> Bilingual:
    """Return the text of an event."""
    return EVENTS[name].format(**values)


def reason_text(name: str, **values: object) -> Bilingual:
    """Return a reason to end a server."""
    return REASONS[name].format(**values)


def reason_from_server(text: str) -> Bilingual:
    """Return a reason that a server gave.

    Args:
        text: ``chinese / english``; any other text is the same in both languages.
    """
    sides = text.split(" / ")
    return Bilingual(*sides) if len(sides) == 2 else Bilingual(text, text)


def signal_name(number: int) -> Bilingual:
    """Return the name of a signal."""
    name = signal.Signals(number).name
    return Bilingual(name, name)


def exit_status(code: int | None) -> Bilingual:
    """Return how a process ended.

    Args:
        code: the return code as :mod:`subprocess` has it, None where it is not known.
    """
    if code is None:
        return EXIT_UNKNOWN
    return EXIT_CODE.format(code=code) if code >= 0 else signal_name(-code)
