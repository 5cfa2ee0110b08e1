"""``./zimage`` from an empty home: made once, safe when two start, resumed after a kill."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.tests.fakes import small_pack

LAUNCHER = getattr(sys, "_base_executable", None) or sys.executable


class Pack:
    """A small pack and the means to run its ``./zimage``."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.path, self.env = small_pack.make(root, folder)
        self.home = folder / "home"

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Starts ``./zimage`` with pipes for both outputs."""
        return subprocess.Popen(
            [LAUNCHER, str(self.path / "zimage"), *arguments],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs ``./zimage`` to its end."""
        with self.start(*arguments, **env) as process:
            try:
                out, err = process.communicate(timeout=300)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def link(self) -> Path:
        """The pack's entry in the embedded host's ``custom_nodes``."""
        (found,) = self.home.glob("host-*/ComfyUI/custom_nodes/z-image-comfyui")
        return found


@pytest.fixture
def small(pack_dir: Path, tmp_path: Path) -> Pack:
    """A small pack that was never started."""
    return Pack(pack_dir, tmp_path)


def test_first_start_makes_everything_and_the_second_nothing(small: Pack) -> None:
    """The host is complete and holds the pack; the second start is silent and installs nothing."""
    first = small.run("bench", "--json")
    assert (first.returncode, first.stdout) == (0, "[]\n"), first.stderr
    assert "首次准备" in first.stderr
    assert small.link().resolve() == small.path
    assert (small.link().parents[1] / "main.py").exists()
    assert not (small.link().parents[1] / "extra_model_paths.yaml").exists()
    for name in ("wheels", "cache"):
        (small.folder / name).rename(small.folder / f"{name}-gone")
    with (small.home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody is making something: no reason to wait
        second = small.run("bench", "--json")
    assert (second.returncode, second.stdout, second.stderr) == (0, "[]\n", "")


def test_two_starts_at_once_make_it_once(small: Pack) -> None:
    """The second waits for the first and then finds everything done."""
    with small.start("bench") as one, small.start("bench") as two:
        errors = [process.communicate(timeout=300)[1] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), errors
    assert sum("首次准备" in text for text in errors) == 1
    assert sum("等待" in text for text in errors) == 1


@pytest.mark.parametrize("moment", ["安装 uv", "安装依赖", "准备内置的"])
def test_a_killed_start_is_resumed(small: Pack, moment: str) -> None:
    """Killed at any stage, the next start ends with everything in place."""
    with small.start("bench") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                process.send_signal(signal.SIGKILL)
                break
        else:
            pytest.fail(f"never said {moment}")
    assert process.returncode == -signal.SIGKILL
    again = small.run("bench", "--json")
    assert (again.returncode, again.stdout) == (0, "[]\n"), again.stderr
    assert small.link().resolve() == small.path


def test_half_made_folders_are_made_again(small: Pack) -> None:
    """What has no marker does not count, whatever lies there."""
    assert small.run("bench").returncode == 0
    (env,) = small.home.glob("env-*")
    host = small.link().parents[1]
    for path in (env / ".ready", host.parent / ".ready", host / "main.py", env / "bin" / "uv"):
        path.unlink()
    again = small.run("bench")
    assert again.returncode == 0, again.stderr
    assert (host / "main.py").exists()
    assert (env / "bin" / "uv").exists()


def test_a_file_with_another_hash_is_refused(small: Pack) -> None:
    """A package that is not the one in the lock is never installed."""
    lock = small.path / "requirements.lock"
    text = lock.read_text()
    digest = text.rpartition("sha256:")[2].strip()
    lock.write_text(text.replace(digest, "0" * 64))
    done = small.run("bench")
    assert done.returncode == 3
    assert "ZI-ENV-HASH" in done.stderr
    assert not list(small.home.glob("env-*/.ready"))


def test_no_network_is_told_in_one_sentence(small: Pack) -> None:
    """Exit code 3, both languages, no traceback."""
    nowhere = "http://127.0.0.1:9/simple/"
    unset = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": nowhere}
    done = small.run("bench", **unset)
    assert done.returncode == 3
    assert "[ZI-ENV-NETWORK] 无法连接软件包源" in done.stderr
    assert "[ZI-ENV-NETWORK] Cannot reach the package index" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_cannot_be_written_is_named(small: Pack) -> None:
    """Exit code 3 and the variable that helps."""
    done = small.run("bench", ZIMAGE_HOME="/dev/null/home")
    assert done.returncode == 3
    assert "/dev/null/home" in done.stderr
    assert "ZIMAGE_HOME" in done.stderr


def test_a_full_disk_is_told_before_anything_is_downloaded(small: Pack) -> None:
    """Exit code 3, with the space found and needed."""
    patched = small.path / "cli" / "install.py"
    patched.write_text(patched.read_text().replace("NEEDED_GB = 7\n", "NEEDED_GB = 10**9\n"))
    done = small.run("bench")
    assert done.returncode == 3
    assert "ZI-ENV-SPACE" in done.stderr
    assert not list(small.home.glob("uv-*"))


def test_usage_errors_and_help_need_no_environment(small: Pack) -> None:
    """Nothing is downloaded for a typing error."""
    assert small.run("--help").returncode == 0
    assert small.run("demo", "--template", "x").returncode == 3  # this copy has no templates
    assert small.run("serve", "--port", "x").returncode == 2
    assert not small.home.exists()


def test_a_moved_pack_gets_its_own_link(small: Pack) -> None:
    """Two copies on one home do not take each other's place in custom_nodes."""
    assert small.run("bench").returncode == 0
    other = small.path.rename(small.path.with_name("moved"))
    small.path = other
    assert small.run("bench").returncode == 0
    links = {path.resolve() for path in small.home.glob("host-*/*/custom_nodes/z-image-comfyui")}
    assert other in links


def test_a_wrong_python_is_told_in_one_sentence(small: Pack) -> None:
    """An unsuitable Python, with no suitable one on PATH, ends with 3 before anything is loaded."""
    launcher = small.path / "zimage"
    text = launcher.read_text(encoding="utf-8")
    launcher.write_text(text.replace("= (3, 11), (3, 13)", "= (3, 8), (3, 9)"), encoding="utf-8")
    done = small.run("doctor", PATH="/nonexistent")
    assert done.returncode == 3
    assert done.stderr.startswith("需要 Python 3.11 至 3.13，当前是 3.1")
    assert len(done.stderr.splitlines()) == 2
