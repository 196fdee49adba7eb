"""What other machines are sent of this code: what a list allows, and nothing that lies beside it.

A checkout has scans, keys, notebooks and stores in it, in whatever folder somebody left them. So
nothing is left out by name; only modules of the four packages and their data are taken.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("dashboard", "datasets", "study", "trainables")

PACKAGE_DATA = {
    "study.apply": ("templates/*",),
    "study.prepare": ("templates/*",),
    "dashboard.viewer": ("*.html", "*.css", "*.js"),
}
"""Files beside modules that are needed when they run; the same as in ``pyproject.toml``."""

SUBMITTED = "submitted"
"""Folder of the files that a user has named, such as a grid."""

_PROJECT = "anomaly-study"
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.py")
_DATA_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.(html|css|js)")
_FILE_NAME = re.compile(r"[^/\0]{1,255}")


@contextmanager
def staged_code(files: Mapping[str, bytes] | None = None) -> Iterator[Path]:
    """A folder with the modules of this project, to be sent to a cluster; gone at the end.

    The same code and files give the same content, by which Ray knows what it has already. Links
    are left out: what they lead to may lie anywhere.

    Args:
        files: What is to lie in the folder :data:`SUBMITTED` there, by name.

    Raises:
        ValueError: If a name of these leads elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as folder:
        target = Path(folder)
        for package in PACKAGES:
            _copy_package(_place(package), target / package, package)
        _copy_project(_place("study").parent / "pyproject.toml", target)
        for name, data in sorted((files or {}).items()):
            _write(target / SUBMITTED, name, data)
        yield target


def _place(package: str) -> Path:
    """The folder of an installed package or of the checkout that runs; does not import it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package!r} of this project is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _copy_package(source: Path, target: Path, name: str) -> None:
    """Copy the modules of a package, its data, and the packages below it."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_symlink():
            continue
        if path.is_file() and _MODULE.fullmatch(path.name):
            shutil.copyfile(path, target / path.name)
        elif path.is_dir() and path.name.isidentifier() and _is_file(path / "__init__.py"):
            _copy_package(path, target / path.name, f"{name}.{path.name}")
    for pattern in PACKAGE_DATA.get(name, ()):
        for path in sorted(source.glob(pattern)):
            if _DATA_FILE.fullmatch(path.name) and _is_file(path) and not path.parent.is_symlink():
                copy = target / path.relative_to(source)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)


def _copy_project(path: Path, target: Path) -> None:
    """Copy the project file, if the packages lie in its checkout."""
    if not _is_file(path):
        return
    try:
        name = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}).get("name")
    except (OSError, ValueError):
        return  # of something else, beside which the packages are installed
    if name == _PROJECT:
        shutil.copyfile(path, target / path.name)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _write(folder: Path, name: str, data: bytes) -> None:
    if not _FILE_NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"{name!r} is no name of a file")
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
