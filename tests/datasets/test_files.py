"""Files of a user's: regular ones only, and no read that waits or never ends."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.files import RefusedFileError, open_regular, read_regular


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(file)
    for limit in (None, 3, 1000):
        assert read_regular(file, limit) == b"abc"
        assert read_regular(str(tmp_path / "link"), limit) == b"abc"


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_regular(tmp_path / "empty", 0) == b""


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _waiting_device(path: Path) -> None:
    path.symlink_to("/dev/tty")


KINDS = {
    _pipe: "named pipe",
    _folder: "folder",
    _socket: "socket",
    _device: "device",
    _waiting_device: "device",
}


@pytest.mark.parametrize("make", KINDS)
def test_anything_else_is_refused_with_its_name_and_kind(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "thing"
    make(path)
    for read in (read_regular, open_regular):
        with pytest.raises(RefusedFileError, match=KINDS[make]) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["a\0b", "half \ud800 character"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(RefusedFileError, match="cannot be the name of a file") as caught:
        read_regular(name)
    str(caught.value).encode("ascii")


def test_missing_and_unreachable_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "loop")
    with pytest.raises(OSError, match="too long"):
        read_regular(tmp_path / ("x" * 5000))


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abcd")
    with pytest.raises(RefusedFileError, match="larger than 3 bytes"):
        read_regular(file, 3)
    with file.open("r+b") as stream:
        stream.truncate(2**40)  # a hole: as large as a disk, and takes no room
    with pytest.raises(RefusedFileError, match="larger than 1,000 bytes"):
        read_regular(file, 1000)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="files of /proc say they have 0")
def test_a_file_that_understates_its_size_is_held_to_the_limit() -> None:
    assert os.stat("/proc/self/maps").st_size == 0
    with pytest.raises(RefusedFileError, match="larger than 10 bytes"):
        read_regular("/proc/self/maps", 10)


def test_the_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RefusedFileError(22, "a is a folder", "a")))  # noqa: S301
    assert (str(error), error.errno, error.filename) == ("a is a folder", 22, "a")
