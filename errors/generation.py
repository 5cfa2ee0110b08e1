"""Errors of generation: files, models, prompts and sizes of pictures."""

from __future__ import annotations

from .bilingual import Bilingual

TEXTS = {
    # files and checkpoints
    "ZI-FILE-MISSING": Bilingual(
        "找不到文件 {path}。请检查名称，或把文件放进 {folder}。",
        "File {path} was not found. Check the name, or put the file into {folder}.",
    ),
    "ZI-FILE-PICKLE": Bilingual(
        "{path} 是 pickle 格式的检查点，可能包含恶意代码，因此不会打开。请改用 .safetensors 文件。",
        "{path} is a pickle checkpoint, which can contain malicious code, so it is not opened. "
        "Use a .safetensors file.",
    ),
    "ZI-FILE-CORRUPT": Bilingual(
        "{path} 不是完整的 safetensors 文件：{found}。应为：{expected}。请重新下载该文件。",
        "{path} is not an intact safetensors file: {found}. Expected: {expected}. "
        "Download the file again.",
    ),
    "ZI-FILE-UNREADABLE": Bilingual(
        "无法读取 {path}：{found}。请检查它的权限和所在磁盘。",
        "Cannot read {path}: {found}. Check its permissions and its disk.",
    ),
    "ZI-MODEL-KIND": Bilingual(
        "{path} 不是{expected}：{found}。请选择正确的文件。",
        "{path} is not {expected}: {found}. Choose the right file.",
    ),
    "ZI-MODEL-KEYS": Bilingual(
        "{path} 的权重与 Z-Image 结构不符：{found}；应为 {expected}。"
        "文件可能不完整，或属于其他模型。",
        "The weights in {path} do not fit the Z-Image architecture: found {found}; expected "
        "{expected}. The file may be incomplete or belong to another model.",
    ),
    "ZI-EDIT-MODEL": Bilingual(
        "这个模型（{found}）未经参考图训练，会直接忽略参考图。请加载 Z-Image Edit 或 Omni 模型；"
        "若要用 Turbo 或 Base 修改一张图像，请在「Z-Image 改图」里只接 image"
        "（去掉 image_2、image_3），并把采样器的 denoise 调到 1 以下。",
        "This model ({found}) is not trained with reference pictures and would ignore them. Load a "
        "Z-Image Edit or Omni model. To change one picture with Turbo or Base, connect only image "
        "of Z-Image Edit (disconnect image_2 and image_3), and set the sampler's denoise below 1.",
    ),
    "ZI-EDIT-DENOISE": Bilingual(
        "采样器的 denoise 是 1：Turbo 和 Base 会从纯噪声开始，输入图像完全不起作用。"
        "请把 denoise 调到 1 以下（0.6 左右会保留构图），或接上遮罩，或改用 Edit 模型。",
        "The sampler's denoise is 1: Turbo and Base would start from pure noise and ignore the "
        "picture. Set denoise below 1 (about 0.6 keeps the layout), connect a mask, or load an "
        "Edit model.",
    ),
    "ZI-PICTURE": Bilingual(
        "这张图像无法使用：{found}。应为 {expected}。",
        "This picture cannot be used: {found}. Expected: {expected}.",
    ),
    "ZI-PICTURE-COUNT": Bilingual(
        "{name} 共有 {found} 张（批次里的每张、动图的每一帧都算一张），"
        "此处应为 {expected} 张。请先选出要用的，例如用 ImageFromBatch 节点。",
        "{name} has {found} pictures (each of a batch and each frame of an animation counts); here "
        "the number must be {expected}. Choose them first, for example with the ImageFromBatch "
        "node.",
    ),
    "ZI-PICTURE-SIZE": Bilingual(
        "图像为 {found} 像素，每边应在 {minimum} 到 {maximum} 像素之间。请先缩放。",
        "The picture has {found} pixels; each side must have {minimum} to {maximum}. Scale it "
        "first.",
    ),
    "ZI-TEXT-WIDTH": Bilingual(
        "文本编码器输出宽度为 {found}，而扩散模型需要 {expected}。请选择与模型配套的文本编码器。",
        "The output of the text encoder has width {found}; the diffusion model needs {expected}. "
        "Choose the text encoder of this model.",
    ),
    # the dual encoder
    "ZI-DUAL-UNTRAINED": Bilingual(
        "适配器 {path} 未经训练，生成的图像会与提示词无关。请使用训练过的适配器"
        "（demo/train_adapter.py 可以训练）。",
        "The adapter {path} is not trained, so pictures would not follow the prompt. Use a trained "
        "one (demo/train_adapter.py trains one).",
    ),
    "ZI-DUAL-OTHER": Bilingual(
        "适配器 {path} 是为另一个 {kind} 训练的："
        "与 {file} 的吻合度为 {found}，至少需要 {expected}。"
        "请选择与之配套的文件，或为它训练适配器（demo/train_adapter.py）。",
        "The adapter {path} was trained for another {kind}: its agreement with {file} is {found}, "
        "at least {expected} is needed. Choose files that belong together, or train an adapter for "
        "these (demo/train_adapter.py).",
    ),
    "ZI-DUAL-VOCABULARY": Bilingual(
        "没有与 {path} 配套的词表：它有 {expected} 个词，找到的词表有 {found} 个。"
        "请把模型的 vocab.txt 放到同一文件夹。",
        "No vocabulary fits {path}: it has {expected} words, but the vocabulary found has {found}. "
        "Put the model's vocab.txt in the same folder.",
    ),
    # prompts
    "ZI-TEXT-LONG": Bilingual(
        "提示词有 {found} 个字符，最多 {maximum} 个。请缩短提示词。",
        "The prompt has {found} characters; at most {maximum} are allowed. Shorten it.",
    ),
    "ZI-TEXT-TOKENS": Bilingual(
        "提示词有 {found} 个词元，最多 {maximum} 个（官方模型按 512 个训练）。请缩短提示词。",
        "The prompt has {found} tokens; at most {maximum} are allowed (the official models were "
        "trained with 512). Shorten it.",
    ),
    "ZI-TEXT-REPLACEMENT": Bilingual(
        "提示词第 {position} 个字符（“{before}”之后）是 U+FFFD，说明文本解码有误。"
        "请重新输入此处，并以 UTF-8 保存和发送。",
        'Character {position} of the prompt (after "{before}") is U+FFFD: the text was decoded '
        "incorrectly. Type that part again, and save and send it as UTF-8.",
    ),
    "ZI-TEXT-SURROGATE": Bilingual(
        "提示词第 {position} 个字符（“{before}”之后）是半个字符（孤立代理项 {found}）。"
        "请重新输入。",
        'Character {position} of the prompt (after "{before}") is half a character (lone surrogate '
        "{found}). Type it again.",
    ),
    "ZI-TEXT-PRIVATE": Bilingual(
        "提示词第 {position} 个字符（“{before}”之后）是私用区字符 {found}，没有统一含义。"
        "请换成普通文字。",
        'Character {position} of the prompt (after "{before}") is {found}, a private-use character '
        "without a common meaning. Use ordinary text.",
    ),
    "ZI-TEXT-UNASSIGNED": Bilingual(
        "提示词第 {position} 个字符（“{before}”之后）是 {found}，Unicode 未定义此字符。请删去它。",
        'Character {position} of the prompt (after "{before}") is {found}, which Unicode does '
        "not define. Delete it.",
    ),
    "ZI-TEXT-BIDI": Bilingual(
        "提示词第 {position} 个字符（“{before}”之后）是 {found}，会使显示的文字与实际内容不一致。"
        "请删去它。",
        'Character {position} of the prompt (after "{before}") is {found}, which makes the text '
        "look different from what it contains. Delete it.",
    ),
    # sizes and sampling
    "ZI-SIZE": Bilingual(
        "图像尺寸 {found} 无效。宽和高都应是 16 的倍数，且在 {minimum} 到 {maximum} 之间。",
        "Invalid image size {found}. Width and height must be multiples of 16 between "
        "{minimum} and {maximum}.",
    ),
    "ZI-BATCH": Bilingual(
        "批量大小 {found} 无效，应在 1 到 {maximum} 之间。",
        "Invalid batch size {found}; it must be between 1 and {maximum}.",
    ),
    "ZI-STEPS": Bilingual(
        "步数 {found} 无效。请填 1 到 {maximum}，或填 -1 使用预设（{preset} 步）。",
        "Invalid number of steps {found}. Give 1 to {maximum}, or -1 for the preset ({preset}).",
    ),
    "ZI-VALUE": Bilingual(
        "{name} = {found} 无效，应为 {expected}。",
        "Invalid value {name} = {found}; expected {expected}.",
    ),
    # output
    "ZI-OUTPUT": Bilingual(
        "无法写入 {path}：{found}。请检查文件夹权限和磁盘空间。",
        "Cannot write {path}: {found}. Check the folder's permissions and the disk space.",
    ),
}
