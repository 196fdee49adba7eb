"""What of a checkout travels to a cluster: modules and their data, whatever else lies there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cluster.code import PACKAGE_DATA, PACKAGES, staged_code
from tests.commands import ROOT

SCAN_BYTES = 60 << 20

LIST = """
import sys
from study.cluster.code import staged_code
with staged_code() as folder:
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            print(path.relative_to(folder), path.stat().st_size)
"""


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages in a folder where much else lies."""
    copy = tmp_path / "checkout"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    return copy


def _sent(checkout: Path) -> dict[str, int]:
    """Names and sizes of what the code in a checkout would send of itself."""
    ended = subprocess.run(
        [sys.executable, "-c", LIST],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.rsplit(" ", 1) for line in ended.stdout.splitlines())
    return {name: int(size) for name, size in lines}


def _strew(checkout: Path) -> Iterator[Path]:
    """Put into a checkout, and into its packages, what people leave there."""
    for place in ("", "study", "study/run", "trainables/models", "study/prepare/templates"):
        folder = checkout / place
        for name in (".env", "token", "auth_token", "notes.ipynb", "keys.json", "a.log", "x.pyc"):
            (folder / name).write_text("SECRET")
            yield folder / name
        scan = folder / "sub-01_T1w.nii.gz"
        with scan.open("wb") as stream:
            stream.truncate(SCAN_BYTES)
        yield scan
    for name in ("datasets/my data/x.py", "study/.cache/x.py", "study/scratch/x.py", "runs/x.py"):
        path = checkout / name
        path.parent.mkdir(parents=True)
        path.write_text("SECRET = 1")
        yield path
    (checkout / "private.py").write_text("SECRET = 1")
    yield checkout / "private.py"
    (checkout / "study" / "linked.py").symlink_to(checkout / "private.py")
    yield checkout / "study" / "linked.py"
    (checkout / "elsewhere").mkdir()
    (checkout / "elsewhere" / "__init__.py").write_text("")
    (checkout / "study" / "elsewhere").symlink_to(checkout / "elsewhere")
    yield checkout / "study" / "elsewhere" / "__init__.py"


def test_nothing_but_modules_and_their_data_is_sent_of_a_checkout(checkout: Path) -> None:
    before = _sent(checkout)
    strewn = list(_strew(checkout))
    assert all(path.exists() for path in strewn)
    assert _sent(checkout) == before
    assert sum(before.values()) < 4 << 20
    assert {Path(name).suffix for name in before} == {".py", ".toml", ".html", ".css", ".js"}


def test_all_modules_and_the_data_that_the_project_file_names_are_sent() -> None:
    with staged_code() as folder:
        sent = _files(folder)
    for package in PACKAGES:
        tracked = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py")}
        assert tracked <= sent
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {name: tuple(data) for name, data in project["package-data"].items()} == PACKAGE_DATA
    assert {f"{name}*" for name in PACKAGES} == set(project["packages"]["find"]["include"])
    needed = {"study/prepare/templates/page.css", "study/prepare/templates/page.js"}
    assert {*needed, "study/apply/templates/scan.html", "dashboard/viewer/viewer.js"} <= sent
    assert "pyproject.toml" in sent


def test_a_module_of_ones_own_is_sent(checkout: Path) -> None:
    (checkout / "trainables" / "models" / "mine.py").write_text("class Model: pass\n")
    assert "trainables/models/mine.py" in _sent(checkout)


def test_what_is_installed_without_a_checkout_is_sent_as_well(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[project]\nname = "another"\n')
    sent = _sent(checkout)
    assert "pyproject.toml" not in sent
    assert "study/run/command.py" in sent


def test_the_staged_code_runs_by_itself() -> None:
    with staged_code() as folder:
        ended = subprocess.run(
            [sys.executable, "-m", "study.run", "--help"],
            cwd=folder,
            env={"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 0, ended.stderr
    assert "--checkpoint-every" in ended.stdout


def test_the_same_code_has_the_same_address_for_ray() -> None:
    from ray._private.runtime_env.packaging import get_uri_for_directory

    def address(**files: bytes) -> str:
        with staged_code({f"{name}.py": data for name, data in files.items()}) as folder:
            return str(get_uri_for_directory(str(folder), include_gitignore=True))

    assert address() == address()
    assert address(grid=b"1") == address(grid=b"1")
    assert len({address(), address(grid=b"1"), address(grid=b"2")}) == 3


def test_files_of_the_user_have_a_folder_of_their_own_and_all_is_gone_at_the_end() -> None:
    with staged_code({"grid.py": b"GRID = 1", "cohorts.toml": b""}) as folder:
        assert (folder / "submitted" / "grid.py").read_bytes() == b"GRID = 1"
        assert _files(folder / "submitted") == {"grid.py", "cohorts.toml"}
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../x.py", "a/b.py", "/etc/x", "..", ""])
def test_a_file_cannot_be_sent_to_another_folder(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a file"), staged_code({name: b""}):
        pytest.fail("it was staged")
