"""Packs that run in processes of their own."""

TEXTS: dict[str, tuple[str, str]] = {
    "ZI-SANDBOX-POLICY": (
        '无法使用 {path}：{found}。在改正之前按 mode = "strict" 处理，'
        "其他扩展包都不会在 ComfyUI 进程内运行。",
        '{path} cannot be used: {found}. Until it is mended, mode = "strict" holds: no other '
        "pack runs in ComfyUI's process.",
    ),
    "ZI-SANDBOX-START": (
        "沙箱进程没有启动：{found}。请查看日志中前面的 [sandboxes] 行。",
        "The sandbox did not start: {found}. See the lines with [sandboxes] before this one in "
        "the log.",
    ),
    "ZI-SANDBOX-IMPORT": (
        "扩展包 {pack} 无法在沙箱中导入（{found}）。它的节点没有加载，其他扩展包不受影响。",
        "The pack {pack} cannot be imported in its sandbox ({found}). Its nodes are not loaded; "
        "other packs are.\n{tail}",
    ),
    "ZI-SANDBOX-LIBRARY": (
        "扩展包 {pack} 需要 Python 库 {found}，但没有安装。请在 ComfyUI 的环境中运行 "
        "pip install -r custom_nodes/{pack}/requirements.txt，然后重新启动。",
        "The pack {pack} needs the Python library {found}, which is not installed. Run "
        "pip install -r custom_nodes/{pack}/requirements.txt in ComfyUI's environment, then "
        "start again.",
    ),
    "ZI-SANDBOX-HOST": (
        "扩展包 {pack} 改动了 ComfyUI 本身（{found}），在沙箱中不会生效。"
        'mode = "auto" 时它在 ComfyUI 进程内运行；mode = "strict" 时不加载。',
        "The pack {pack} changes ComfyUI itself ({found}), which has no effect from a sandbox. "
        'With mode = "auto" it runs in ComfyUI\'s process; with mode = "strict" it is not '
        "loaded.",
    ),
    "ZI-SANDBOX-ABSURD": (
        "扩展包 {pack} 的说明不合理（{found}），没有加载。",
        "What the pack {pack} says of itself is absurd ({found}); it is not loaded.",
    ),
    "ZI-SANDBOX-BLOCKED": (
        "扩展包 {pack} 被 sandbox.toml 禁止，没有加载。",
        "The pack {pack} is blocked by sandbox.toml and not loaded.",
    ),
    "ZI-SANDBOX-QUARANTINE": (
        "扩展包 {pack} 的沙箱在 5 分钟内结束了 3 次（最后一次：{found}），已被隔离。"
        "请更新或移除它，然后在侧边栏的 Z-Image 面板中解除隔离。",
        "The sandbox of the pack {pack} ended 3 times in 5 minutes (last: {found}) and is "
        "quarantined. Update or remove the pack, then lift the quarantine in the Z-Image panel of "
        "the sidebar.",
    ),
    "ZI-SANDBOX-DIED": (
        "节点 {node} 运行时，扩展包 {pack} 的沙箱结束了（{found}）。"
        "ComfyUI 不受影响，沙箱会自动重启。",
        "While the node {node} was running, the sandbox of the pack {pack} ended ({found}). "
        "ComfyUI goes on, and the sandbox starts again by itself. The last that it printed:\n"
        "{tail}",
    ),
    "ZI-SANDBOX-VALUE": (
        "节点 {node}（扩展包 {pack}）的一个值无法进出沙箱：{found}。",
        "A value of the node {node} (pack {pack}) cannot enter or leave its sandbox: {found}.",
    ),
    "ZI-SANDBOX-MEMORY": (
        "节点 {node}（扩展包 {pack}）的内存不足：{found}。可以在 sandbox.toml 中提高 memory。",
        "The node {node} (pack {pack}) ran out of memory: {found}. Raise memory in sandbox.toml.",
    ),
    "ZI-SANDBOX-RAISED": (
        "节点 {node}（扩展包 {pack}）出错：{found}",
        "The node {node} (pack {pack}) failed: {found}",
    ),
}
