"""The command line and what it needs of the machine."""

TEXTS: dict[str, tuple[str, str]] = {
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
    "ZI-SERVER-FOREIGN": (
        "{path} 有服务器在运行，但它没有加载本节点包的加固。"
        "请用 ./zimage serve 启动，或把本节点包放进它的 custom_nodes；另一个地址请用 --server。",
        "A server runs at {path}, without the hardening of this pack. Start it with ./zimage "
        "serve, or put this pack into its custom_nodes; --server names another address.",
    ),
    "ZI-SERVER-UNREADY": (
        "{path} 的服务器现在不会执行任务：{found}。详见 {path}/health。",
        "The server at {path} would not run a prompt now: {found}. See {path}/health.",
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
    "ZI-GUARDIAN-TAKEN": (
        "这个端口已有看护进程（{path}）。请用 --port 换一个端口，或先停止它。",
        "A guardian already has this port ({path}). Choose another one with --port, or stop it "
        "first.",
    ),
    "ZI-ADDRESS": (
        "无法在 {found} 上监听：{reason}。请用 --host 给出本机的地址。",
        "Cannot listen on {found}: {reason}. Give an address of this machine with --host.",
    ),
    "ZI-TEMPLATE-UNKNOWN": (
        "没有名为“{found}”的模板。{zh}可用的模板：{expected}",
        'There is no template "{found}". {en}Templates: {expected}',
    ),
    "ZI-BENCH-UNKNOWN": (
        "没有名为“{found}”的性能测试。可用的：{expected}",
        'There is no benchmark "{found}". Benchmarks: {expected}',
    ),
    "ZI-CHECK-UNKNOWN": (
        "没有名为“{found}”的检查。可用的：{expected}",
        'There is no check "{found}". Checks: {expected}',
    ),
    "ZI-DRILL-UNKNOWN": (
        "没有名为“{found}”的故障。可用的：{expected}",
        'There is no fault "{found}". Faults: {expected}',
    ),
    "ZI-TRAIN-ENCODERS": (
        "--clip 和 --bert 必须同时给出：适配器要与两个编码器一起训练。"
        "两个都不给，则训练小编码器，并重写 --out 里的文件。",
        "--clip and --bert are both needed: an adapter is trained with both encoders. Without "
        "either, small encoders are trained and their files in --out written anew.",
    ),
    "ZI-TRAIN-PROMPTS": (
        "{path} 里只有 {found} 条不同的提示词，至少需要 4 条。每行写一条。",
        "{path} holds {found} different prompts, at least 4 are needed. Write one on each line.",
    ),
    "ZI-OBJECT-INFO": (
        "无法从 {path} 读取节点信息：{found}。请给出保存了 /object_info 内容的文件，"
        "或正在运行的 ComfyUI 的地址。",
        "Node classes could not be read from {path}: {found}. Give a file that holds the answer of "
        "/object_info, or the address of a running ComfyUI.",
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
