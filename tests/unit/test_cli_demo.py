"""What ``demo`` hands to the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_comfyui.cli import demo
from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.host import Host
from zimage_comfyui.config import Settings


class _ReachedError(Exception):
    pass


@pytest.mark.parametrize("named", [True, False])
def test_the_log_goes_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """``comfyui.log`` in ``$ZIMAGE_LOG_DIR``; without it the server chooses."""

    def reach(*_: object, log: Path | None) -> None:
        assert log == (tmp_path / "comfyui.log" if named else None)
        raise _ReachedError

    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    monkeypatch.setattr(demo, "discover", lambda *_: Host(tmp_path, Path("python"), "argument"))
    monkeypatch.setattr(demo, "Server", reach)
    settings = Settings(home=tmp_path, log_dir=tmp_path if named else None)
    with pytest.raises(_ReachedError):
        demo.run(parse(["demo", "--out", str(tmp_path)]), settings)
