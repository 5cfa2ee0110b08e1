"""The reasons of the operating system, in Chinese and English."""

from __future__ import annotations

import errno

from .bilingual import Bilingual

_CHINESE = {
    errno.EACCES: "没有权限",
    errno.EADDRINUSE: "端口已被占用",
    errno.EADDRNOTAVAIL: "本机没有这个地址",
    errno.ECONNREFUSED: "连接被拒绝",
    errno.ECONNRESET: "连接被重置",
    errno.EDQUOT: "超出磁盘配额",
    errno.EEXIST: "同名文件或文件夹已存在",
    errno.EIO: "读写出错，磁盘可能有故障",
    errno.EISDIR: "这是一个文件夹",
    errno.ELOOP: "符号链接形成循环",
    errno.EMFILE: "打开的文件过多",
    errno.ENAMETOOLONG: "名称太长",
    errno.ENFILE: "打开的文件过多",
    errno.ENOENT: "文件或文件夹不存在",
    errno.ENOMEM: "内存不足",
    errno.ENOSPC: "磁盘空间已满",
    errno.ENOTDIR: "路径中有一段不是文件夹",
    errno.EPERM: "系统不允许此操作",
    errno.EROFS: "文件系统是只读的",
    errno.ESTALE: "网络文件系统中的文件已失效",
    errno.ETIMEDOUT: "连接超时",
}


def reason(error: OSError) -> Bilingual:
    """Return why a call of the system failed; the English text is the system's own."""
    cause = getattr(error, "reason", None)  # urllib's error contains the system's
    if isinstance(cause, OSError):
        return reason(cause)
    english = error.strerror or str(error) or type(error).__name__
    if not error.errno:  # raised by a library
        return Bilingual(english, english)
    return Bilingual(_CHINESE.get(error.errno, f"系统报告 {english}"), english)
