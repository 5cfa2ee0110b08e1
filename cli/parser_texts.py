"""Every text of the parser of ``./zimage``, in Chinese and English."""

from __future__ import annotations

from ..errors.bilingual import Bilingual

DESCRIPTION = Bilingual(
    "Z-Image 的 ComfyUI 节点与工作流", "Z-Image nodes and workflows for ComfyUI"
)
EXAMPLES = """\
例子 / examples:
  ./zimage demo                                   第一张图 / the first picture
  ./zimage demo --template 古风插画 --seed 7      指定模板和种子 / choose template and seed
  ./zimage demo --prompt "蓝色背景上的红色圆球" --out 图片
  ./zimage serve --port 8188                      打开 ComfyUI 页面 / the ComfyUI page
  ./zimage serve --comfyui ~/ComfyUI -- --lowvram
  ./zimage test -k config                         部分测试 / some of the tests
  ./zimage bench turbo --json
  ./zimage validate 我的工作流.json --object-info http://127.0.0.1:8188
  ./zimage to-api 我的工作流.json > prompt.json
  ./zimage drill --rounds 100                     故障演练 / faults under load
  ./zimage doctor

退出码 / exit codes:
  0 完成 done, 1 任务失败 job failed, 2 用法有误 wrong usage, 3 本机缺少条件 machine lacks something
ComfyUI: --comfyui，否则 / else $COMFYUI_PATH，否则自带的 / else the embedded one
状态目录 / state: $ZIMAGE_HOME (~/.cache/zimage-comfyui)；数据目录 / your data: $ZIMAGE_HOME/data
日志 / logs: $ZIMAGE_LOG_DIR，否则 / else $ZIMAGE_HOME/logs
comfyui.log: 只在设置了 $ZIMAGE_LOG_DIR 时保留 / kept only with $ZIMAGE_LOG_DIR
"""

COMMANDS = {
    "demo": Bilingual("生成一张示例图", "make a picture, end to end"),
    "serve": Bilingual("启动服务器", "run the server (-- ComfyUI ARGS)"),
    "test": Bilingual("运行测试", "run the tests; further arguments go to pytest"),
    "check": Bilingual("静态检查", "lint, types, import boundaries, spelling"),
    "lock": Bilingual("更新依赖锁", "rewrite requirements.lock (for maintainers)"),
    "bench": Bilingual("性能测试", "a benchmark; without a name, the list"),
    "validate": Bilingual("检查工作流", "check workflows; without a file, ours"),
    "to-api": Bilingual("工作流转为 API 格式", "a workflow as API JSON"),
    "drill": Bilingual("故障演练", "faults against a server under load"),
    "doctor": Bilingual("检查本机", "what this machine has and lacks"),
}
"""What each command does."""

DESCRIPTIONS = {
    "validate": Bilingual("不运行就检查工作流", "check workflows without running them"),
    "to-api": Bilingual(
        "把页面保存的工作流转为 POST /prompt 所用的 JSON，写到标准输出",
        "print a workflow that the page saved as the JSON of POST /prompt",
    ),
}

EPILOGUES = {
    "serve": "-- 之后的参数交给 ComfyUI / arguments after -- go to ComfyUI: serve -- --lowvram",
    "test": """\
--coverage: 显示分支覆盖率和最慢的测试 / print branch coverage and the slowest tests
--host-suite: 在副本中运行 ComfyUI 自带的测试（tests/execution, tests-unit）/ ComfyUI's own
  tests, in a copy of it that has this pack and its hardening
""",
    "validate": """\
例子 / examples:
  ./zimage validate 我的工作流.json
  ./zimage validate *.json --json > 结果.json
  ./zimage validate 我的工作流.json --object-info http://127.0.0.1:8188
  cat prompt.json | ./zimage validate -

退出码 / exit codes:
  0 没有错误（可能有警告）no errors, maybe warnings
  1 至少一个文件有错误 at least one file has errors
  2 用法有误，或文件无法读取 wrong usage, or a file cannot be read
颜色 / colours: 只在终端中，NO_COLOR=1 可关闭 / only on terminals; NO_COLOR=1 turns them off
""",
    "to-api": """\
例子 / examples:
  ./zimage to-api 我的工作流.json > prompt.json
  ./zimage to-api 我的工作流.json --object-info http://127.0.0.1:8188 > prompt.json

有错误时标准输出为空，错误写到标准错误；本机缺少模型或图片不影响转换。
With errors, standard output stays empty and standard error has the errors. Models and pictures
that the machine does not have are reported, but are no errors.

退出码 / exit codes:
  0 已完整转换 converted completely
  1 工作流有错误，没有输出 the workflow has errors, nothing was printed
  2 用法有误，或文件无法读取 wrong usage, or the file cannot be read
""",
    "doctor": """\
退出码 / exit codes:
  0 必需的条件都具备；可能有提示，标为 ! nothing needed is missing; there may be notes, marked !
  2 用法有误 wrong usage
  3 缺少必需的条件，标为 ✗，无法生成图像
    something needed is missing, marked ✗: no pictures can be made
""",
}
"""What follows the options in the help of a command."""

