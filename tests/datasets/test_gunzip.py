"""Unpacking costs what the file's size says, and reads what Python's own reader reads."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import ScanError
from datasets.gunzip import has_tail, unpack
from datasets.nifti import load_volume
from tests.volumes import save, values

DATA = np.random.default_rng(0).integers(0, 8, 300_000, np.uint8).tobytes()


class Counting(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def with_name(packed: bytes, name: bytes) -> bytes:
    """A gzip file whose header has a file name."""
    assert packed[3] == 0  # no name yet
    return packed[:3] + b"\x08" + packed[4:10] + name + b"\0" + packed[10:]


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(DATA),
        gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
        gzip.compress(b"") + gzip.compress(DATA) + gzip.compress(b""),
        gzip.compress(DATA) + bytes(100_000),
        gzip.compress(DATA[:7]) + bytes(3) + gzip.compress(DATA[7:]) + bytes(1),
        with_name(gzip.compress(DATA), b"scan.nii"),
    ],
)
def test_the_same_comes_out_as_of_pythons_own_reader(packed: bytes) -> None:
    assert gzip.decompress(packed) == DATA
    with unpack(io.BytesIO(packed)) as stream:
        assert stream.read(10) == DATA[:10]
        assert stream.read() == DATA[10:]


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (gzip.compress(DATA)[:-1], EOFError),
        (gzip.compress(DATA, mtime=0)[:20], EOFError),
        (gzip.compress(DATA) + gzip.compress(b"")[:9], EOFError),
        (gzip.compress(DATA)[:-8] + bytes(8), zlib.error),
        (b"\x1f\x8b\x07" + bytes(20), zlib.error),
    ],
    ids=range(5),
)
def test_what_is_damaged_raises(packed: bytes, error: type[Exception]) -> None:
    with pytest.raises(error), unpack(io.BytesIO(packed)) as stream:
        stream.read()


TAILS = [
    bytes(7),
    bytes(100_000),
    b"more",
    b"\x1f",
    b"\x1f\x8b",
    b"\x1f\x8b\x07noise",
    bytes(9) + b"x",
]


@pytest.mark.parametrize("tail", TAILS, ids=range(len(TAILS)))
@pytest.mark.parametrize("n_members", [1, 2])
def test_what_follows_the_last_member_is_left_aside_and_told(n_members: int, tail: bytes) -> None:
    packed = gzip.compress(DATA[:99]) + gzip.compress(DATA[99:])
    with unpack(io.BytesIO((gzip.compress(DATA) if n_members == 1 else packed) + tail)) as stream:
        assert stream.read(10) == DATA[:10]
        assert not has_tail(stream)
        assert stream.read() == DATA[10:]
        assert has_tail(stream)


@pytest.mark.parametrize("tail", [b"", gzip.compress(b""), bytes(3) + gzip.compress(b"")])
def test_further_members_are_no_tail(tail: bytes) -> None:
    with unpack(io.BytesIO(gzip.compress(DATA) + tail)) as stream:
        assert stream.read() == DATA
        assert not has_tail(stream)


@pytest.mark.parametrize("tail", [bytes(2000), b"\r\n", b"end of file" * 500])
def test_an_image_with_a_tail_is_read_with_a_note_and_a_part_of_one_is_not(
    tail: bytes, tmp_path: Path
) -> None:
    packed = save(tmp_path / "a.nii.gz", values()).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(packed + tail)
    volume = load_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.data_XYZ, values("float32"))
    assert volume.notes == ("something follows the end of its gzip stream and is left aside",)
    half = gzip.decompress(packed)[:600]
    for spoilt in (packed[:-20], packed[:-20] + tail, gzip.compress(half) + tail):
        (tmp_path / "a.nii.gz").write_bytes(spoilt)
        with pytest.raises(ScanError, match=r"truncated|more data than its header promises"):
            load_volume(tmp_path / "a.nii.gz")


def test_a_huge_name_in_the_header_is_passed_over_in_whole_blocks(tmp_path: Path) -> None:
    raw = save(tmp_path / "plain.nii", values()).read_bytes()
    packed = with_name(gzip.compress(raw), b"n" * (8 << 20))
    file = Counting(packed)
    with unpack(file) as stream:
        assert stream.read() == raw
        assert file.reads < 2 + len(packed) // 2**16 + 10
    (tmp_path / "named.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(
        load_volume(tmp_path / "named.nii.gz").data_XYZ, values("float32")
    )


def test_endless_empty_members_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"") * 110_000)
    with pytest.raises(ScanError, match=r"damaged or truncated gzip file: .* 100,000 members"):
        load_volume(tmp_path / "a.nii.gz")


def test_closing_closes_the_file_below() -> None:
    file = io.BytesIO(gzip.compress(DATA))
    unpack(file).close()
    assert file.closed
