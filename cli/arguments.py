"""The grammar of ``./zimage``. Standard library only: help and usage errors need no environment."""

from __future__ import annotations

import argparse

from ..config import PACK_DIR
from . import templates
from .terminal import USAGE
from .usage import Parser, integer

TEMPLATE = "电商海报生成"
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
comfyui.log: 只在设了 $ZIMAGE_LOG_DIR 时保留 / kept only with $ZIMAGE_LOG_DIR
"""


VALIDATE = """\
例子 / examples:
  ./zimage validate 我的工作流.json
  ./zimage validate *.json --json > 结果.json
  ./zimage validate 我的工作流.json --object-info http://127.0.0.1:8188
  cat prompt.json | ./zimage validate -

退出码 / exit codes:
  0 没有错误（可能有警告）no errors, maybe warnings
  1 至少一个文件有错误 at least one file has errors
  2 用法有误，或文件无法读取 wrong usage, or a file cannot be read
颜色 / colours: 只在终端中，NO_COLOR=1 可关闭 / on terminals alone; NO_COLOR=1 turns them off
"""
TO_API = """\
例子 / examples:
  ./zimage to-api 我的工作流.json > prompt.json
  ./zimage to-api 我的工作流.json --object-info http://127.0.0.1:8188 > prompt.json

有错误时标准输出为空，错误写到标准错误；本机缺少模型或图片不影响转换。
With errors nothing is printed on standard output, and standard error has them. Models and
pictures that the machine lacks are told and do not count.

退出码 / exit codes:
  0 已完整转换 converted wholly
  1 工作流有错误，没有输出 the workflow has errors, nothing was printed
  2 用法有误，或文件无法读取 wrong usage, or the file cannot be read
"""
DOCTOR = """\
退出码 / exit codes:
  0 必需的条件都具备；可能有提示，标为 ! nothing needed is missing; there may be notes, marked !
  2 用法有误 wrong usage
  3 缺少必需的条件，标为 ✗，无法生成图像
    something needed is missing, marked ✗: no pictures can be made
"""
Commands = argparse._SubParsersAction
"""What ``add_subparsers`` gives; argparse has no public name for it."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses a command line.

    The result has ``command`` and the options of that command; ``rest`` holds what is handed on
    (pytest arguments, benchmark arguments, ComfyUI arguments after ``--``).

    Raises:
        SystemExit: 0 after ``--help``, 2 on wrong usage.
    """
    argv, rest = _split(argv)
    parser = _build()
    if not argv:
        parser.print_help()
        raise SystemExit(USAGE)
    options = parser.parse_args(argv)
    options.rest = rest
    return options


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Separates our arguments from those that are handed on unread."""
    command = argv[0] if argv else ""
    if command == "test" and not {"-h", "--help"} & set(argv[1:2]):
        return argv[:1], argv[1:]
    if "--" in argv and command in {"serve", "bench"}:
        cut = argv.index("--")
        return argv[:cut], argv[cut + 1 :]
    return argv, []


def _build() -> argparse.ArgumentParser:
    parser = Parser(
        prog="./zimage",
        description="Z-Image 的 ComfyUI 节点与工作流 / Z-Image nodes and workflows for ComfyUI",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="命令 / commands"
    )
    _add_demo(commands)
    _add_serve(commands)
    _add_development(commands)
    _add_workflows(commands)
    _add_operating(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="画一张示例图 / draw a picture, end to end")
    demo.add_argument("--template", default=TEMPLATE, metavar="NAME",
                      help=f"模板名 / one of: {', '.join(templates.names(PACK_DIR))}")  # fmt: skip
    demo.add_argument("--prompt", metavar="TEXT",
                      help="替换提示词或改图指令 / replace its prompt or instruction")  # fmt: skip
    demo.add_argument("--seed", type=_seed, metavar="N", help="随机种子 / random seed, 0 to 2^64-1")
    demo.add_argument(
        "--out", default=".", metavar="DIR", help="保存到，默认当前文件夹 / save into (here)"
    )
    demo.add_argument("--json", action="store_true", help="输出 JSON / print JSON")
    _add_comfyui(demo)


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="启动服务器 / run the server (-- ComfyUI ARGS)",
        epilog="-- 之后的参数交给 ComfyUI / what follows -- goes to ComfyUI: serve -- --lowvram",
    )
    serve.add_argument("--host", default="127.0.0.1", metavar="H", help="监听地址 / address")
    serve.add_argument("--port", type=_port, default=8188, metavar="P", help="端口 / port (8188)")
    serve.add_argument(
        "--guardian", choices=("on", "off"), default="on",
        help="看护进程：崩溃、卡死时换新 / replaces a server that dies or hangs (on)",
    )  # fmt: skip
    serve.add_argument(
        "--standby", choices=("auto", "on", "off"), default="auto",
        help="备用进程，约占 0.6 GB 内存 / a second process waits, 0.6 GB (auto)",
    )  # fmt: skip
    _add_comfyui(serve)


