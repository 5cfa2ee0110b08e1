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
        "扩展包 {pack} 需要 Python 库 {found}，但没有安装。请在 ComfyUI 的环境中运行 {command}"
        "（库的安装名可能与模块名不同，以扩展包的说明为准），然后重新启动。",
        "The pack {pack} needs the Python library {found}, which is not installed. Run {command} "
        "in ComfyUI's environment (what is to be installed may be called otherwise; the pack's "
        "README knows), then start again.",
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
    "ZI-SANDBOX-NAME": (
        "扩展包 {pack} 的这些节点与已有节点重名，没有加载：{found}。这个扩展包的其他节点不受影响。",
        "Nodes of the pack {pack} have names that are taken and are not loaded: {found}. The "
        "pack's other nodes are.",
    ),
    "ZI-SANDBOX-NODE": (
        "扩展包 {pack} 的这些节点无法说明自己，没有加载：{found}。这个扩展包的其他节点不受影响。",
        "Nodes of the pack {pack} cannot describe themselves and are not loaded: {found}. The "
        "pack's other nodes are.",
    ),
    "ZI-SANDBOX-FOLDER": (
        "扩展包 {pack} 想把 {found} 登记为模型文件夹，它不在模型、输入、输出或扩展包自己的"
        "文件夹中，"
        "没有登记。请把模型放到 ComfyUI 的 models 文件夹，或用 extra_model_paths.yaml 登记它。",
        "The pack {pack} registers {found} for models, which lies neither in the folders for "
        "models, input and output nor in the pack; it is left out. Put the models into ComfyUI's "
        "models folder, or name the folder in extra_model_paths.yaml.",
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
    "ZI-SANDBOX-WEB": (
        "扩展包 {pack} 想让网页访问 {found}，但它不在扩展包自己的文件夹内，"
        "或者这个名称已被占用，因此没有提供。",
        "The pack {pack} wants {found} served to the page, which lies outside of the pack's own "
        "folder or has a name that is taken, so it is not served.",
    ),
    "ZI-SANDBOX-LINK": (
        "扩展包中有指向外面的链接（{found}），ComfyUI 会把它指向的文件交给网页，因此没有提供。"
        "请删除该链接或扩展包。",
        "A pack has links that lead out of it ({found}); ComfyUI would hand the files to the page, "
        "so it does not answer. Remove the links, or the pack.",
    ),
    "ZI-SANDBOX-UNKNOWN": (
        "没有名为 {found} 的沙箱。现有：{expected}。",
        "There is no sandbox named {found}. There are: {expected}.",
    ),
    "ZI-SANDBOX-RELOAD": (
        "没有重新读取 {path}：{found}。在改正之前，之前的规则继续有效。",
        "{path} was not read again: {found}. Until it is mended, the rules from before hold.",
    ),
    "ZI-SANDBOX-NO-LANDLOCK": (
        "本机内核没有可用的 Landlock（{found}），沙箱中的扩展包可以读写运行 ComfyUI 的用户的"
        "所有文件。"
        "请使用 Linux 5.13 或更新的内核，并在内核参数 lsm= 中包含 landlock；"
        "在容器中，seccomp 配置需允许 landlock_* 系统调用。",
        "This machine's kernel has no Landlock ({found}): packs in sandboxes can read and write "
        "every file of the user that runs ComfyUI. Use Linux 5.13 or later with landlock in the "
        "kernel's lsm= list; the seccomp profile of a container has to allow the landlock_* system "
        "calls.",
    ),
    "ZI-SANDBOX-NO-SECCOMP": (
        "本机（{found}）没有可用的 seccomp 过滤器，沙箱中的扩展包可以使用网络并运行程序。"
        "请在 x86_64 或 aarch64 上使用启用了 CONFIG_SECCOMP_FILTER 的内核。",
        "This machine ({found}) has no seccomp filters: packs in sandboxes can use the network and "
        "start programs. Use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64.",
    ),
    "ZI-SANDBOX-NO-LINUX": (
        "只有 Linux 能限制沙箱中的扩展包，本机是 {found}。请在 Linux 或 WSL 2 中运行 ComfyUI。",
        "Packs in sandboxes can be confined on Linux only; this is {found}. Run ComfyUI on Linux "
        "or in WSL 2.",
    ),
    "ZI-SANDBOX-UNFIT": (
        "沙箱不适用于此 ComfyUI：{found}。扩展包{what_zh}。请更新 Z-Image-ComfyUI 或 ComfyUI。",
        "Sandboxes do not fit this ComfyUI: {found}. Other packs {what_en}. Update Z-Image-ComfyUI "
        "or ComfyUI.",
    ),
    "ZI-SANDBOX-ROUTE-NONE": (
        "扩展包 {pack} 没有 {found} 这个接口。它有：{expected}。",
        "The pack {pack} has no route {found}. It has: {expected}.",
    ),
    "ZI-SANDBOX-ROUTE-SOCKET": (
        "扩展包 {pack} 在沙箱中，它的接口不能使用 WebSocket。"
        '若信任此扩展包，请在 sandbox.toml 中设置 run = "trusted"。',
        "The pack {pack} is in a sandbox, where routes cannot be WebSockets. If you trust it, set "
        'run = "trusted" in sandbox.toml.',
    ),
    "ZI-SANDBOX-ROUTE-STREAM": (
        "扩展包 {pack} 的应答没有结尾（{found}），无法从沙箱中传出。"
        '若信任此扩展包，请在 sandbox.toml 中设置 run = "trusted"。',
        "An answer of the pack {pack} has no end ({found}) and cannot leave its sandbox. If you "
        'trust it, set run = "trusted" in sandbox.toml.',
    ),
    "ZI-SANDBOX-ROUTE-BUSY": (
        "扩展包 {pack} 已有 {found} 个请求在等待应答。请稍后再试。",
        "{found} requests are waiting for the pack {pack} already. Try again later.",
    ),
    "ZI-SANDBOX-ROUTE-SLOW": (
        "扩展包 {pack} 在 {found:g} 秒内没有应答 {route}。可以在 sandbox.toml 中提高 call_seconds"
        "（最多 300）。",
        "The pack {pack} did not answer {route} within {found:g} s. Raise call_seconds in "
        "sandbox.toml (300 at most).",
    ),
    "ZI-SANDBOX-ROUTE-DIED": (
        "应答 {route} 时，扩展包 {pack} 的沙箱结束了（{found}）。"
        "ComfyUI 不受影响，沙箱会自动重启。",
        "While the pack {pack} answered {route}, its sandbox ended ({found}). ComfyUI goes on, and "
        "the sandbox starts again by itself.",
    ),
    "ZI-SANDBOX-ROUTE-RAISED": (
        "扩展包 {pack} 在应答 {route} 时出错：{found}。详情见日志。",
        "The pack {pack} failed while it answered {route}: {found}. The log has more.",
    ),
    "ZI-SANDBOX-ROUTE-ANSWER": (
        "扩展包 {pack} 的应答无法使用（{found}）：应为状态 200–599、最多 64 个标头、"
        "最多 64 MiB 内容。",
        "An answer of the pack {pack} cannot be used ({found}): expected a status of 200 to 599, "
        "64 headers at most and 64 MiB at most.",
    ),
}