OPTIONS = {
    "--help": Bilingual("显示本帮助", "show this help"),
    "--json": Bilingual("输出 JSON", "print JSON"),
    "--comfyui": Bilingual("使用这个 ComfyUI", "use this ComfyUI"),
    "--object-info": Bilingual(
        "按哪个 ComfyUI 的节点、模型和图片检查：服务器的地址，或保存了其 /object_info 响应的"
        "文件；省略时使用内置的节点信息，不检查文件是否存在",
        "the ComfyUI whose nodes, models and pictures count: the address of a running server, or "
        "a file with the response of its /object_info (default: the stored nodes, no files)",
    ),
    "demo --template": Bilingual("模板名", "one of: {names}"),
    "demo --prompt": Bilingual("替换提示词或改图指令", "replace its prompt or instruction"),
    "demo --seed": Bilingual("随机种子", "random seed, 0 to 2^64-1"),
    "demo --out": Bilingual("保存到，默认当前文件夹", "save into this folder (here)"),
    "serve --host": Bilingual("监听地址", "address"),
    "serve --port": Bilingual("端口", "port (8188)"),
    "serve --guardian": Bilingual(
        "守护进程：崩溃、卡死时替换服务器", "replaces a server that crashes or hangs (on)"
    ),
    "serve --standby": Bilingual(
        "热备进程，约占 0.6 GB 内存", "a second process stands by, 0.6 GB (auto)"
    ),
    "check names": Bilingual("只做这些检查", "only these checks"),
    "bench name": Bilingual("名称", "name"),
    "validate files": Bilingual(
        "工作流，页面保存的或 API 格式；- 为标准输入，省略时检查自带的模板",
        "workflows saved by the page, or in API form; - is stdin, none: the bundled templates",
    ),
    "validate --core-only": Bilingual(
        "第三方节点算作错误", "nodes of other packs than ComfyUI and this one are errors"
    ),
    "to-api file": Bilingual(
        "页面保存的工作流，- 为标准输入", "a workflow saved by the page; - is stdin"
    ),
    "drill --rounds": Bilingual("轮数，默认每种一次", "number of faults (default: each once)"),
    "drill --seed": Bilingual("随机种子", "random seed, to repeat a drill"),
    "drill --only": Bilingual("只做这些", "only these faults"),
    "drill --list": Bilingual("列出故障", "list the faults"),
    "doctor --server": Bilingual(
        "检查这个正在运行的服务器的加固",
        "the running server whose hardening is checked (%(default)s)",
    ),
}
"""Help of options: of one command, or of every command that has the option."""

COMMANDS_TITLE = Bilingual("命令", "commands")
POSITIONALS_TITLE = Bilingual("参数", "arguments")
OPTIONS_TITLE = Bilingual("选项", "options")
USAGE_PREFIX = f"{Bilingual('用法', 'usage')}: "

WRONG_USAGE = Bilingual("用法有误：{problem}（见 {program} --help）", "wrong usage: {problem}")
SUGGESTION = Bilingual("{problem}。是否想写 {name}？", "{problem}. Did you mean {name}?")
ARGUMENT = Bilingual("{name}：{problem}", "argument {name}: {problem}")
NOT_AN_INTEGER = Bilingual(
    "{text!r} 不是 {low} 到 {high} 的整数", "{text!r} is not an integer from {low} to {high}"
)

ARGPARSE_MESSAGES = {
    "the following arguments are required: %s": "缺少参数 %s",
    "unrecognized arguments: %s": "未知参数：%s",
    "ambiguous option: %(option)s could match %(matches)s": "%(option)s 不明确，可能是 %(matches)s",
    "one of the arguments %s is required": "需要这些参数之一：%s",
    "not allowed with argument %s": "不能与 %s 同时使用",
    "invalid choice: %(value)r (choose from %(choices)s)": "没有 %(value)r，可选：%(choices)s",
    "invalid %(type)s value: %(value)r": "%(value)r 不是 %(type)s 类型的值",
    "expected one argument": "需要一个值",
    "expected at most one argument": "最多一个值",
    "expected at least one argument": "至少需要一个值",
    "expected %s argument": "需要 %s 个值",
    "expected %s arguments": "需要 %s 个值",
    "ignored explicit argument %r": "不接受值，却给了 %r",
}
"""Chinese translations of argparse's messages, by the text that argparse gives to gettext."""