def _add_development(commands: Commands) -> None:
    commands.add_parser(
        "test",
        help="运行测试 / run the tests; further arguments go to pytest",
        usage="./zimage test [--coverage | --host-suite [SUITE ...]] [PYTEST ARGS]",
        epilog="--coverage: 显示分支覆盖率和最慢的测试 / print branch coverage and the slowest "
        "tests\n--host-suite: ComfyUI 自带的测试（tests/execution, tests-unit），在副本中"
        "运行 / ComfyUI's own tests, in a copy of it that has this pack and its hardening",
    )
    check = commands.add_parser("check", help="静态检查 / lint, types, import boundaries, spelling")
    check.add_argument("names", nargs="*", metavar="NAME", help="只做这些 / only these checks")
    commands.add_parser("lock", help="更新依赖锁 / rewrite requirements.lock (for maintainers)")

    bench = commands.add_parser("bench", help="性能测试 / a benchmark; no name: the list")
    bench.add_argument("name", nargs="?", metavar="NAME", help="名称 / name")
    bench.add_argument("--json", action="store_true", help="输出 JSON / print JSON")


def _add_workflows(commands: Commands) -> None:
    validate = commands.add_parser(
        "validate", help="检查工作流 / check workflows; none: ours", epilog=VALIDATE,
        description="不运行就检查工作流 / checks workflows without running them",
    )  # fmt: skip
    validate.add_argument(
        "files", nargs="*", metavar="FILE",
        help="工作流，页面保存的或 API 格式；- 为标准输入，不写则为自带的模板 / "
        "workflows that the page saved, or API form; - is stdin, none: the bundled templates",
    )  # fmt: skip
    validate.add_argument("--json", action="store_true", help="输出 JSON / print JSON")
    validate.add_argument(
        "--core-only", action="store_true",
        help="第三方节点算作错误 / nodes of other packs than ComfyUI and this one are errors",
    )  # fmt: skip
    _add_object_info(validate)

    to_api = commands.add_parser(
        "to-api", help="工作流转为 API 格式 / a workflow as API JSON", epilog=TO_API,
        description="把页面保存的工作流转为 POST /prompt 所用的 JSON，写到标准输出 / "
        "prints what the page saved as the JSON of POST /prompt",
    )  # fmt: skip
    to_api.add_argument(
        "file", metavar="FILE",
        help="页面保存的工作流，- 为标准输入 / what the page saved; - is stdin",
    )  # fmt: skip
    _add_object_info(to_api)


def _add_operating(commands: Commands) -> None:
    drill = commands.add_parser("drill", help="故障演练 / faults against a server under load")
    drill.add_argument("--rounds", type=_rounds, metavar="N", help="轮数，默认每种一次 / each once")
    drill.add_argument("--seed", type=_seed, metavar="N", help="随机种子 / the same drill again")
    drill.add_argument("--only", nargs="+", metavar="FAULT", help="只做这些 / these alone")
    drill.add_argument("--list", action="store_true", help="列出故障 / list the faults")
    drill.add_argument("--json", action="store_true", help="输出 JSON / print JSON")
    _add_comfyui(drill)

    doctor = commands.add_parser(
        "doctor", help="检查本机 / what this machine has and lacks", epilog=DOCTOR
    )
    doctor.add_argument("--json", action="store_true", help="输出 JSON / print JSON")
    doctor.add_argument(
        "--server",
        metavar="URL",
        default="http://127.0.0.1:8188",
        help="正在运行的服务器，看它的加固 / a server that runs, for its hardening (%(default)s)",
    )
    _add_comfyui(doctor)


def _add_comfyui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comfyui", metavar="DIR", help="使用这个 ComfyUI / use this ComfyUI")


def _add_object_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--object-info",
        metavar="FILE|URL",
        help="按哪个 ComfyUI 的节点、模型和图片检查：服务器的地址，或存有其 /object_info 内容的"
        "文件；不给则用内置的节点信息，不查文件是否存在 / whose nodes, models and pictures count: "
        "the address of a running server, or a file with the answer of its /object_info (without: "
        "the stored nodes, no files)",
    )


def _rounds(text: str) -> int:
    return integer(text, 1, 10**6)


def _port(text: str) -> int:
    return integer(text, 1, 65535)


def _seed(text: str) -> int:
    return integer(text, 0, 2**64 - 1)
