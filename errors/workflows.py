"""Checking workflows: ``{title}`` is the node, ``{input}`` the input."""

from __future__ import annotations

from .bilingual import Bilingual

TEXTS = {
    "ZI-WF-JSON": Bilingual(
        "无效的 JSON：{found}。{help}。",
        "Invalid JSON: {found}. {help}.",
    ),
    "ZI-WF-KEY": Bilingual(
        "“{value}”在同一个对象中重复出现，只有最后一个生效。请删除多余的。",
        '"{value}" occurs more than once in one object; only the last one is used. Delete the '
        "others.",
    ),
    "ZI-WF-UNREADABLE": Bilingual(
        "无法读取 {path}：{found}。",
        "Cannot read {path}: {found}.",
    ),
    "ZI-WF-EMPTY": Bilingual(
        "没有可以执行的节点：{found}。",
        "There are no nodes to run: {found}.",
    ),
    "ZI-WF-MORE": Bilingual(
        "问题太多，只列出前 {value} 个。请先改正，再重新检查。",
        "There are too many findings; these are the first {value}. Fix them, then check again.",
    ),
    "ZI-WF-PICTURE": Bilingual(
        "这是一张图片，不是工作流文件。如果 PNG 或 WebP 中含有工作流，"
        "请把它拖到 ComfyUI 页面上，再用“导出”保存。",
        "This is a picture, not a workflow file. If it is a PNG or WebP that contains a workflow, "
        "drop it on ComfyUI's page, then save the workflow with Export.",
    ),
    "ZI-WF-LARGE": Bilingual(
        "工作流太大：超过 {maximum}。请拆成几个工作流。",
        "The workflow is too large: more than {maximum}. Split it into several.",
    ),
    "ZI-WF-SHAPE": Bilingual(
        "工作流结构无效：{found}。请用页面的“导出”重新保存。",
        "The structure of the workflow is invalid: {found}. Save it again with the page's Export.",
    ),
    "ZI-WF-DUPLICATE": Bilingual(
        "{kind} {value} 出现了两次，只读取第一个。请用页面重新保存。",
        "The id {value} of {kind} occurs twice; only the first is read. Save it again in the page.",
    ),
    "ZI-WF-LINK": Bilingual(
        "“{title}”的 {input} 连线 {value} 无效：{found}。请重新连接。",
        'The link {value} to {input} of "{title}" is invalid: {found}. Connect it again.',
    ),
    "ZI-WF-SLOT": Bilingual(
        "“{title}”的 {input} 连到了第 {value} 个输出，而那个节点只有 {expected} 个。请重新连接。",
        '"{title}" ({input}) is linked to output {value} of a node that has {expected}. '
        "Connect it again.",
    ),
    "ZI-WF-TYPE": Bilingual(
        "“{title}”的 {input} 接到了 {value}，应为 {expected}。请连接其他输出。",
        '"{title}" ({input}) gets {value}; expected {expected}. Connect another output.',
    ),
    "ZI-WF-CYCLE": Bilingual(
        "节点之间存在循环，无法执行：{ring}。请断开其中一条连线。",
        "Nodes form a cycle and cannot run: {ring}. Remove one of its links.",
    ),
    "ZI-WF-NESTED": Bilingual(
        "子图“{title}”包含自身。请从子图中删除它。",
        'The subgraph "{title}" contains itself. Delete the inner one.',
    ),
    "ZI-WF-NO-OUTPUT": Bilingual(
        "没有输出节点，运行后不会有任何结果。请添加“保存图像”之类的节点。",
        "There is no output node, so there would be no result. Add one, such as Save Image.",
    ),
    "ZI-WF-UNREACHABLE": Bilingual(
        "“{title}”没有连接到任何输出节点，不会运行。请连接或删除它。",
        '"{title}" is not connected to an output node and will not run. Connect or delete it.',
    ),
    "ZI-WF-NODE-UNKNOWN": Bilingual(
        "“{title}”的节点类型 {value} 不存在于此 ComfyUI。请安装提供它的节点包，或换用别的节点。",
        'This ComfyUI has no node class {value} ("{title}"). Install the pack that has it, or '
        "use another node.",
    ),
    "ZI-WF-CLASS": Bilingual(
        "节点“{title}”缺少 class_type（节点类型的名称），或它不是字符串：{value}。请补上。",
        'The class_type (the name of the class) of node "{title}" is missing or not a string: '
        "{value}. Add it.",
    ),
    "ZI-WF-INPUT-MISSING": Bilingual(
        "“{title}”缺少必需的输入 {input}（{expected}）。请连接或填写它。",
        '"{title}" has no value for its required input {input} ({expected}). Connect it or fill it '
        "in.",
    ),
    "ZI-WF-INPUT-UNKNOWN": Bilingual(
        "“{title}”没有名为 {input} 的输入（{value}），服务器会忽略它。请改正名称或删除它。",
        '"{title}" ({value}) has no input {input}; the server ignores it. Correct its name, or '
        "delete it.",
    ),
    "ZI-WF-MUTED": Bilingual(
        "“{title}”的 {input} 连到了被静音的节点“{value}”，运行时不会收到任何值。"
        "请取消它的静音，或改接别的节点。",
        '"{title}" ({input}) is linked to the muted node "{value}" and would get no value. Unmute '
        "that node, or connect another.",
    ),
    "ZI-WF-VALUE": Bilingual(
        "“{title}”的 {input} = {value}，不是 {expected}。请填写一个数。",
        '"{title}" has {input} = {value}, which is not {expected}. Give a number.',
    ),
    "ZI-WF-RANGE": Bilingual(
        "“{title}”的 {input} = {value} 超出范围，应为 {expected}。",
        '"{title}" has {input} = {value}; it must be {expected}.',
    ),
    "ZI-WF-CLAMPED": Bilingual(
        "“{title}”的 {input} = {value} 超过上限，服务器会改为 {expected}，图像会比要求的小。"
        "请填写不超过 {expected} 的值。",
        '"{title}" has {input} = {value}, above the limit; the server changes it to {expected}, '
        "and the picture is smaller than requested. Give at most {expected}.",
    ),
    "ZI-WF-CHOICE": Bilingual(
        "“{title}”的 {input} = {value} 不是有效选项：{expected}。请选择其中之一。",
        '"{title}" has {input} = {value}, which is not among: {expected}. Choose one of them.',
    ),
    "ZI-WF-MODEL": Bilingual(
        "“{title}”的 {input} 需要模型文件 {value}，此 ComfyUI 没有。"
        "请放入对应的模型文件夹，或另选一个。",
        '"{title}" ({input}) needs the model file {value}, which this ComfyUI does not have. Put '
        "it into the model folder, or choose another.",
    ),
    "ZI-WF-UNSAFE": Bilingual(
        "“{title}”的 {input} = {value} 不是 safetensors 文件，可能包含恶意代码。"
        "请改用 .safetensors。",
        '"{title}" has {input} = {value}, which is not safetensors and can contain code. Use a '
        ".safetensors file.",
    ),
    "ZI-WF-FILE": Bilingual(
        "“{title}”的 {input} 需要文件 {value}，它不在输入文件夹中。请上传它或另选一个。",
        '"{title}" ({input}) needs the file {value}, which is not in the input folder. Upload it, '
        "or choose another.",
    ),
    "ZI-WF-TEXT": Bilingual(
        "“{title}”的 {input} 含有无效字符（乱码、私用区、未定义或改变文字方向）：{found}。"
        "请重新输入。",
        '"{title}" has invalid characters in {input} (broken text, private use, unassigned or '
        "direction override): {found}. Type those parts again.",
    ),
    "ZI-WF-TEXT-LONG": Bilingual(
        "“{title}”的 {input} 有 {value} 个字符，提示词最多 {expected} 个。请缩短。",
        '"{title}" has {value} characters in {input}; a prompt may have {expected}. Shorten it.',
    ),
    "ZI-WF-CHINESE": Bilingual(
        "“{title}”的 {input} 含有中文，但它的文本编码器（{value}）不支持中文。"
        "请换用支持中文的编码器（例如 Z-Image 的 Qwen3），或改写成英文。",
        '{input} of "{title}" contains Chinese, which its text encoder ({value}) does not '
        "support. Use an encoder that does, such as Z-Image's Qwen3, or write English.",
    ),
    "ZI-WF-TAG": Bilingual(
        "“{title}”的 {input} 含有中文，开头却是 {value}，中文会被当作英文处理。请删除此标签。",
        '{input} of "{title}" starts with {value} but contains Chinese, which would be read as '
        "English. Delete the tag.",
    ),
    "ZI-WF-DOWNLOAD": Bilingual(
        "“{title}”需要模型文件 {value}，可从此处下载：{url}",
        '"{title}" needs the model file {value}, which can be downloaded from {url}',
    ),
    "ZI-WF-FOREIGN": Bilingual(
        "“{title}”的节点类型 {value} 来自第三方节点包，这里不允许。"
        "请换用 ComfyUI 或本节点包的节点。",
        'The node class {value} ("{title}") is from a third-party pack, which is not allowed here. '
        "Use a node of ComfyUI or of this pack.",
    ),
}
