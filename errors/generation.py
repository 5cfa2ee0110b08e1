"""Making pictures: files, models, prompts, sizes."""

TEXTS: dict[str, tuple[str, str]] = {
    # files and checkpoints
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
        "若要用 Turbo 或 Base 修改一张图像，请在「Z-Image 改图」里只接 image"
        "（去掉 image_2、image_3），并把采样器的 denoise 调到 1 以下。",
        "This model ({found}) has not learned reference pictures and would leave them out. Load a "
        "Z-Image Edit or Omni model; to change one picture with Turbo or Base, connect only image "
        "of Z-Image Edit (take image_2 and image_3 off) and set the sampler's denoise below 1.",
    ),
    "ZI-EDIT-DENOISE": (
        "采样器的 denoise 是 1：Turbo 和 Base 会从纯噪声开始，接入的图像完全不起作用。"
        "请把 denoise 调到 1 以下（0.6 左右会保留构图），或接上遮罩，或改用 Edit 模型。",
        "The sampler's denoise is 1: Turbo and Base would begin with noise alone, and nothing of "
        "the picture would be left. Set denoise below 1 (about 0.6 keeps the layout), connect a "
        "mask, or load an Edit model.",
    ),
    "ZI-PICTURE": (
        "这张图像无法使用：{found}。应为 {expected}。",
        "This picture cannot be used: {found}. Expected: {expected}.",
    ),
    "ZI-PICTURE-COUNT": (
        "{name} 共有 {found} 张（批次里的每张、动图的每一帧都算一张），"
        "这里能用的张数是 {expected}。请先选出要用的，例如用 ImageFromBatch 节点。",
        "{name} has {found} pictures (each of a batch and each frame of an animation counts); here "
        "the number must be {expected}. Choose them first, for example with the ImageFromBatch "
        "node.",
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
    # the dual encoder
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
    # prompts
    "ZI-TEXT-LONG": (
        "提示词有 {found} 个字符，最多 {maximum} 个。请缩短提示词。",
        "The prompt has {found} characters; at most {maximum} are allowed. Shorten it.",
    ),
    "ZI-TEXT-TOKENS": (
        "提示词有 {found} 个词元，最多 {maximum} 个（官方模型按 512 个训练）。请缩短提示词。",
        "The prompt has {found} tokens; at most {maximum} are allowed (the official models were "
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
    # sizes and sampling
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
    # output
    "ZI-OUTPUT": (
        "无法写入 {path}：{found}。请检查文件夹权限和磁盘空间。",
        "Could not write {path}: {found}. Check the folder's permissions and the disk space.",
    ),
}
