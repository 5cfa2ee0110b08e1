"""Every error code of the pack, in Chinese and English.

An error says what was found, what was expected and what to do. Codes are stable: clients may
match on them, so a code is never given another meaning. Placeholders in braces are filled from
the keyword arguments of :class:`ZImageError`.
"""

from __future__ import annotations

CATALOGUE: dict[str, tuple[str, str]] = {
    # --- files and checkpoints -------------------------------------------------------------
    "ZI-FILE-MISSING": (
        "找不到文件 {path}。请检查名称，或把文件放进 {folder}。",
        "File {path} was not found. Check the name, or put the file into {folder}.",
    ),
    "ZI-FILE-PICKLE": (
        "{path} 是 pickle 格式的检查点，里面可以夹带代码，因此不会被打开。"
        "请改用 .safetensors 文件。",
        "{path} is a pickle checkpoint, which can carry code, so it is not opened. "
        "Use a .safetensors file.",
    ),
    "ZI-FILE-CORRUPT": (
        "{path} 不是完好的 safetensors 文件：{found}。应为：{expected}。请重新下载该文件。",
        "{path} is not an intact safetensors file: {found}. Expected: {expected}. "
        "Download the file again.",
    ),
    "ZI-MODEL-KIND": (
        "{path} 不是{expected_zh}：{found}。请选择正确的文件。",
        "{path} is not {expected_en}: {found}. Choose the right file.",
    ),
    "ZI-MODEL-KEYS": (
        "{path} 的权重与 Z-Image 结构不符：{found}；应为 {expected}。"
        "文件可能不完整或属于别的模型。",
        "The weights in {path} do not fit the Z-Image architecture: found {found}; expected "
        "{expected}. The file may be incomplete or of another model.",
    ),
    "ZI-TEXT-WIDTH": (
        "文本编码器输出宽度为 {found}，而扩散模型需要 {expected}。请选择与模型配套的文本编码器。",
        "The text encoder is {found} wide, but the diffusion model needs {expected}. "
        "Choose the text encoder that belongs to the model.",
    ),
    # --- sizes and sampling ------------------------------------------------------------------
    "ZI-SIZE": (
        "图像尺寸 {found} 无效。宽和高都应是 16 的倍数，且在 {minimum} 到 {maximum} 之间。",
        "Image size {found} cannot be used. Width and height must be multiples of 16 between "
        "{minimum} and {maximum}.",
    ),
    "ZI-BATCH": (
        "批量大小 {found} 无效，应在 1 到 {maximum} 之间。",
        "Batch size {found} cannot be used; it must be between 1 and {maximum}.",
    ),
    "ZI-STEPS": (
        "步数 {found} 无效。请填 1 到 {maximum}，或填 -1 使用预设（{preset} 步）。",
        "{found} steps cannot be used. Give 1 to {maximum}, or -1 for the preset ({preset}).",
    ),
    "ZI-VALUE": (
        "{name} = {found} 无效，应为 {expected}。",
        "{name} = {found} cannot be used; expected {expected}.",
    ),
    # --- output ------------------------------------------------------------------------------
    "ZI-OUTPUT": (
        "无法写入 {path}：{found}。请检查文件夹权限和磁盘空间。",
        "Could not write {path}: {found}. Check the folder's permissions and the disk space.",
    ),
    # --- command line --------------------------------------------------------------------------
    "ZI-ENV-HOME": (
        "无法写入状态目录 {path}：{found}。请改正权限，或用 ZIMAGE_HOME 指定一个可写的目录。",
        "The state folder {path} cannot be written: {found}. Mend its permissions, or name a "
        "writable folder in ZIMAGE_HOME.",
    ),
    "ZI-ENV-SPACE": (
        "{path} 所在磁盘只剩 {found} GB，需要 {expected} GB。"
        "请清理磁盘，或用 ZIMAGE_HOME 指定别的磁盘。",
        "The disk of {path} has {found} GB free, {expected} GB are needed. Make room, or name a "
        "folder on another disk in ZIMAGE_HOME.",
    ),
    "ZI-ENV-VENV": (
        "这个 Python {found} 没有 pip，也没有 venv 模块。"
        "请安装后重试：sudo apt install python3-venv",
        "This Python {found} has neither pip nor the venv module. Install it and try again: "
        "sudo apt install python3-venv",
    ),
    "ZI-ENV-NETWORK": (
        "无法连接软件包源。请检查网络、代理或 pip 的镜像设置，然后重新运行；已下载的部分会保留。",
        "The package index cannot be reached. Check the network, the proxy or pip's mirror "
        "setting, then run this again; what was downloaded is kept.",
    ),
    "ZI-ENV-HASH": (
        "下载的文件与 requirements.lock 中的哈希不符，没有安装。请换一个软件包源后重新运行。",
        "A downloaded file does not have the hash that requirements.lock names, so it was not "
        "installed. Use another package index, then run this again.",
    ),
    "ZI-ENV-INSTALL": (
        "安装依赖失败：{found}。请按上面的信息处理，然后重新运行。",
        "Installing failed: {found}. Act on the messages above, then run this again.",
    ),
    "ZI-HOST-MISSING": (
        "{path} 不是 ComfyUI 文件夹（缺少 {found}）。请给出含有 main.py 的 ComfyUI 目录。",
        "{path} is not a ComfyUI folder ({found} is missing). Give the ComfyUI folder that holds "
        "main.py.",
    ),
    "ZI-HOST-START": (
        "ComfyUI 没有启动：{found}。完整日志：{path}",
        "ComfyUI did not start: {found}. Full log: {path}",
    ),
    "ZI-HOST-OLD": (
        "{path} 的 ComfyUI 版本是 {found}，Z-Image 需要 {expected} 或更新。请更新 ComfyUI。",
        "The ComfyUI in {path} is version {found}; Z-Image needs {expected} or newer. "
        "Update ComfyUI.",
    ),
    "ZI-HOST-PACK": (
        "{path} 里没有本节点包；./zimage serve 会自动加载它，直接启动 ComfyUI 则不会。"
        "如需后者，请把 {found} 放进或链接到该文件夹。",
        "This pack is not in {path}: ./zimage serve loads it all the same, starting ComfyUI "
        "directly does not. For that, put or link {found} there.",
    ),
    "ZI-TORCH": (
        "ComfyUI 所用的 Python 无法导入 torch：{found}。请按 ComfyUI 的说明重新安装 torch。",
        "The Python of this ComfyUI cannot import torch: {found}. Install torch again as "
        "ComfyUI's own instructions say.",
    ),
    "ZI-GPU-UNUSED": (
        "本机有显卡（驱动支持 CUDA {found}），但 torch 用不了它，因此用 CPU。"
        "请把显卡驱动更新到支持 CUDA 13（580 或更新）。",
        "This machine has a GPU (driver for CUDA {found}) that torch cannot use, so the CPU is "
        "used. Update the driver to one for CUDA 13 (580 or newer).",
    ),
    "ZI-MODELS-NONE": (
        "没有可用的 {kind} 文件。请把 .safetensors 放进 {folder}。",
        "There is no {kind} file. Put a .safetensors file into {folder}.",
    ),
    "ZI-PORT-USED": (
        "端口 {found} 已被占用。请用 --port 换一个端口，或先停止占用它的程序。",
        "Port {found} is in use. Choose another one with --port, or stop the program that has it.",
    ),
    "ZI-ADDRESS": (
        "无法在 {found} 上监听：{reason}。请用 --host 给出本机的地址。",
        "Cannot listen on {found}: {reason}. Give an address of this machine with --host.",
    ),
    "ZI-TEMPLATE-UNKNOWN": (
        "没有名为“{found}”的模板。可用的模板：{expected}",
        'There is no template "{found}". Templates: {expected}',
    ),
    "ZI-BENCH-UNKNOWN": (
        "没有名为“{found}”的性能测试。可用的：{expected}",
        'There is no benchmark "{found}". Benchmarks: {expected}',
    ),
    "ZI-RUN-FAILED": (
        "ComfyUI 没有完成任务：{found}",
        "ComfyUI did not finish the job: {found}",
    ),
    "ZI-TOOL-MISSING": (
        "缺少 {found}。请安装后重试：{expected}",
        "{found} is missing. Install it and try again: {expected}",
    ),
}


class ZImageError(Exception):
    """An error with a stable code, told in Chinese and English.

    Args:
        code: a key of :data:`CATALOGUE`; an unknown code is a programming error (``KeyError``).
        found: values for the placeholders of the catalogue text.

    ``str(error)`` is one line, ``[CODE] 中文 / English``, which is what ComfyUI shows in the page
    and stores in ``/history``.
    """

    def __init__(self, code: str, **found: object) -> None:
        chinese, english = CATALOGUE[code]
        self.code = code
        self.found = found
        self.chinese = chinese.format(**found)
        self.english = english.format(**found)
        super().__init__(f"[{code}] {self.chinese} / {self.english}")
