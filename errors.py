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
    "ZI-EDIT-MODEL": (
        "这个模型（{found}）没有学过参考图，会直接忽略它们。请加载 Z-Image Edit 或 Omni 模型；"
        "若要用 Turbo 或 Base 修改图像，请用 VAE 编码图像后作为采样器的 latent，"
        "并把 denoise 调到 1 以下。",
        "This model ({found}) has not learned reference pictures and would leave them out. Load a "
        "Z-Image Edit or Omni model; to change a picture with Turbo or Base, encode it with the "
        "VAE, give it to the sampler as latent, and set denoise below 1.",
    ),
    "ZI-PICTURE": (
        "这张图像无法使用：{found}。应为 {expected}。",
        "This picture cannot be used: {found}. Expected: {expected}.",
    ),
    "ZI-PICTURE-SIZE": (
        "图像为 {found} 像素，每边应在 {minimum} 到 {maximum} 之间。请先放大或缩小。",
        "The picture has {found} pixels; each side must have {minimum} to {maximum}. Scale it "
        "first.",
    ),
    "ZI-TEXT-WIDTH": (
        "文本编码器输出宽度为 {found}，而扩散模型需要 {expected}。请选择与模型配套的文本编码器。",
        "The text encoder is {found} wide, but the diffusion model needs {expected}. "
        "Choose the text encoder that belongs to the model.",
    ),
    # --- the dual encoder ----------------------------------------------------------------------
    "ZI-DUAL-UNTRAINED": (
        "适配器 {path} 没有经过训练，用它只会得到与提示词无关的图像。请使用训练过的适配器"
        "（demo/train_adapter.py 可以训练）。",
        "The adapter {path} is not trained; pictures would have nothing to do with the prompt. Use "
        "a trained one (demo/train_adapter.py makes one).",
    ),
    "ZI-DUAL-OTHER": (
        "适配器 {path} 是为另一个 {kind} 训练的：与 {file} 的吻合度为 {found}，至少需要 0.90。"
        "请选择与之配套的文件，或为它训练适配器（demo/train_adapter.py）。",
        "The adapter {path} was trained for another {kind}: it agrees with {file} by {found}, and "
        "0.90 is needed. Choose the files that belong together, or train an adapter for these "
        "(demo/train_adapter.py).",
    ),
    "ZI-DUAL-VOCABULARY": (
        "没有与 {path} 配套的词表：它有 {expected} 个词，找到的词表有 {found} 个。"
        "请把模型的 vocab.txt 放在它旁边。",
        "No vocabulary fits {path}: it has {expected} words, the one that was found {found}. Put "
        "the model's vocab.txt beside it.",
    ),
    # --- prompts -------------------------------------------------------------------------------
    "ZI-TEXT-LONG": (
        "提示词有 {found} 个字符，最多 {maximum} 个。请缩短提示词。",
        "The prompt has {found} characters; at most {maximum} are read. Shorten it.",
    ),
    "ZI-TEXT-TOKENS": (
        "提示词有 {found} 个词元，最多 {maximum} 个（官方模型按 512 个训练）。请缩短提示词。",
        "The prompt has {found} tokens; at most {maximum} are read (the official models were "
        "trained with 512). Shorten it.",
    ),
    "ZI-TEXT-REPLACEMENT": (
        "提示词第 {position} 个字符（“{before}”之后）是 U+FFFD，说明文字曾被错误解码。"
        "请重新输入这一处，并以 UTF-8 保存和发送。",
        'Character {position} of the prompt (after "{before}") is U+FFFD: the text was decoded '
        "wrongly. Type that part again, and save and send it as UTF-8.",
    ),
    "ZI-TEXT-SURROGATE": (
        "提示词第 {position} 个字符（“{before}”之后）是半个字符（孤立代理项 {found}）。"
        "请重新输入。",
        'Character {position} of the prompt (after "{before}") is half a character (lone surrogate '
        "{found}). Type it again.",
    ),
    "ZI-TEXT-PRIVATE": (
        "提示词第 {position} 个字符（“{before}”之后）是私用区字符 {found}，没有公认的含义。"
        "请换成普通文字。",
        'Character {position} of the prompt (after "{before}") is {found}, a private-use character '
        "without a common meaning. Use ordinary text.",
    ),
    "ZI-TEXT-UNASSIGNED": (
        "提示词第 {position} 个字符（“{before}”之后）是 {found}，Unicode 中没有这个字符。"
        "请删去它。",
        'Character {position} of the prompt (after "{before}") is {found}, which is no character '
        "of Unicode. Delete it.",
    ),
    "ZI-TEXT-BIDI": (
        "提示词第 {position} 个字符（“{before}”之后）是 {found}，会让显示的文字与实际不同。"
        "请删去它。",
        'Character {position} of the prompt (after "{before}") is {found}, which makes the text '
        "look different from what is read. Delete it.",
    ),
    # --- workflows: {title} is the node, {input} the input ---------------------------------------
    "ZI-WF-JSON": (
        "不是 JSON：{value}。请用页面的“导出”重新保存工作流。",
        "This is not JSON: {value}. Save the workflow again with the page's Export.",
    ),
    "ZI-WF-PICTURE": (
        "这是一张图片，不是工作流文件。请把它拖到 ComfyUI 页面上，再用“导出”保存其中的工作流。",
        "This is a picture, not a workflow file. Drop it on ComfyUI's page and save the workflow "
        "in it with the page's Export.",
    ),
    "ZI-WF-LARGE": (
        "工作流太大：超过 {value}。请拆成几个工作流。",
        "The workflow is too large: more than {value}. Split it.",
    ),
    "ZI-WF-SHAPE": (
        "{what} 的内容不是工作流应有的形状：{value}。请用页面重新保存。",
        "{what} is not what a workflow holds there: {value}. Save it again in the page.",
    ),
    "ZI-WF-DUPLICATE": (
        "编号 {value} 出现了两次，只读取第一个。请用页面重新保存。",
        "The id {value} occurs twice; only the first is read. Save it again in the page.",
    ),
    "ZI-WF-LINK": (
        "“{title}”的 {input} 连线无效：{value}。请重新连接。",
        'The link {value} of "{title}" ({input}) leads nowhere. Connect it again.',
    ),
    "ZI-WF-SLOT": (
        "“{title}”的 {input} 连到了第 {value} 个输出，而那个节点只有 {expected} 个。请重新连接。",
        '"{title}" ({input}) is linked to output {value} of a node that has {expected}. '
        "Connect it again.",
    ),
    "ZI-WF-TYPE": (
        "“{title}”的 {input} 接到了 {value}，应为 {expected}。请换一个输出来连接。",
        '"{title}" ({input}) gets {value}; expected {expected}. Connect another output.',
    ),
    "ZI-WF-CYCLE": (
        "“{title}”间接地依赖自己。请断开环路中的一条连线。",
        '"{title}" depends on itself. Remove one link of the ring.',
    ),
    "ZI-WF-NO-OUTPUT": (
        "没有输出节点，运行后什么也得不到。请加上“保存图像”之类的节点。",
        "There is no output node, so nothing would come out. Add one that saves, such as "
        "Save Image.",
    ),
    "ZI-WF-UNREACHABLE": (
        "“{title}”没有连到任何输出节点，不会运行。请连接或删除它。",
        '"{title}" leads to no output node and will not run. Connect or delete it.',
    ),
    "ZI-WF-NODE-UNKNOWN": (
        "“{title}”的节点类型 {value} 不存在于此 ComfyUI。请安装提供它的节点包，或换用别的节点。",
        'This ComfyUI has no node class {value} ("{title}"). Install the pack that brings it, or '
        "use another node.",
    ),
    "ZI-WF-INPUT-MISSING": (
        "“{title}”缺少必需的输入 {input}（{expected}）。请连接或填写它。",
        '"{title}" lacks its required input {input} ({expected}). Connect it or fill it in.',
    ),
    "ZI-WF-VALUE": (
        "“{title}”的 {input} = {value}，不是 {expected}。请填写一个数。",
        '"{title}" has {input} = {value}, which is no {expected}. Give a number.',
    ),
    "ZI-WF-RANGE": (
        "“{title}”的 {input} = {value} 超出范围，应为 {expected}。",
        '"{title}" has {input} = {value}; it must be {expected}.',
    ),
    "ZI-WF-CHOICE": (
        "“{title}”的 {input} = {value} 不在选项中：{expected}。请选择其中之一。",
        '"{title}" has {input} = {value}, which is not among: {expected}. Choose one of them.',
    ),
    "ZI-WF-MODEL": (
        "“{title}”的 {input} 需要模型文件 {value}，此 ComfyUI 没有。"
        "请放入对应的模型文件夹，或另选一个。",
        '"{title}" ({input}) needs the model file {value}, which this ComfyUI does not have. Put '
        "it into the model folder, or choose another.",
    ),
    "ZI-WF-UNSAFE": (
        "“{title}”的 {input} = {value} 不是 safetensors，里面可以夹带代码。请换成 .safetensors。",
        '"{title}" has {input} = {value}, which is not safetensors and can carry code. Use a '
        ".safetensors file.",
    ),
    "ZI-WF-FILE": (
        "“{title}”的 {input} 需要文件 {value}，它不在输入文件夹中。请上传它或另选一个。",
        '"{title}" ({input}) needs the file {value}, which is not in the input folder. Upload it, '
        "or choose another.",
    ),
    "ZI-WF-TEXT": (
        "“{title}”的 {input} 第 {position} 个字符 {value} 无法使用（乱码、私用区或改变文字方向）。"
        "请重新输入这一处。",
        'Character {position} of {input} in "{title}", {value}, cannot be used (broken text, '
        "private use or direction override). Type that part again.",
    ),
    "ZI-WF-TEXT-LONG": (
        "“{title}”的 {input} 有 {value} 个字符，最多 {expected} 个。请缩短。",
        '"{title}" has {value} characters in {input}; at most {expected} are read. Shorten it.',
    ),
    "ZI-WF-CHINESE": (
        "“{title}”的 {input} 含有中文，但它的文本编码器（{value}）读不懂中文。"
        "请换用能读中文的编码器（例如 Z-Image 的 Qwen3），或改写成英文。",
        'There is Chinese in {input} of "{title}", and its text encoder ({value}) cannot read '
        "Chinese. Use an encoder that can, such as Z-Image's Qwen3, or write English.",
    ),
    "ZI-WF-TAG": (
        "“{title}”的 {input} 含有中文，开头却是 {value}，中文会被当作英文处理。请删去这个标签。",
        '{input} of "{title}" begins with {value} although it holds Chinese, which would be read '
        "as English. Delete the tag.",
    ),
    "ZI-WF-DOWNLOAD": (
        "“{title}”需要模型文件 {value}，可从此处下载：{url}",
        '"{title}" needs the model file {value}, which can be downloaded from {url}',
    ),
    "ZI-WF-FOREIGN": (
        "“{title}”的节点类型 {value} 来自第三方节点包，这里不允许。"
        "请换用 ComfyUI 或本节点包的节点。",
        'The node class {value} ("{title}") is of a third-party pack, which is not allowed here. '
        "Use a node of ComfyUI or of this pack.",
    ),
    # --- the page: {found} is what the request or the template holds ------------------------------
    "ZI-REQUEST": (
        "请求的内容无法使用：{found}。应为：{expected}",
        "The request cannot be used: {found}. Expected: {expected}",
    ),
    "ZI-REQUEST-LARGE": (
        "请求太大：超过 {maximum}。请缩短后再试。",
        "The request is too large: more than {maximum}. Shorten it.",
    ),
    "ZI-REQUEST-TYPE": (
        "请求的内容类型是 {found}。请用 Content-Type: application/json 提交。",
        "The request's content type is {found}. Send it as Content-Type: application/json.",
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
    # --- patches: {name} is the function of the host ---------------------------------------------
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
    "ZI-QUEUE-TAKEN": (
        "{path} 正被另一个 ComfyUI 使用。请停止它，或为本服务器另选状态目录。",
        "Another ComfyUI is using {path}. Stop it, or give this server a state folder of its own.",
    ),
    "ZI-QUEUE-FILE": (
        "无法读写任务队列 {path}：{found}。请检查磁盘空间和权限；没有接受新任务。",
        "The queue in {path} cannot be read or written: {found}. Check disk space and "
        "permissions; no new prompt was accepted.",
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
