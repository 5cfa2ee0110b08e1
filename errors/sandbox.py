"""Texts for node packs that run in sandboxes."""

from __future__ import annotations

from .bilingual import Bilingual

TEXTS = {
    "ZI-SANDBOX-POLICY": Bilingual(
        '无法使用 {path}：{found}。请改正该文件；在此之前按 mode = "strict" 处理，'
        "其他节点包都不会在 ComfyUI 进程内运行。",
        '{path} cannot be used: {found}. Correct the file. Until then mode is "strict": no other '
        "node pack runs in ComfyUI's process.",
    ),
    "ZI-SANDBOX-START": Bilingual(
        "沙箱的工作进程没有启动：{found}。请查看日志中在此之前的 [sandboxes] 行。",
        "The worker process of the sandbox did not start: {found}. See the lines with [sandboxes] "
        "before this one in the log.",
    ),
    "ZI-SANDBOX-IMPORT": Bilingual(
        "节点包 {pack} 无法在沙箱中导入（{found}）。它的节点没有加载，其他节点包不受影响。",
        "The node pack {pack} cannot be imported in its sandbox ({found}). Its nodes are not "
        "loaded. Other packs are not affected.\n{tail}",
    ),
    "ZI-SANDBOX-LIBRARY": Bilingual(
        "节点包 {pack} 需要 Python 库 {found}，但没有安装。请在 ComfyUI 的环境中运行 {command}"
        "（库的安装名可能与模块名不同，以节点包的说明为准），然后重新启动 ComfyUI。",
        "The node pack {pack} needs the Python library {found}, which is not installed. Run "
        "{command} in ComfyUI's environment, then restart ComfyUI. The library's name for pip can "
        "differ from the module's name; see the README of the pack.",
    ),
    "ZI-SANDBOX-HOST": Bilingual(
        "节点包 {pack} 改动了 ComfyUI 本身（{found}），这在沙箱中不会生效。"
        'mode = "auto" 时它在 ComfyUI 进程内运行；mode = "strict" 时不加载。',
        "The node pack {pack} changes ComfyUI itself ({found}), which has no effect from a "
        'sandbox. With mode = "auto" it runs in ComfyUI\'s process; with mode = "strict" it is not '
        "loaded.",
    ),
    "ZI-SANDBOX-ABSURD": Bilingual(
        "节点包 {pack} 的节点描述不合理（{found}），没有加载。请更新或移除该节点包。",
        "The description of the node pack {pack} is not plausible ({found}), so the pack is not "
        "loaded. Update or remove it.",
    ),
    "ZI-SANDBOX-NAME": Bilingual(
        "节点包 {pack} 的以下节点与已有节点重名，没有加载：{found}。该节点包的其他节点不受影响。",
        "These nodes of the node pack {pack} are not loaded, since other nodes have their names: "
        "{found}. The other nodes of the pack are loaded.",
    ),
    "ZI-SANDBOX-NODE": Bilingual(
        "节点包 {pack} 的以下节点没有有效的描述，没有加载：{found}。该节点包的其他节点不受影响。",
        "These nodes of the node pack {pack} have no valid description and are not loaded: "
        "{found}. The other nodes of the pack are loaded.",
    ),
    "ZI-SANDBOX-FOLDER": Bilingual(
        "节点包 {pack} 要把 {found} 登记为模型文件夹，但它不在模型、输入、输出文件夹中，"
        "也不在节点包自己的文件夹中，因此没有登记。"
        "请把模型放到 ComfyUI 的 models 文件夹，或在 extra_model_paths.yaml 中登记该文件夹。",
        "The node pack {pack} registers {found} as a folder for models. It is not registered, "
        "since it is neither in the folders for models, input and output nor in the pack. Move the "
        "models to ComfyUI's models folder, or add the folder to extra_model_paths.yaml.",
    ),
    "ZI-SANDBOX-BLOCKED": Bilingual(
        "sandbox.toml 禁用了节点包 {pack}，没有加载。",
        "The node pack {pack} is blocked by sandbox.toml and not loaded.",
    ),
    "ZI-SANDBOX-QUARANTINE": Bilingual(
        "节点包 {pack} 的工作进程在 5 分钟内终止了 3 次（最后一次：{found}），已被隔离。"
        "请更新或移除它，然后在侧边栏的 Z-Image 面板中解除隔离。",
        "The worker process of the node pack {pack} ended 3 times in 5 minutes (last: {found}). "
        "The pack is in quarantine. Update or remove it, then lift the quarantine in the Z-Image "
        "panel of the sidebar.",
    ),
    "ZI-SANDBOX-DIED": Bilingual(
        "节点 {node} 运行时，节点包 {pack} 的工作进程终止了（{found}）。"
        "ComfyUI 不受影响，工作进程会自动重启。",
        "The worker process of the node pack {pack} ended while the node {node} ran ({found}). "
        "ComfyUI is not affected, and the worker process restarts automatically. Its last output:\n"
        "{tail}",
    ),
    "ZI-SANDBOX-VALUE": Bilingual(
        "节点 {node}（节点包 {pack}）的一个值无法在沙箱与 ComfyUI 之间传递：{found}。",
        "A value of the node {node} (node pack {pack}) cannot be transferred between its sandbox "
        "and ComfyUI: {found}.",
    ),
    "ZI-SANDBOX-MEMORY": Bilingual(
        "节点 {node}（节点包 {pack}）内存不足：{found}。可以在 sandbox.toml 中提高 memory。",
        "The node {node} (node pack {pack}) ran out of memory: {found}. Raise memory in "
        "sandbox.toml.",
    ),
    "ZI-SANDBOX-RAISED": Bilingual(
        "节点 {node}（节点包 {pack}）出错：{found}",
        "The node {node} (node pack {pack}) failed: {found}",
    ),
    "ZI-SANDBOX-WEB": Bilingual(
        "节点包 {pack} 要向网页提供 {found}，但它不在节点包自己的文件夹内，"
        "或者该名称已被占用，因此没有提供。",
        "The node pack {pack} wants to serve {found} to the page. It is not served, since it is "
        "outside of the pack's folder or its name is in use.",
    ),
    "ZI-SANDBOX-LINK": Bilingual(
        "节点包中有指向外部的链接（{found}），ComfyUI 会把链接指向的文件发给网页，"
        "因此拒绝了该请求。请删除该链接或节点包。",
        "A node pack has links to files outside of it ({found}), which ComfyUI would send to the "
        "page, so the request is refused. Remove the links or the pack.",
    ),
    "ZI-SANDBOX-UNKNOWN": Bilingual(
        "没有名为 {found} 的沙箱。现有：{expected}。",
        "There is no sandbox named {found}. Existing ones: {expected}.",
    ),
    "ZI-SANDBOX-RELOAD": Bilingual(
        "没有重新读取 {path}：{found}。请改正该文件；在此之前，原来的规则继续有效。",
        "{path} was not read again: {found}. Correct the file. Until then the earlier rules stay "
        "in force.",
    ),
    "ZI-SANDBOX-NO-LANDLOCK": Bilingual(
        "本机内核没有可用的 Landlock（{found}），沙箱中的节点包可以读写运行 ComfyUI 的用户的"
        "所有文件。"
        "请使用 Linux 5.13 或更新的内核，并在内核参数 lsm= 中包含 landlock；"
        "在容器中，seccomp 配置需允许 landlock_* 系统调用。",
        "The kernel of this machine has no Landlock ({found}): node packs in sandboxes can read "
        "and write all files of the user that runs ComfyUI. Use Linux 5.13 or later, with landlock "
        "in the kernel parameter lsm=. In a container, the seccomp profile has to allow the "
        "landlock_* system calls.",
    ),
    "ZI-SANDBOX-NO-SECCOMP": Bilingual(
        "本机（{found}）没有可用的 seccomp 过滤器，沙箱中的节点包可以使用网络并运行程序。"
        "请在 x86_64 或 aarch64 上使用启用了 CONFIG_SECCOMP_FILTER 的内核。",
        "This machine ({found}) has no seccomp filters: node packs in sandboxes can use the "
        "network and start programs. Use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64.",
    ),
    "ZI-SANDBOX-NO-LINUX": Bilingual(
        "只有 Linux 能限制沙箱中的节点包，本机是 {found}。请在 Linux 或 WSL 2 中运行 ComfyUI。",
        "Only Linux can confine node packs in sandboxes; this machine runs {found}. Run ComfyUI on "
        "Linux or in WSL 2.",
    ),
    "ZI-SANDBOX-PROBE": Bilingual(
        "无法检测本机能否限制沙箱中的节点包：{found}。请完整地重新安装 Z-Image-ComfyUI，"
        "然后再次运行 ./zimage doctor。",
        "Whether this machine can confine node packs in sandboxes cannot be determined: {found}. "
        "Install Z-Image-ComfyUI again, with all its files, then run ./zimage doctor again.",
    ),
    "ZI-SANDBOX-UNFIT": Bilingual(
        "沙箱不适用于此版本的 ComfyUI：{found}。其他节点包{what}。"
        "请更新 Z-Image-ComfyUI 或 ComfyUI。",
        "Sandboxes do not work with this version of ComfyUI: {found}. Other node packs {what}. "
        "Update Z-Image-ComfyUI or ComfyUI.",
    ),
    "ZI-SANDBOX-ROUTE-NONE": Bilingual(
        "节点包 {pack} 没有 {found} 这个接口。现有：{expected}。",
        "The node pack {pack} has no route {found}. Existing ones: {expected}.",
    ),
    "ZI-SANDBOX-ROUTE-SOCKET": Bilingual(
        "节点包 {pack} 在沙箱中运行，它的接口不能使用 WebSocket。"
        '如果信任该节点包，请在 sandbox.toml 中设置 run = "trusted"。',
        "The node pack {pack} runs in a sandbox, where routes cannot use WebSocket. If you trust "
        'the pack, set run = "trusted" in sandbox.toml.',
    ),
    "ZI-SANDBOX-ROUTE-STREAM": Bilingual(
        "节点包 {pack} 的响应是没有结尾的数据流（{found}），无法从沙箱中传出。"
        '如果信任该节点包，请在 sandbox.toml 中设置 run = "trusted"。',
        "A response of the node pack {pack} is a stream without an end ({found}), which a sandbox "
        'cannot send. If you trust the pack, set run = "trusted" in sandbox.toml.',
    ),
    "ZI-SANDBOX-ROUTE-BUSY": Bilingual(
        "节点包 {pack} 已有 {found} 个请求在等待响应。请稍后再试。",
        "{found} requests already wait for a response of the node pack {pack}. Try again later.",
    ),
    "ZI-SANDBOX-ROUTE-SLOW": Bilingual(
        "节点包 {pack} 在 {found:g} 秒内没有响应 {route}。可以在 sandbox.toml 中提高 call_seconds"
        "（最多 300）。",
        "The node pack {pack} did not respond to {route} within {found:g} s. Raise call_seconds in "
        "sandbox.toml (at most 300).",
    ),
    "ZI-SANDBOX-ROUTE-DIED": Bilingual(
        "处理 {route} 时，节点包 {pack} 的工作进程终止了（{found}）。"
        "ComfyUI 不受影响，工作进程会自动重启。",
        "The worker process of the node pack {pack} ended while it handled {route} ({found}). "
        "ComfyUI is not affected, and the worker process restarts automatically.",
    ),
    "ZI-SANDBOX-ROUTE-RAISED": Bilingual(
        "节点包 {pack} 处理 {route} 时出错：{found}。详情见日志。",
        "The node pack {pack} failed while it handled {route}: {found}. See the log for details.",
    ),
    "ZI-SANDBOX-ROUTE-ANSWER": Bilingual(
        "节点包 {pack} 的响应无法使用（{found}）。应为：状态码 200–599，最多 64 个响应头，"
        "最多 64 MiB 内容。",
        "A response of the node pack {pack} cannot be used ({found}). Expected: a status of 200 to "
        "599, at most 64 headers, and at most 64 MiB.",
    ),
}
