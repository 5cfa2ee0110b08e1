"""Names of files that the save node accepts are those that ComfyUI accepts."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path

import pytest

from zimage_comfyui.engine import saving
from zimage_comfyui.errors import ZImageError

INSIDE = ["x", "a/b/x", "海报/x", "%year%/图", "a/../x", "./x", "", ".", "..", "a/..", "a..b/..x"]
OUTSIDE = ["../x", "../../x", "a/../../x", "/etc/x", "/x", "//x", "/output/x", "../output/x"]


def accepted(prefix: str, output: str | None = None) -> bool:
    try:
        saving.check_prefix(prefix, output)
    except ZImageError:
        return False
    return True


def host_accepts(prefix: str, output: str) -> bool:
    """What ``folder_paths.get_save_image_path`` checks."""
    folder = os.path.join(output, os.path.dirname(os.path.normpath(prefix)))
    return os.path.commonpath((output, os.path.abspath(folder))) == output


@pytest.mark.parametrize("prefix", INSIDE)
def test_names_inside_any_folder(prefix: str) -> None:
    """A relative name that stays in the folder is fine whether or not the folder is known."""
    assert accepted(prefix)
    assert accepted(prefix, "/data/pictures")


@pytest.mark.parametrize("prefix", OUTSIDE)
def test_names_outside(prefix: str) -> None:
    """Also ``/output``, which is no folder of ComfyUI."""
    assert not accepted(prefix)
    assert not accepted(prefix, "/data/pictures")


def test_absolute_names_depend_on_the_real_folder() -> None:
    """ComfyUI accepts one inside its own output folder, wherever that is."""
    output = "/data/output"
    for prefix in ("/data/output/x", "/data/output/a/x", "../output/x", "/data/output/../output/x"):
        assert accepted(prefix, output)
        assert not accepted(prefix)
    for prefix in ("/data/output", "/data/outputs/x", "/data/x", "/output/x"):
        assert not accepted(prefix, output)
    assert accepted("/output/x", "/output")
    assert accepted("/etc/x", "/")


@pytest.mark.parametrize("output", ["/data/output", "/output", "/", "/data/output/"])
def test_the_rule_is_that_of_comfyui(output: str) -> None:
    """For each name above, and for each of them inside the folder."""
    names = [*INSIDE, *OUTSIDE, output, f"{output}/x", f"{output}/../x", f"{output}s/x"]
    for prefix in names:
        assert accepted(prefix, output) == host_accepts(prefix, output), prefix


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link inside the folder may lead anywhere; a link to the folder is another folder."""
    output = tmp_path / "output"
    output.mkdir()
    (output / "elsewhere").symlink_to("/")
    (tmp_path / "link").symlink_to(output)
    assert accepted("elsewhere/x", str(output))
    assert accepted(f"{output}/elsewhere/x", str(output))
    assert not accepted(f"{tmp_path}/link/x", str(output))


@pytest.mark.parametrize(
    "prefix", ["D:\\x", "D:x\\y", "\\x", "/x", "\\\\server\\share\\x", "..\\x"]
)
def test_drives_and_roots_of_windows(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another drive, also without a root, is outside and no uncoded error."""
    monkeypatch.setattr(saving.os, "path", ntpath)
    monkeypatch.setattr(saving.os, "sep", "\\")
    assert not accepted(prefix)
    assert not accepted(prefix, "C:\\ComfyUI\\output")
    assert accepted("a\\x")
    assert accepted("a/x", "C:\\ComfyUI\\output")
    assert accepted("C:\\ComfyUI\\output\\x", "C:\\ComfyUI\\output")


def test_the_message_names_the_folder_in_both_languages() -> None:
    """The real one where it is known."""
    with pytest.raises(ZImageError) as caught:
        saving.check_prefix("/etc/x", "/data/output")
    assert caught.value.code == "ZI-VALUE"
    assert "/data/output 内的路径" in caught.value.chinese
    assert "a path inside /data/output" in caught.value.english
