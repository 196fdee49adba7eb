"""The files of a set of slices as a node keeps them: unpacked, mapped, and known by checksums.

Shape legend: N slices of a set, H = W = 128 pixels, K = 2048 bytes of bits.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from datasets.files import read_regular
from datasets.manifest import Count, ScanRecord
from datasets.selfdigest import has_changed, json_with_digest
from datasets.settings import SIZE
from datasets.shards import IMAGE_BYTES, MASK_BYTES, slices_of
from datasets.storage import Storage

SLICE_BYTES = IMAGE_BYTES + 2 * MASK_BYTES + 8
"""What a slice takes in the cache: image, two masks, its subject and its place."""

MANIFEST = "manifest.json"
"""The file of a set that is written last."""

_VERSION = 2

FILES: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    "images.f2": (np.dtype("<f2"), (SIZE, SIZE)),
    "brain.u1": (np.dtype("u1"), (MASK_BYTES,)),
    "lesion.u1": (np.dtype("u1"), (MASK_BYTES,)),
    "subject.i4": (np.dtype("<i4"), ()),
    "slice_index.i4": (np.dtype("<i4"), ()),
}
"""Type and shape of a row of each file."""


@dataclass(frozen=True)
class SetMember:
    """A scan's place in a set.

    Attributes:
        subject: ``cohort/subject``; the scans of one stand together.
        record: The scan, with status ``ok``.
    """

    subject: str
    record: ScanRecord


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)

    size: Count
    sha256: str


class MemberInfo(BaseModel):
    """What is known of a scan of a set, in the order of the rows.

    Attributes:
        n_slices: How many rows it has.
        voxel_ml: Volume of a pixel of its slices in ml, as thick as its slices are apart.
    """

    model_config = ConfigDict(frozen=True)

    n_slices: Count
    voxel_ml: float


class SetManifest(BaseModel):
    """What a folder of the cache holds.

    Attributes:
        version: Of this layout.
        n_slices: Number of slices.
        subjects: ``cohort/subject``, in the order of the rows.
        scans: Its scans, in the same order.
        store: URI of the store it was copied from.
        cohorts: Keys of its cohorts' shards there.
        files: Size and checksum of each file, by name.
    """

    model_config = ConfigDict(frozen=True)

    version: int = _VERSION
    n_slices: Count
    subjects: tuple[str, ...]
    scans: tuple[MemberInfo, ...]
    store: str
    cohorts: tuple[str, ...]
    files: dict[str, _File]


def unpack(
    folder: Path, members: Sequence[SetMember], store: Storage
) -> tuple[dict[str, _File], list[MemberInfo], int]:
    """Write the files of a set, one scan in memory at a time.

    Returns:
        The files, what is known of each scan, and how many bytes were read from the store.
    """
    number, previous, n_bytes = -1, None, 0
    scans: list[MemberInfo] = []
    hashes = {name: hashlib.sha256() for name in FILES}
    sizes = dict.fromkeys(FILES, 0)
    with ExitStack() as stack:
        streams = {name: stack.enter_context((folder / name).open("xb")) for name in FILES}
        for member in members:
            if member.subject != previous:
                number, previous = number + 1, member.subject
            data = store.read(member.record.part, member.record.sha256)
            n_bytes += len(data)
            part = slices_of(store, member.record, data)
            n_slices = len(part.images_NHW)
            scans.append(MemberInfo(n_slices=n_slices, voxel_ml=part.geometry.voxel_ml))
            rows = (
                part.images_NHW,
                part.brain_bits_NK,
                part.lesion_bits_NK,
                np.full(n_slices, number, "<i4"),
                part.slice_index_N,
            )
            for (name, (dtype, _)), values in zip(FILES.items(), rows, strict=True):
                packed = np.ascontiguousarray(values, dtype).data.cast("B")
                streams[name].write(packed)
                hashes[name].update(packed)
                sizes[name] += len(packed)
        for stream in streams.values():
            stream.flush()
            os.fsync(stream.fileno())
    files = {name: _File(size=sizes[name], sha256=hashes[name].hexdigest()) for name in FILES}
    return files, scans, n_bytes


def map_file(path: Path, n_slices: int) -> tuple[NDArray[Any], mmap.mmap | None]:
    """The rows of a file, mapped read-only, and the mapping."""
    dtype, shape = FILES[path.name]
    if not n_slices:
        return np.empty((0, *shape), dtype), None
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype).reshape(n_slices, *shape), mapped


def read_set(place: Path) -> SetManifest | None:
    """The manifest of a folder, or None if it has none of this version."""
    try:
        data = read_regular(place / MANIFEST)
        if has_changed(data):
            return None
        manifest = SetManifest.model_validate_json(data)
    except (OSError, ValidationError):
        return None
    return manifest if manifest.version == _VERSION and set(manifest.files) == set(FILES) else None


def write_set(place: Path, manifest: SetManifest) -> None:
    """Write the manifest of a folder whose files are all there."""
    (place / MANIFEST).write_bytes(json_with_digest(manifest.model_dump_json().encode()))


def has_right_sizes(place: Path, manifest: SetManifest) -> bool:
    """Whether the files of a set are there in full."""
    for name, (dtype, shape) in FILES.items():
        size = manifest.n_slices * dtype.itemsize * math.prod(shape)
        path = place / name
        if not path.is_file() or not path.stat().st_size == manifest.files[name].size == size:
            return False
    return True


def file_sha256(path: Path) -> str:
    """Checksum of a whole file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
