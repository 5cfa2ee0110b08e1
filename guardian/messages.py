"""What the guardian tells and why it acts, in Chinese and English."""

from __future__ import annotations

from typing import NamedTuple

TEXTS = {
    "start": ("看护端口 {0}", "guards port {0}"),
    "stop": ("{0}：依次结束；再来一次则立即结束", "{0}: ending in order; once more ends at once"),
    "connect": ("有服务器无法连接：{0}", "a server could not connect: {0}"),
    "adopt": ("找到正在运行的服务器", "found a running server"),
    "ready": ("{0:.1f} 秒后就绪", "ready after {0:.1f} s"),
    "fork": ("无法启动服务器：{0}", "no server could be started: {0}"),
    "spawn": ("正在启动服务器（{0}）", "starting a server ({0})"),
    "go": ("开始服务", "serves now"),
    "end": ("已结束：{0}（{1}）", "ended: {0} ({1})"),
    "ran": ("当时正在运行的任务：{0}", "prompts that were running: {0}"),
    "pause": ("{0:.1f} 秒后再启动，模式 {1}", "next start in {0:.1f} s, mode {1}"),
    "kill": ("将被终止：{0}", "to be killed: {0}"),
    "replace": ("将被替换：{0}", "to be replaced: {0}"),
    "gpu": (
        "GPU 空闲显存 {0:.0f} MiB，少于 {1:.0f} MiB：最多再等 {2:.0f} 秒",
        "{0:.0f} MiB of GPU memory are free, {1:.0f} wanted: waiting for up to {2:.0f} s",
    ),
    "gpu full": (
        "GPU 空闲显存仍只有 {0:.0f} MiB，照常启动；请看 nvidia-smi 中谁在占用",
        "still only {0:.0f} MiB of GPU memory are free, starting all the same; see nvidia-smi",
    ),
}
"""Events, by the name that the journal has them under."""

REASONS = {
    "itself": ("自行结束", "by itself"),
    "newer": ("已有更新的", "superseded"),
    "late": ("{0}；未按时结束", "{0}; it did not end in time"),
    "deaf": ("不听从看护进程", "it does not listen to the guardian"),
    "quiet": ("已恢复平静，回到正常模式", "quiet again, back to normal"),
    "age": ("已运行 {0:.0f} 秒", "age {0:.0f} s"),
    "ceiling": ("内存 {0:.0f} MiB > {1:.0f} MiB", "memory {0:.0f} MiB > {1:.0f} MiB"),
    "growth": ("内存在 {1:.0f} 秒内增长 {0:.0f} MiB", "memory +{0:.0f} MiB in {1:.0f} s"),
    "unready": ("{0:.0f} 秒后仍未就绪", "not ready after {0:.0f} s"),
    "silent": ("{0:.0f} 秒没有动静", "silent for {0:.0f} s"),
    "blocked": ("事件循环阻塞 {0:.0f} 秒", "event loop blocked for {0:.0f} s"),
    "sick": ("GPU 出错：{0}", "the GPU has failed: {0}"),
    "worker": ("执行任务的线程已结束 {0:.0f} 秒", "its worker ended {0:.0f} s ago"),
    "port": ("端口 {0:.0f} 秒没有回答", "no answer on the port for {0:.0f} s"),
}
"""Why a server is ended."""


class Text(NamedTuple):
    """The same in both languages; as ``str``, a line with one after the other."""

    chinese: str
    english: str

    def __str__(self) -> str:
        return f"{self.chinese} / {self.english}"


def event(name: str, *values: object) -> Text:
    """What happens; texts among the values are put in by language."""
    return _filled(TEXTS[name], values)


def reason(name: str, *values: object) -> Text:
    """Why something is done."""
    return _filled(REASONS[name], values)


def heard(reason: str) -> Text | str:
    """A reason that a server has given, by language where it is in both."""
    sides = reason.split(" / ")
    return Text(*sides) if len(sides) == 2 else reason


def _filled(pair: tuple[str, str], values: tuple[object, ...]) -> Text:
    sides = (
        form.format(*(one[side] if isinstance(one, Text) else one for one in values))
        for side, form in enumerate(pair)
    )
    return Text(*sides)
