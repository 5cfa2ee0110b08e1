"""The running server: its page, requests, patches and queue."""

from __future__ import annotations

from .bilingual import Bilingual

TEXTS = {
    # the page: {found} is what the request or the template holds
    "ZI-REQUEST": Bilingual(
        "请求内容无效：{found}。应为：{expected}",
        "The request is invalid: {found}. Expected: {expected}",
    ),
    "ZI-REQUEST-METHOD": Bilingual(
        "此地址不接受 {found} 请求。请改用：{expected}。",
        "This address does not accept {found}. Use one of: {expected}.",
    ),
    "ZI-REQUEST-LARGE": Bilingual(
        "请求太大：超过 {maximum}。请缩短后再试。",
        "The request is too large: more than {maximum}. Shorten it.",
    ),
    "ZI-REQUEST-TYPE": Bilingual(
        "请求的内容类型是 {found}。请用 Content-Type: application/json 提交。",
        "The request's content type is {found}. Send it as Content-Type: application/json.",
    ),
    "ZI-REQUEST-CHARSET": Bilingual(
        "请求声明的字符编码是 {found}，而内容应为 UTF-8。请改用 charset=utf-8，或省略 charset。",
        "The request declares the charset {found}, but the body must be UTF-8. Use charset=utf-8, "
        "or omit it.",
    ),
    "ZI-REQUEST-FAILED": Bilingual(
        "无法执行这个请求（{found}）。请检查其中的名称、路径和内容；详情见 ComfyUI 的日志。",
        "The request failed ({found}). Check its names, paths and body. ComfyUI's log has the "
        "details.",
    ),
    "ZI-REQUEST-TEXT": Bilingual(
        "节点 {node} 的 {name} 无效：{reason}（{found}）",
        "{name} of node {node} is invalid: {reason} ({found})",
    ),
    "ZI-REQUEST-WORK": Bilingual(
        "节点 {node} 的 {name} = {found} 超过上限 {maximum}。请减小后重新提交。",
        "{name} = {found} of node {node} exceeds the limit of {maximum}. Reduce it and submit the "
        "prompt again.",
    ),
    "ZI-TOKENIZER": Bilingual(
        "此 ComfyUI 没有可用的 {name} 分词器（{found}），无法统计词元。生成图像不受影响。",
        "This ComfyUI has no usable {name} tokenizer ({found}), so tokens are not counted. Image "
        "generation is not affected.",
    ),
    "ZI-TEMPLATE-BROKEN": Bilingual(
        "模板“{found}”无法运行，已从模板列表中隐藏：{reason}",
        'Template "{found}" cannot run and is hidden from the list: {reason}',
    ),
    "ZI-PAGE-FAILED": Bilingual(
        "检查失败（{found}），详情见 ComfyUI 的日志。生成图像不受影响。",
        "This check failed ({found}). ComfyUI's log has the details. Image generation is not "
        "affected.",
    ),
    # patches: {name} is the function of the host
    "ZI-PATCH-SEAM": Bilingual(
        "此 ComfyUI 的 {name} 与预期不符（实际为 {found}，应为 {expected}），"
        "对应的加固未启用，其余功能正常。",
        "{name} of this ComfyUI is not as expected (found {found}, expected {expected}), so the "
        "patch for it stays off. Everything else works.",
    ),
    "ZI-PATCH-COVERED": Bilingual(
        "{name} 随后又被其他节点包修改，无法还原。请重启 ComfyUI。",
        "Another pack has patched {name} since, so it cannot be restored. Restart ComfyUI.",
    ),
    "ZI-PATCH-FAILED": Bilingual(
        "加固 {name} 出错（{found}），未启用，其余功能正常。详情见 ComfyUI 的日志。",
        "The patch {name} failed ({found}) and stays off. Everything else works. ComfyUI's log has "
        "the details.",
    ),
    "ZI-ORIGIN": Bilingual(
        "这个请求来自其他网站的页面（Origin：{found}），已拒绝。请使用 ComfyUI 自己的页面；"
        "若要允许其他网站，请用 --enable-cors-header 启动 ComfyUI。",
        "A page of another site sent this request (Origin: {found}), so it is refused. Use "
        "ComfyUI's own page, or start ComfyUI with --enable-cors-header to allow other sites.",
    ),
    "ZI-HOST-NAME": Bilingual(
        "{found} 不是本服务器已知的名称，请求已拒绝（防范 DNS 重绑定）。请用 localhost 或 IP 地址"
        "访问；如果它确实是本服务器的名称，请将其加入环境变量 ZIMAGE_HOSTS 后重启。",
        "{found} is not a known name of this server, so the request is refused (it may be DNS "
        "rebinding). Use localhost or an IP address. If the name belongs to this server, add it to "
        "the environment variable ZIMAGE_HOSTS and restart.",
    ),
    "ZI-PATH": Bilingual(
        "文件名 {found} 指向 {expected} 文件夹之外，已拒绝。请把文件放进该文件夹，并使用相对路径。",
        "The file name {found} points outside the folder {expected}, so it is refused. Put the "
        "file into that folder, and use a path relative to it.",
    ),
    "ZI-PICTURE-LARGE": Bilingual(
        "图像有 {found} 像素，超过上限 {maximum}，未打开。请先缩小；"
        "也可用环境变量 ZIMAGE_MAX_MEGAPIXELS 提高上限。",
        "The picture has {found} pixels, more than the limit of {maximum}, so it was not opened. "
        "Scale it down, or raise the limit with the environment variable ZIMAGE_MAX_MEGAPIXELS.",
    ),
    "ZI-PICTURE-FILE": Bilingual(
        "无法读取图像“{name}”（{found}）：文件损坏，或不是图像。"
        "请用看图软件另存为 PNG 或 JPEG 后重试。",
        '"{name}" cannot be read as a picture ({found}): the file is damaged or not a picture. '
        "Save it as PNG or JPEG with an image viewer, and try again.",
    ),
    "ZI-NODE-GONE": Bilingual(
        "此 ComfyUI 没有任务用到的节点 {name}：节点包已移除、未加载，"
        "或服务器处于降级模式（见 /health 的 mode）。节点包恢复后请重新提交。",
        "The prompt has nodes that this ComfyUI does not have: {name}. Their pack was removed or "
        "not loaded, or the server is in degraded mode (mode in /health). Submit the prompt again "
        "when the pack is back.",
    ),
    "ZI-NODE-EXIT": Bilingual(
        "节点 {name} 试图结束整个服务器进程（{found}），已按该节点出错处理。"
        "请更新或停用它的节点包。",
        "Node {name} tried to exit the server process ({found}). This is handled as an error of "
        "the node. Update or disable its pack.",
    ),
    "ZI-NODE-UI": Bilingual(
        "节点 {name} 返回的界面数据不是 JSON：{found}。请更新或停用它的节点包。",
        "Node {name} returned UI data that is not JSON: {found}. Update or disable its pack.",
    ),
    "ZI-WORKER": Bilingual(
        "工作线程出错（{found}），此任务已结束，其余任务继续执行。详情见 ComfyUI 的日志。",
        "The worker thread failed ({found}), which ended this prompt. Other prompts continue. "
        "ComfyUI's log has the details.",
    ),
    "ZI-MEMORY": Bilingual(
        "节点 {node}：此任务至少需要 {found} GB {kind}，而本机总共只有 {expected} GB，"
        "因此未执行。请减小图像尺寸或批量，在加载节点选择占用更少的权重精度"
        "（CPU 上 auto 为 fp32，可改为 bf16 或 fp8_e4m3fn），或换用更小的模型文件。",
        "Node {node}: this prompt needs at least {found} GB of {kind}, but the machine has only "
        "{expected} GB in total, so it was not started. Reduce the image size or the batch size, "
        "choose a smaller dtype in the loader (on a CPU auto is fp32; bf16 and fp8_e4m3fn are "
        "smaller), or use smaller model files.",
    ),
    "ZI-DEADLINE": Bilingual(
        "采样超时：{variant} 在 {device} 上每百万像素限 {limit:g} 秒，"
        "本次共 {allowed:.1f} 秒。请减小尺寸、批量或步数，或用 ZIMAGE_DEADLINES 放宽时限。",
        "Sampling exceeded its deadline: {variant} on {device} may take {limit:g} s per megapixel, "
        "here {allowed:.1f} s in total. Reduce the size, the batch or the steps, or allow more "
        "time with ZIMAGE_DEADLINES.",
    ),
    "ZI-DEADLINE-STALLED": Bilingual(
        "采样没有进展：{variant} 在 {device} 上完成 {done} 步后，{limit:.0f} 秒内没有完成下一步。"
        "请检查显卡、驱动和显存，或减小尺寸、批量；也可用 ZIMAGE_DEADLINES 改变时限。",
        "Sampling makes no progress: {variant} on {device} finished {done} steps, then none within "
        "{limit:.0f} s. Check the GPU, its driver and its memory, or reduce the size or the batch. "
        "ZIMAGE_DEADLINES changes the limit.",
    ),
    "ZI-DEADLINE-SLOW": Bilingual(
        "采样明显变慢：按 {variant} 在 {device} 上的单步耗时，{total} 步限 {limit:.0f} 秒，"
        "到时只完成 {done} 步。请检查是否有其他程序占用显卡；也可用 ZIMAGE_DEADLINES 改变时限。",
        "Sampling became much slower: measured by its own steps, {variant} on {device} may take "
        "{limit:.0f} s for {total} steps, but finished {done}. Check whether another program uses "
        "the GPU. ZIMAGE_DEADLINES changes the limit.",
    ),
    "ZI-INTERRUPT": Bilingual(
        "任务 {found} 被中断 {limit:g} 秒后仍在运行：它的节点不响应中断，后续任务都在等待。"
        "此 ComfyUI 没有守护进程，请手动重启；用 ./zimage serve 启动则会自动处理。",
        "Prompt {found} still runs {limit:g} s after it was interrupted: its node ignores the "
        "interrupt, and all other prompts wait. This ComfyUI has no guardian, so restart it. "
        "A server started with ./zimage serve is replaced automatically.",
    ),
    "ZI-QUEUE-TAKEN": Bilingual(
        "{path} 中的任务队列正被另一个 ComfyUI（进程 {found}）使用，因此本服务器不接受任务。"
        "停止该进程后，本服务器会在几秒内自动接管；也可用 --user-directory 为本服务器另选目录，"
        "或设置 ZIMAGE_OFF=queue，任务只保存在内存中。",
        "Another ComfyUI (process {found}) is using the queue in {path}, so this server accepts no "
        "prompts. Stop that process, and this server takes over within seconds. Or give this "
        "server its own folder with --user-directory, or set ZIMAGE_OFF=queue to keep prompts in "
        "memory only.",
    ),
    "ZI-QUEUE-FILE": Bilingual(
        "无法读写任务队列 {path}：{found}。未接受新任务，恢复后会自动继续。请检查磁盘空间和权限；"
        "如果文件已损坏，请连同它的 -wal 一起移走（其中的任务不再运行）。",
        "Cannot read or write the queue in {path}: {found}. No new prompt was accepted; the queue "
        "resumes automatically. Check the disk space and the permissions. If the file is damaged, "
        "move it away together with its -wal (its prompts will not run).",
    ),
    "ZI-QUEUE-FULL": Bilingual(
        "已有 {found} 个任务在等待，最多 {maximum} 个。请稍后再提交。",
        "{found} prompts are waiting; at most {maximum} are allowed. Submit it again later.",
    ),
    "ZI-PROMPT-TWICE": Bilingual(
        "编号 {found} 的任务已在等待或运行。请换一个 prompt_id，或省略它。",
        "A prompt with the id {found} is waiting or running. Use another prompt_id, or omit it.",
    ),
    "ZI-PROMPT-DEADLY": Bilingual(
        "运行此任务时服务器已意外退出 {found} 次，因此不再运行。请检查其中的节点和输入。",
        "The server crashed {found} times while it ran this prompt, so the prompt is not run "
        "again. Check its nodes and inputs.",
    ),
    # the disk guard: {path} is a folder on the disk that is meant
    "ZI-DISK-FULL": Bilingual(
        "{path} 所在磁盘的{what}已用 {found}%，上限是 {maximum}%，暂不接受新任务和上传。"
        "请清理该磁盘；降到 {back}% 后自动恢复。",
        "The disk of {path} has {found} % of its {what} in use; the limit is {maximum} %. New "
        "prompts and uploads are refused. Free some space; at {back} % they are accepted again "
        "automatically.",
    ),
    "ZI-DISK-ROOM": Bilingual(
        "{path} 所在磁盘的{what}已降到 {found}%（上限 {maximum}%），重新接受新任务。",
        "The disk of {path} is down to {found} % of its {what} (the limit is {maximum} %). New "
        "prompts are accepted again.",
    ),
    "ZI-SETTING": Bilingual(
        "环境变量 {name} 的值 {found} 无效，应为 {expected}；已改用默认值。",
        "Invalid value {found} of the environment variable {name} (expected: {expected}). The "
        "default is used instead.",
    ),
}
