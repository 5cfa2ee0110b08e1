"""Checking workflows: ``{title}`` is the node, ``{input}`` the input.

``{zh}`` and ``{en}`` are one reason in both languages.
"""

TEXTS: dict[str, tuple[str, str]] = {
    "ZI-WF-JSON": (
        "不是可用的 JSON：{zh}。{zh_do}。",
        "This is no usable JSON: {en}. {en_do}.",
    ),
    "ZI-WF-KEY": (
        "“{value}”在同一个对象里写了不止一次，只有最后一个算数。请删去多余的。",
        '"{value}" is written more than once in one object; only the last one counts. Delete the '
        "others.",
    ),
    "ZI-WF-UNREADABLE": (
        "无法读取 {path}：{zh}。",
        "{path} cannot be read: {en}.",
    ),
    "ZI-WF-EMPTY": (
        "没有可以执行的节点：{zh}。",
        "Nothing would run: {en}.",
    ),
    "ZI-WF-MORE": (
        "问题太多，只列出了前 {value} 个。请先改正这些，再检查一次。",
        "There is too much to tell; these are the first {value} findings. Mend them, then check "
        "again.",
    ),
    "ZI-WF-PICTURE": (
        "这是一张图片，不是工作流文件。PNG 或 WebP 里若带有工作流，"
        "请把它拖到 ComfyUI 页面上，再用“导出”保存。",
        "This is a picture, not a workflow file. If it is a PNG or WebP with a workflow in it, "
        "drop it on ComfyUI's page and save that with the page's Export.",
    ),
    "ZI-WF-LARGE": (
        "工作流太大：超过 {zh}。请拆成几个工作流。",
        "The workflow is too large: more than {en}. Split it.",
    ),
    "ZI-WF-SHAPE": (
        "这不是工作流的形状：{zh}。请用页面的“导出”重新保存。",
        "This does not have the shape of a workflow: {en}. Save it again with the page's Export.",
    ),
    "ZI-WF-DUPLICATE": (
        "{zh} {value} 出现了两次，只读取第一个。请用页面重新保存。",
        "The id {value} of {en} occurs twice; only the first is read. Save it again in the page.",
    ),
    "ZI-WF-LINK": (
        "“{title}”的 {input} 连线 {value} 无效：{zh}。请重新连接。",
        'The link {value} to {input} of "{title}" cannot be used: {en}. Connect it again.',
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
        "节点连成了环，无法执行：{ring}。请断开其中的一条连线。",
        "Nodes that form a ring cannot run: {ring}. Remove one link of it.",
    ),
    "ZI-WF-NESTED": (
        "子图“{title}”包含它自己。请从子图里删去它。",
        'The subgraph "{title}" holds itself. Delete it from its inside.',
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
    "ZI-WF-CLASS": (
        "节点“{title}”缺少 class_type（节点类型的名称），或它不是文字：{value}。请补上它。",
        'The node "{title}" lacks its class_type (the name of its class), or it is no text: '
        "{value}. Add it.",
    ),
    "ZI-WF-INPUT-MISSING": (
        "“{title}”缺少必需的输入 {input}（{expected}）。请连接或填写它。",
        '"{title}" lacks its required input {input} ({expected}). Connect it or fill it in.',
    ),
    "ZI-WF-INPUT-UNKNOWN": (
        "“{title}”没有名为 {input} 的输入（{value}），服务器不会理会它。请改正名称或删去它。",
        '"{title}" ({value}) has no input {input}; the server ignores it. Correct its name, or '
        "delete it.",
    ),
    "ZI-WF-MUTED": (
        "“{title}”的 {input} 连到了被静音的节点“{value}”，运行时得不到任何值。"
        "请取消它的静音，或改接别的节点。",
        '"{title}" ({input}) is linked to the muted node "{value}" and would get nothing. Unmute '
        "that node, or connect another.",
    ),
    "ZI-WF-VALUE": (
        "“{title}”的 {input} = {value}，不是 {expected}。请填写一个数。",
        '"{title}" has {input} = {value}, which is no {expected}. Give a number.',
    ),
    "ZI-WF-RANGE": (
        "“{title}”的 {input} = {value} 超出范围，应为 {expected}。",
        '"{title}" has {input} = {value}; it must be {expected}.',
    ),
    "ZI-WF-CLAMPED": (
        "“{title}”的 {input} = {value} 超过上限，服务器会把它改成 {expected}，图像会比要求的小。"
        "请填写不超过 {expected} 的值。",
        '"{title}" has {input} = {value}, above the limit; the server makes it {expected}, and the '
        "picture is smaller than asked for. Give at most {expected}.",
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
        "“{title}”的 {input} 里有字符无法使用（乱码、私用区、不存在或改变文字方向）：{zh}。"
        "请重新输入这些地方。",
        '"{title}" has characters in {input} that cannot be used (broken text, private use, '
        "unassigned or direction override): {en}. Type those parts again.",
    ),
    "ZI-WF-TEXT-LONG": (
        "“{title}”的 {input} 有 {value} 个字符，提示词最多 {expected} 个。请缩短。",
        '"{title}" has {value} characters in {input}; a prompt may have {expected}. Shorten it.',
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
}
