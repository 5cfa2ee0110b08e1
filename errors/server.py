"""The running server: its page, requests, patches and queue."""

TEXTS: dict[str, tuple[str, str]] = {
    # the page: {found} is what the request or the template holds
    "ZI-REQUEST": (
        "请求的内容无法使用：{found}。应为：{expected}",
        "The request cannot be used: {found}. Expected: {expected}",
    ),
    "ZI-REQUEST-METHOD": (
        "此地址不接受 {found} 请求。请改用：{expected}。",
        "This address does not take {found}. Use one of: {expected}.",
    ),
    "ZI-REQUEST-LARGE": (
        "请求太大：超过 {maximum}。请缩短后再试。",
        "The request is too large: more than {maximum}. Shorten it.",
    ),
    "ZI-REQUEST-TYPE": (
        "请求的内容类型是 {found}。请用 Content-Type: application/json 提交。",
        "The request's content type is {found}. Send it as Content-Type: application/json.",
    ),
    "ZI-REQUEST-CHARSET": (
        "请求声明的字符编码是 {found}，而内容应为 UTF-8。请改用 charset=utf-8，或不写 charset。",
        "The request names the character set {found}, but the body has to be UTF-8. Use "
        "charset=utf-8, or leave it out.",
    ),
    "ZI-REQUEST-FAILED": (
        "无法执行这个请求（{found}）。请检查其中的名称、路径和内容；详情见 ComfyUI 的日志。",
        "The request could not be carried out ({found}). Check its names, paths and body; "
        "ComfyUI's log has more.",
    ),
    "ZI-REQUEST-TEXT": (
        "节点 {node} 的 {name} 无法使用：{zh}（{found}）",
        "{name} of node {node} cannot be used: {en} ({found})",
    ),
    "ZI-REQUEST-WORK": (
        "节点 {node} 的 {name} = {found} 超过上限 {maximum}。请减小后重新提交。",
        "{name} = {found} of node {node} is above the limit of {maximum}. Make it smaller and "
        "submit it again.",
    ),
    "ZI-TOKENIZER": (
        "此 ComfyUI 没有可用的 {name} 分词器（{found}），无法统计词元。生成图像不受影响。",
        "This ComfyUI has no {name} tokenizer that can be used ({found}), so tokens are not "
        "counted. Making pictures is not affected.",
    ),
    "ZI-TEMPLATE-BROKEN": (
        "模板“{found}”无法运行，已从模板列表中隐去：{reason_zh}",
        'Template "{found}" cannot run and is left out of the list: {reason_en}',
    ),
    "ZI-PAGE-FAILED": (
        "这项检查出错了（{found}），详情见 ComfyUI 的日志。生成图像不受影响。",
        "This check failed ({found}); ComfyUI's log has more. Making pictures is not affected.",
    ),
    # patches: {name} is the function of the host
    "ZI-PATCH-SEAM": (
        "此 ComfyUI 的 {name} 与预期不同（是 {found}，应为 {expected}），"
        "对应的加固没有启用，其余照常。",
        "{name} of this ComfyUI is not as expected (found {found}, expected {expected}), so what "
        "hardens it stays off. Everything else works.",
    ),
    "ZI-PATCH-COVERED": (
        "{name} 之后又被别的节点包修改过，无法撤销。请重启 ComfyUI。",
        "Another pack has changed {name} since, so it cannot be undone. Restart ComfyUI.",
    ),
    "ZI-PATCH-FAILED": (
        "加固 {name} 出错（{found}），没有启用，其余照常。详情见 ComfyUI 的日志。",
        "Hardening {name} failed ({found}) and stays off. Everything else works; ComfyUI's log "
        "has more.",
    ),
    "ZI-ORIGIN": (
        "这个请求来自其他网站的页面（Origin：{found}），已拒绝。请使用 ComfyUI 自己的页面；"
        "若要允许其他网站，请用 --enable-cors-header 启动 ComfyUI。",
        "A page of another site made this request (Origin: {found}), so it is refused. Use "
        "ComfyUI's own page, or start ComfyUI with --enable-cors-header to let other sites in.",
    ),
    "ZI-HOST-NAME": (
        "{found} 不是本服务器已知的名称，请求已拒绝（防范 DNS 重绑定）。请用 localhost 或 IP 地址"
        "访问；如果它确实是本服务器的名称，请把它写入环境变量 ZIMAGE_HOSTS 后重启。",
        "{found} is not a known name of this server, so the request is refused (it may be DNS "
        "rebinding). Use localhost or an IP address; if the name is this server's, put it into "
        "the environment variable ZIMAGE_HOSTS and start again.",
    ),
    "ZI-PATH": (
        "文件名 {found} 指向 {expected} 文件夹之外，已拒绝。"
        "请把文件放进该文件夹，并使用其中的相对路径。",
        "The file name {found} leads out of the folder {expected}, so it is refused. Put the file "
        "into that folder and use its path in there.",
    ),
    "ZI-PICTURE-LARGE": (
        "图像有 {found} 像素，超过上限 {maximum}，没有打开。请先缩小；"
        "也可用环境变量 ZIMAGE_MAX_MEGAPIXELS 提高上限。",
        "The picture has {found} pixels, the limit is {maximum}; it was not opened. Make it "
        "smaller, or raise the limit with the environment variable ZIMAGE_MAX_MEGAPIXELS.",
    ),
    "ZI-PICTURE-FILE": (
        "“{name}”不是能读取的图像（{found}）：文件损坏，或者不是图像。"
        "请用看图软件另存为 PNG 或 JPEG 再试。",
        '"{name}" cannot be read as a picture ({found}): it is damaged, or no picture. Save it as '
        "PNG or JPEG with a picture viewer and try again.",
    ),
    "ZI-NODE-GONE": (
        "任务用到的节点 {name} 不在此 ComfyUI 中：它的节点包被移除、没有加载，"
        "或服务器处于安全模式（见 /health 的 mode）。节点包恢复后请重新提交。",
        "The prompt has nodes that this ComfyUI does not have: {name}. Their pack was removed, was "
        "not loaded, or the server is in safe mode (mode in /health). Submit it again once the "
        "pack is back.",
    ),
    "ZI-NODE-EXIT": (
        "节点 {name} 试图结束整个服务器（{found}），已当作该节点出错处理。请更新或停用它的节点包。",
        "Node {name} tried to end the whole server ({found}); it counts as failed instead. "
        "Update its pack, or do without it.",
    ),
    "ZI-NODE-UI": (
        "节点 {name} 返回的界面数据不是 JSON：{found}。请更新或停用它的节点包。",
        "Node {name} returned data for the page that is not JSON: {found}. Update its pack, or "
        "do without it.",
    ),
    "ZI-WORKER": (
        "执行任务的线程出错（{found}），这个任务已结束；其余任务继续。详情见 ComfyUI 的日志。",
        "The thread that runs prompts failed ({found}) and this prompt has ended; the others go "
        "on. ComfyUI's log has more.",
    ),
    "ZI-MEMORY": (
        "节点 {node}：这个任务至少需要 {found} GB {zh}，而本机总共只有 {expected} GB，"
        "因此没有开始。请减小图像尺寸或批量，在加载节点选择占用更少的权重精度"
        "（CPU 上 auto 为 fp32，可改为 bf16 或 fp8_e4m3fn），或换用更小的模型文件。",
        "Node {node}: this prompt needs at least {found} GB of {en}, and there are {expected} GB "
        "in all, so it was not begun. Make pictures smaller or fewer at once, choose a smaller "
        "dtype in the loader (on a CPU auto is fp32; bf16 and fp8_e4m3fn are smaller), or use "
        "smaller model files.",
    ),
    "ZI-DEADLINE": (
        "采样超过了时限：{variant} 在 {device} 上每百万像素限 {limit:g} 秒，"
        "这次共允许 {allowed:.1f} 秒。请减小尺寸、批量或步数，或用 ZIMAGE_DEADLINES 放宽时限。",
        "Sampling took longer than allowed: {variant} on {device} has {limit:g} s for each "
        "megapixel, here {allowed:.1f} s in all. Ask for a smaller size, fewer pictures or steps, "
        "or allow more with ZIMAGE_DEADLINES.",
    ),
    "ZI-DEADLINE-STALLED": (
        "采样没有进展：{variant} 在 {device} 上完成 {done} 步后，{limit:.0f} 秒内没有完成下一步。"
        "请检查显卡、驱动和显存，或减小尺寸、批量；也可用 ZIMAGE_DEADLINES 改变时限。",
        "Sampling makes no progress: {variant} on {device} finished {done} steps, then none within "
        "{limit:.0f} s. Check the graphics card, its driver and its memory, or ask for a smaller "
        "size or fewer pictures. ZIMAGE_DEADLINES changes the limit.",
    ),
    "ZI-DEADLINE-SLOW": (
        "采样明显变慢：按 {variant} 在 {device} 上的单步耗时，{total} 步最多允许 {limit:.0f} 秒，"
        "到时只完成了 {done} 步。请检查是否有其他程序占用显卡；也可用 ZIMAGE_DEADLINES 改变时限。",
        "Sampling became much slower: by the time of its own steps, {variant} on {device} has "
        "{limit:.0f} s for {total} steps, and finished {done}. Check whether another program uses "
        "the graphics card. ZIMAGE_DEADLINES changes the limit.",
    ),
    "ZI-INTERRUPT": (
        "任务 {found} 被中断 {limit:g} 秒后仍在运行：它的节点不理会中断，后面的任务都在等它。"
        "没有看护进程来替换这个 ComfyUI，请重启它；用 ./zimage serve 启动则会自动处理。",
        "Prompt {found} still runs {limit:g} s after it was interrupted: its node does not look "
        "at that, and all other prompts wait for it. No guardian replaces this ComfyUI, so restart "
        "it; started with ./zimage serve, it would be replaced by itself.",
    ),
    "ZI-QUEUE-TAKEN": (
        "{path} 中的任务队列正被另一个 ComfyUI（进程 {found}）使用，因此本服务器不接受任务。"
        "停止那一个，本服务器几秒内自动接管；也可用 --user-directory 为本服务器另选目录，"
        "或设 ZIMAGE_OFF=queue，任务便只在内存中。",
        "Another ComfyUI (process {found}) is using the queue in {path}, so this server takes no "
        "prompts. Stop that one, and this one takes over by itself within seconds; or give this "
        "one a folder of its own with --user-directory, or set ZIMAGE_OFF=queue to have prompts "
        "in memory alone.",
    ),
    "ZI-QUEUE-FILE": (
        "无法读写任务队列 {path}：{found}。没有接受新任务，恢复后会自动继续。请检查磁盘空间和权限；"
        "文件若已损坏，请连同它的 -wal 一起移走（其中的任务不再运行）。",
        "The queue in {path} cannot be read or written: {found}. No new prompt was accepted; it "
        "goes on by itself once it can. Check disk space and permissions; if the file is damaged, "
        "move it away together with its -wal (its prompts will not run).",
    ),
    "ZI-QUEUE-FULL": (
        "已有 {found} 个任务在等待，最多 {maximum} 个。请稍后再提交。",
        "{found} prompts are waiting; at most {maximum} are kept. Submit it again later.",
    ),
    "ZI-PROMPT-TWICE": (
        "编号 {found} 的任务已在等待或运行。请换一个 prompt_id，或不写它。",
        "A prompt with the id {found} is waiting or running. Use another prompt_id, or none.",
    ),
    "ZI-PROMPT-DEADLY": (
        "运行这个任务时服务器已意外退出 {found} 次，因此不再运行它。请检查其中的节点和输入。",
        "The server died {found} times while it ran this prompt, so it is not run again. Check "
        "its nodes and inputs.",
    ),
    # the disk guard: {path} is a folder on the disk that is meant
    "ZI-DISK-FULL": (
        "{path} 所在磁盘的{what_zh}已用 {found}%，上限是 {maximum}%，暂不接受新任务和上传。"
        "请清理该磁盘；降到 {back}% 后自动恢复。",
        "The disk of {path} has {found} % of its {what} in use; the limit is {maximum} %. New "
        "prompts and uploads are refused. Make room there; at {back} % they are accepted again by "
        "themselves.",
    ),
    "ZI-DISK-ROOM": (
        "{path} 所在磁盘的{what_zh}已降到 {found}%（上限 {maximum}%），重新接受新任务。",
        "The disk of {path} is down to {found} % of its {what} (the limit is {maximum} %). New "
        "prompts are accepted again.",
    ),
    "ZI-SETTING": (
        "环境变量 {name} 的值 {found} 无法使用，应为 {expected}；现按默认值处理。",
        "The environment variable {name} is {found}, which cannot be used (expected: {expected}). "
        "Its default counts instead.",
    ),
}
