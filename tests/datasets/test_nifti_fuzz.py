"""Damaged files by the hundred: each ends in finite slices or is set aside with a reason."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import pytest

from datasets.errors import ScanError
from datasets.nifti import load_mask, load_volume
from datasets.scan import Scan
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.storage import Storage

FILES_OF_EACH_KIND = int(os.environ.get("FILES", "25"))
MEMORY_CAP = 32 * 2**20

Result = TypeVar("Result")
Mutation = Callable[[np.random.Generator, bytes], bytes]


SHAPE = (20, 24, 18)
AFFINE = np.diag([9.0, 8.5, 9.5, 1.0])


def ball(radii: tuple[float, float, float]) -> np.ndarray:
    parts = zip(np.indices(SHAPE), SHAPE, radii, strict=True)
    return np.asarray(sum(((i - (n - 1) / 2) / r) ** 2 for i, n, r in parts) < 1)


def seed_files() -> list[bytes]:
    """Unpacked heads of several types and byte orders, with three and four dimensions."""
    rng = np.random.default_rng(0)
    files = []
    for dtype in ("uint8", "int16", ">i2", "float32", ">f8"):
        for shape in (SHAPE, (*SHAPE, 1)):
            header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
            data = np.where(ball((7.2, 9.4, 6.4)), rng.integers(90, 200, SHAPE), 3)
            image = nib.Nifti1Image(
                data.reshape(shape).astype(dtype), AFFINE, header, dtype=np.dtype(dtype)
            )
            image.set_qform(AFFINE, 1)
            files.append(image.to_bytes())
    files.append(nib.Nifti2Image(rng.normal(100, 5, SHAPE), AFFINE).to_bytes())
    return files


def truncate(rng: np.random.Generator, raw: bytes) -> bytes:
    return raw[: rng.integers(0, len(raw))]


def flip_header(rng: np.random.Generator, raw: bytes) -> bytes:
    return _flip(rng, raw, 0, 352)


def flip_data(rng: np.random.Generator, raw: bytes) -> bytes:
    return _flip(rng, raw, 352, len(raw))


def _flip(rng: np.random.Generator, raw: bytes, start: int, stop: int) -> bytes:
    spoilt = bytearray(raw)
    for _ in range(rng.integers(1, 9)):
        spoilt[rng.integers(start, stop)] ^= 1 << rng.integers(0, 8)
    return bytes(spoilt)


def wrong_dims(rng: np.random.Generator, raw: bytes) -> bytes:
    order = "<" if raw[:1] in (b"\x5c", b"\x1c") else ">"
    pool = [-32768, -1, 0, 1, 2, 3, 4, 5, 6, 7, 30, 300, 1024, 1025, 30000, 32767]
    dims = [int(rng.choice([0, 1, 2, 3, 3, 3, 4, 7, 8, -3])), *rng.choice(pool, 7)]
    return raw[:40] + struct.pack(f"{order}8h", *dims) + raw[56:]


def wrong_affine(rng: np.random.Generator, raw: bytes) -> bytes:
    order = "<" if raw[:1] in (b"\x5c", b"\x1c") else ">"
    pool = np.array([0, 1, -1, np.nan, np.inf, 1e-30, 1e30, 0.5, 3, 1e5, -2])
    rows = struct.pack(f"{order}18f", *rng.choice(pool, 18))
    codes = struct.pack(f"{order}2h", *rng.integers(-1, 3, 2))
    return raw[:252] + codes + rows + raw[328:]


def wrong_type(rng: np.random.Generator, raw: bytes) -> bytes:
    order = "<" if raw[:1] in (b"\x5c", b"\x1c") else ">"
    code = rng.choice([0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1536, 2304, 9999])
    return raw[:70] + struct.pack(f"{order}2h", code, rng.integers(0, 300)) + raw[74:]


def wrong_scale(rng: np.random.Generator, raw: bytes) -> bytes:
    order = "<" if raw[:1] in (b"\x5c", b"\x1c") else ">"
    pool = np.array([0, 1, -1, np.nan, np.inf, 1e38, 1e-38, -1e38])
    offset = rng.choice(np.array([0, 1, 352, 353, 400, -1, np.nan, 1e30]))
    return raw[:108] + struct.pack(f"{order}3f", offset, *rng.choice(pool, 2)) + raw[120:]


def non_finite(rng: np.random.Generator, raw: bytes) -> bytes:
    spoilt = bytearray(raw)
    for _ in range(rng.integers(1, 60)):
        at = int(rng.integers(352, len(raw) - 8))
        spoilt[at : at + 8] = b"\xff" * 8 if rng.random() < 0.5 else b"\x7f\x80\0\0\x7f\xf0\0\0"
    return bytes(spoilt)


def zero_run(rng: np.random.Generator, raw: bytes) -> bytes:
    start, length = int(rng.integers(0, len(raw))), int(rng.integers(1, len(raw)))
    return raw[:start] + bytes(min(length, len(raw) - start)) + raw[start + length :]


def noise(rng: np.random.Generator, raw: bytes) -> bytes:
    start = b"\x89PNG\r\n\x1a\n" if rng.random() < 0.5 else raw[: rng.integers(0, 348)]
    return start + rng.bytes(int(rng.integers(0, 3000)))


def surplus(rng: np.random.Generator, raw: bytes) -> bytes:
    return raw + rng.bytes(1) * int(rng.choice([1, 100, 5000, 2_000_000]))


MUTATIONS: list[Mutation] = [
    truncate, flip_header, flip_data, wrong_dims, wrong_affine, wrong_type, wrong_scale,
    non_finite, zero_run, noise, surplus,
]  # fmt: skip


def spoil_packed(rng: np.random.Generator, raw: bytes) -> bytes:
    """Damage to the gzip stream itself."""
    packed = gzip.compress(raw, 1)
    kind = rng.integers(0, 3)
    if kind == 0:
        return packed[: rng.integers(0, len(packed))]
    if kind == 1:
        return packed + rng.bytes(int(rng.integers(1, 50)))
    return _flip(rng, packed, 0, len(packed))


def bomb(rng: np.random.Generator, raw: bytes) -> bytes:
    """A small packed file that unpacks to 256 MiB of zeros behind its voxels."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(raw) + packer.compress(bytes(2**22))
    return packed + b"".join(packer.compress(bytes(2**22)) for _ in range(63)) + packer.flush()


