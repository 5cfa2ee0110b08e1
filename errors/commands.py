"""The command line and what it needs of the machine."""

from __future__ import annotations

from .bilingual import Bilingual

TEXTS = {
    "ZI-ENV-HOME": Bilingual(
        "无法写入状态目录 {path}：{found}。请检查权限，或用 ZIMAGE_HOME 指定一个可写的目录。",
        "Cannot write to the state folder {path}: {found}. Fix its permissions, or set ZIMAGE_HOME "
        "to a writable folder.",
    ),
    "ZI-ENV-SPACE": Bilingual(
        "{path} 所在磁盘只剩 {found} GB，需要 {expected} GB。"
        "请清理磁盘，或用 ZIMAGE_HOME 指定别的磁盘。",
        "The disk of {path} has {found} GB free; {expected} GB are needed. Free some space, or set "
        "ZIMAGE_HOME to a folder on another disk.",
    ),
    "ZI-ENV-VENV": Bilingual(
        "这个 Python {found} 没有 pip，也没有 venv 模块。"
        "请安装后重试：sudo apt install python3-venv",
        "This Python {found} has neither pip nor the venv module. Install it and try again: "
        "sudo apt install python3-venv",
    ),
    "ZI-ENV-NETWORK": Bilingual(
        "无法连接软件包源。请检查网络、代理或 pip 的镜像设置，然后重新运行；已下载的部分会保留。",
        "Cannot reach the package index. Check the network, the proxy and pip's mirror setting, "
        "then run this again. Finished downloads are reused.",
    ),
    "ZI-ENV-HASH": Bilingual(
        "下载的文件与 requirements.lock 中的哈希不符，未安装。请更换软件包源后重新运行。",
        "The hash of a downloaded file differs from requirements.lock, so nothing was installed. "
        "Use another package index, then run this again.",
    ),
    "ZI-ENV-INSTALL": Bilingual(
        "安装依赖失败：{found}。请按上面的信息处理，然后重新运行。",
        "Installation failed: {found}. Follow the messages above, then run this again.",
    ),
    "ZI-HOST-MISSING": Bilingual(
        "{path} 不是 ComfyUI 文件夹（缺少 {found}）。请指定包含 main.py 的 ComfyUI 目录。",
        "{path} is not a ComfyUI folder ({found} is missing). Give the ComfyUI folder that "
        "contains main.py.",
    ),
    "ZI-HOST-START": Bilingual(
        "ComfyUI 启动失败：{found}。完整日志：{path}",
        "ComfyUI did not start: {found}. Full log: {path}",
    ),
    "ZI-HOST-OLD": Bilingual(
        "{path} 的 ComfyUI 版本是 {found}，Z-Image 需要 {expected} 或更新。请更新 ComfyUI。",
        "The ComfyUI in {path} is version {found}; Z-Image needs {expected} or newer. "
        "Update ComfyUI.",
    ),
    "ZI-HOST-PACK": Bilingual(
        "{path} 里没有本节点包。./zimage serve 会自动加载它，直接启动 ComfyUI 则不会；"
        "如需直接启动，请把 {found} 复制或链接到该文件夹。",
        "This pack is not in {path}. ./zimage serve loads it anyway, but ComfyUI started by "
        "itself does not. To load it there too, copy or link {found} into that folder.",
    ),
    "ZI-TORCH": Bilingual(
        "ComfyUI 所用的 Python 无法导入 torch：{found}。请按 ComfyUI 的说明重新安装 torch。",
        "The Python of this ComfyUI cannot import torch: {found}. Reinstall torch as "
        "ComfyUI's instructions describe.",
    ),
    "ZI-SERVER-FOREIGN": Bilingual(
        "{path} 的服务器没有加载本节点包的加固。"
        "请用 ./zimage serve 启动，或把本节点包放进它的 custom_nodes；检查其他地址请用 --server。",
        "The server at {path} does not have the hardening of this pack. Start it with ./zimage "
        "serve, or put this pack into its custom_nodes. To check another address, use --server.",
    ),
    "ZI-SERVER-UNREADY": Bilingual(
        "{path} 的服务器暂时无法执行任务：{found}。详见 {path}/health。",
        "The server at {path} cannot run prompts now: {found}. See {path}/health.",
    ),
    "ZI-GPU-UNUSED": Bilingual(
        "本机有显卡（驱动支持 CUDA {found}），但 torch 无法使用，因此改用 CPU。"
        "请把显卡驱动更新到支持 CUDA 13 的版本（580 或更新）。",
        "torch cannot use the GPU of this machine (its driver supports CUDA {found}), so the CPU "
        "is used. Update the driver to one that supports CUDA 13 (580 or newer).",
    ),
    "ZI-MODELS-NONE": Bilingual(
        "没有可用的 {kind} 文件。请把 .safetensors 放进 {folder}。",
        "No usable {kind} file was found. Put a .safetensors file into {folder}.",
    ),
    "ZI-PORT-USED": Bilingual(
        "端口 {found} 已被占用。请用 --port 换一个端口，或先停止占用它的程序。",
        "Port {found} is in use. Choose another one with --port, or stop the program that uses it.",
    ),
    "ZI-GUARDIAN-TAKEN": Bilingual(
        "此端口已有守护进程（{path}）。请用 --port 换一个端口，或先停止它。",
        "A guardian already uses this port ({path}). Choose another one with --port, or stop "
        "that guardian first.",
    ),
    "ZI-ADDRESS": Bilingual(
        "无法在 {found} 上监听：{reason}。请用 --host 指定本机的地址。",
        "Cannot listen on {found}: {reason}. Give an address of this machine with --host.",
    ),
    "ZI-TEMPLATE-UNKNOWN": Bilingual(
        "没有名为“{found}”的模板。{hint}可用的模板：{expected}",
        'There is no template "{found}". {hint}Templates: {expected}',
    ),
    "ZI-BENCH-UNKNOWN": Bilingual(
        "没有名为“{found}”的性能测试。可用的：{expected}",
        'There is no benchmark "{found}". Benchmarks: {expected}',
    ),
    "ZI-CHECK-UNKNOWN": Bilingual(
        "没有名为“{found}”的检查。可用的：{expected}",
        'There is no check "{found}". Checks: {expected}',
    ),
    "ZI-DRILL-UNKNOWN": Bilingual(
        "没有名为“{found}”的故障。可用的：{expected}",
        'There is no fault "{found}". Faults: {expected}',
    ),
    "ZI-TRAIN-ENCODERS": Bilingual(
        "--clip 和 --bert 必须同时指定：适配器要与两个编码器一起训练。"
        "两个都不指定时训练小编码器，并覆盖 --out 里的文件。",
        "Give both --clip and --bert: an adapter is trained with two encoders. Without both, small "
        "encoders are trained, and their files in --out are overwritten.",
    ),
    "ZI-TRAIN-PROMPTS": Bilingual(
        "{path} 里只有 {found} 条不同的提示词，至少需要 4 条。每行写一条。",
        "{path} contains {found} different prompts; at least 4 are needed. Write one per line.",
    ),
    "ZI-OBJECT-INFO": Bilingual(
        "无法从 {path} 读取节点信息：{found}。请指定保存了 /object_info 响应的文件，"
        "或正在运行的 ComfyUI 的地址。",
        "Cannot read node classes from {path}: {found}. Give a file that contains the response of "
        "/object_info, or the address of a running ComfyUI.",
    ),
    "ZI-RUN-FAILED": Bilingual(
        "ComfyUI 执行任务失败：{found}",
        "ComfyUI failed to run the prompt: {found}",
    ),
    "ZI-TOOL-MISSING": Bilingual(
        "缺少 {found}。请安装后重试：{expected}",
        "{found} is missing. Install it and try again: {expected}",
    ),
}
