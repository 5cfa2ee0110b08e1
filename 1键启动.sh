#!/bin/sh
# 与 ./zimage serve 相同，参数照样传入。 / The same as ./zimage serve; arguments are passed on.
if ! command -v python3 >/dev/null 2>&1; then
    echo "缺少 Python。请先安装：sudo apt install python3 python3-venv" >&2
    echo "Python is missing. Install it first: sudo apt install python3 python3-venv" >&2
    exit 3
fi
exec "$(dirname -- "$0")/zimage" serve "$@"