def no_file(rng: np.random.Generator, path: Path) -> None:
    """A folder, a link to nothing, a link to itself, or nothing at all."""
    kind = rng.integers(0, 4)
    if kind == 0:
        path.mkdir()
    elif kind < 3:
        path.symlink_to("nowhere" if kind == 1 else path.name)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.slow
def test_damaged_files_end_in_finite_slices_or_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(20240607)
    seeds = seed_files()
    fuzz = Fuzz(tmp_path, seeds[0])
    bombed = bomb(rng, seeds[0])
    outcome: Counter[tuple[str, bool]] = Counter()
    tracemalloc.start()
    try:
        for mutation in [*MUTATIONS, spoil_packed, no_file]:
            for number in range(FILES_OF_EACH_KIND):
                path = tmp_path / ("scan.nii.gz" if number % 2 else "scan.nii")
                if mutation is no_file:
                    no_file(rng, path)
                else:
                    spoilt = mutation(rng, seeds[rng.integers(0, len(seeds))])
                    packed = number % 2 and mutation is not spoil_packed
                    path.write_bytes(gzip.compress(spoilt, 1) if packed else spoilt)
                outcome[mutation.__name__, fuzz.survives(path)] += 1
                remove(path)
        path = tmp_path / "bomb.nii.gz"
        path.write_bytes(bombed)
        outcome["bomb", fuzz.survives(path)] += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    count = sum(outcome.values())
    assert count == 13 * FILES_OF_EACH_KIND + 1
    assert peak < MEMORY_CAP
    # Both ends are seen: damage that must be found, and damage that leaves a readable scan.
    for kind in ("truncate", "no_file", "noise", "bomb"):
        assert outcome[kind, True] == 0
    assert outcome["flip_data", True] > 0
    assert outcome["wrong_affine", True] > 0
    accepted = sum(n for (_, read), n in outcome.items() if read)
    assert 0.0905 < accepted / count < 0.5427


class Fuzz:
    """Whole masks for a damaged image, a whole image for a damaged mask, and a store."""

    def __init__(self, folder: Path, whole: bytes) -> None:
        self.image = folder / "whole.nii"
        self.image.write_bytes(whole)
        self.like = load_volume(self.image)
        self.brain, self.lesion = folder / "brain.nii", folder / "lesion.nii"
        for path, radii in ((self.brain, (7.2, 9.4, 6.4)), (self.lesion, (3, 3, 3))):
            nib.Nifti1Image(ball(radii).astype(np.uint8), AFFINE).to_filename(path)
        self.store = Storage.open(str(folder / "store"))
        self._count = 0

    def survives(self, path: Path) -> bool:
        """Whether an image gives slices; an exception but ``ScanError`` passes through.

        Every fourth file is also taken for a lesion mask.
        """
        mask, reason = _attempt(lambda: load_mask(path, self.like, self.image)[0])
        assert reason or (mask is not None and mask.shape == self.like.data_XYZ.shape)
        volume, reason = _attempt(lambda: load_volume(path))
        assert (volume is None) == (str(path) in reason)
        assert "\n" not in reason
        if volume is not None:
            assert np.isfinite(volume.data_XYZ).all()
            assert np.isfinite(volume.affine).all()
            assert volume.data_XYZ.dtype == np.float32
        self._count += 1
        if self._count % 4 == 0:
            self._prepared(Scan("01", "", "T1w", self.image, (path,), self.brain))
        return self._prepared(Scan("01", "", "T1w", path, (self.lesion,), self.brain))

    def _prepared(self, scan: Scan) -> bool:
        record = process_scan(scan, "fuzz", "test", PreprocessSettings(), "0" * 20, self.store)
        if record.status == "quarantined":
            assert record.reason
            assert "\n" not in record.reason
            assert not record.part
            return False
        slices = read_slices(self.store, record)
        assert len(slices.images_NHW) == record.n_slices > 0
        assert np.isfinite(slices.images_NHW).all()
        self.store.delete(record.part)
        return True


def _attempt(load: Callable[[], Result]) -> tuple[Result | None, str]:
    try:
        return load(), ""
    except ScanError as error:
        return None, str(error)
