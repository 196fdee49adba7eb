"""One scan in, one Parquet part and one record out: a cache addressed by content.

A part holds one row an axial slice; what belongs to the volume is repeated in every row, so that
parts can be read together as one table. Masks are bits, packed as by ``numpy.packbits`` over the
flattened slice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datasets.brain import BrainMask, extract_brain
from datasets.checksums import scan_checksums, scan_key
from datasets.contrast import contradiction, measure_contrast, no_magnetic_resonance
from datasets.errors import ScanChangedError, ScanError
from datasets.lesions import lesion_fault
from datasets.manifest import (
    NOT_HEALTHY,
    ContrastMeasures,
    ScanRecord,
    record_path,
    write_record,
)
from datasets.nifti import Volume, load_mask, load_volume
from datasets.preprocess import SliceGeometry, SliceStack, preprocess
from datasets.scan import Role, Scan
from datasets.settings import SIZE, PreprocessSettings
from datasets.storage import Storage, StorageError, sha256_hex
from datasets.tables import read_table

IMAGE_BYTES = SIZE * SIZE * 2
MASK_BYTES = SIZE * SIZE // 8

SCHEMA = pa.schema(
    [
        pa.field("cohort", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("session", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("slice_index", pa.int32(), nullable=False),
        pa.field("image", pa.binary(IMAGE_BYTES), nullable=False),
        pa.field("brain", pa.binary(MASK_BYTES), nullable=False),
        pa.field("lesion", pa.binary(MASK_BYTES), nullable=False),
        pa.field("shape", pa.list_(pa.int32(), 3), nullable=False),
        pa.field("affine", pa.list_(pa.float64(), 16), nullable=False),
        pa.field("spacing_mm", pa.list_(pa.float64(), 3), nullable=False),
        pa.field("crop_box", pa.list_(pa.int32(), 4), nullable=False),
        pa.field("pixel_mm", pa.float64(), nullable=False),
        pa.field("brain_volume_ml", pa.float64(), nullable=False),
    ]
)
"""``image`` is float16, little-endian, row by row; ``crop_box`` and ``pixel_mm`` (the scale) are
those of :class:`datasets.preprocess.SliceGeometry`."""


@dataclass(frozen=True)
class SliceColumns:
    """The slices of one part, inferior to superior; the arrays may be read-only.

    Attributes:
        images_NHW: float16 images.
        brain_bits_NK: Packed brain masks, K = 2048 bytes.
        lesion_bits_NK: Packed lesion masks.
        slice_index_N: int32 Z index in the RAS volume.
        geometry: The way back to the scan's own space.
    """

    images_NHW: NDArray[np.float16]
    brain_bits_NK: NDArray[np.uint8]
    lesion_bits_NK: NDArray[np.uint8]
    slice_index_N: NDArray[np.int32]
    geometry: SliceGeometry


@dataclass(frozen=True)
class _Prepared:
    volume: Volume
    brain: BrainMask
    stack: SliceStack
    lesion_volume_ml: float | None
    lesion_outside_brain_share: float | None
    lesion_lost_by_resizing_share: float | None
    lesion_in_dropped_slices_share: float | None
    contrast: ContrastMeasures | None
    notes: tuple[str, ...]


def process_scan(
    scan: Scan,
    cohort: str,
    role: Role,
    settings: PreprocessSettings,
    key: str,
    storage: Storage,
    content_key: str | None = None,
    *,
    image: Path | None = None,
) -> ScanRecord:
    """Prepare one scan and write its part and record, whatever was there before.

    A scan that cannot be used is set aside: its record says why. A test scan whose lesion masks
    are all empty is kept, for somebody has looked at it; one without any mask is unlabelled.

    Args:
        scan: The scan.
        cohort: Name of its cohort.
        role: Of the cohort; scans with lesions test alone, and scans without a mask don't.
        settings: Of preprocessing.
        key: From :func:`datasets.checksums.scan_key`.
        storage: The store.
        content_key: The scan's key by its content, to find out whether its files are still those
            that it was made of; without it, that is not looked at.
        image: Where its source has found it, if the files given are copies.

    Raises:
        ScanChangedError: If its files have changed since; nothing is written then.
        StorageError: If the store cannot be written.
        ExtractorError: If brain extraction needs a tool that is not there.
    """
    started = time.perf_counter()
    base = ScanRecord(
        key=key,
        status="quarantined",
        cohort=cohort,
        role=role,
        subject=scan.subject,
        session=scan.session,
        modality=scan.modality,
        image=str(image or scan.image),
    )
    prepared, reason = _attempt(scan, role, settings)
    if content_key is not None:
        now = scan_key(scan, cohort, role, settings, scan_checksums(scan))
        if now != content_key:
            raise ScanChangedError(str(scan.image))
    update: dict[str, Any] = {"reason": reason}
    if prepared is not None:
        data = _part_bytes(prepared, base)
        # Named by its content: two processes that prepare a scan write the same file.
        folder, sha256 = record_path(key).rpartition("/")[0], sha256_hex(data)
        part = f"{folder}/slices-{sha256[:20]}.parquet"
        update = {
            "status": "ok",
            "part": part,
            "sha256": storage.put(part, data),
            "n_slices": len(prepared.stack.slice_index_S),
            "shape": prepared.stack.geometry.shape_XYZ,
            "spacing_mm": prepared.stack.geometry.spacing_mm,
            "brain_volume_ml": prepared.brain.measures.volume_ml,
            "brain_tool": prepared.brain.tool,
            "lesion_volume_ml": prepared.lesion_volume_ml,
            "lesion_outside_brain_share": prepared.lesion_outside_brain_share,
            "lesion_lost_by_resizing_share": prepared.lesion_lost_by_resizing_share,
            "lesion_in_dropped_slices_share": prepared.lesion_in_dropped_slices_share,
            "contrast": prepared.contrast,
            "notes": prepared.notes,
        }
    update["wall_s"] = round(time.perf_counter() - started, 3)
    record = ScanRecord.model_validate(base.model_dump() | update)
    write_record(storage, record)
    return record


def _attempt(scan: Scan, role: Role, settings: PreprocessSettings) -> tuple[_Prepared | None, str]:
    """A prepared scan, or why it is set aside."""
    try:
        return _prepare(scan, role, settings), ""
    except ScanError as error:
        return None, " ".join(str(error).split())


def read_slices(storage: Storage, record: ScanRecord) -> SliceColumns:
    """Read the slices of a finished scan, checking every byte.

    Args:
        storage: The store.
        record: Of a scan with status ``ok``.

    Raises:
        ValueError: If the scan was quarantined: a mistake of the caller.
        FileNotFoundError: If its part is gone.
        ChecksumError: If the part is damaged; the message names it. Processing that one scan
            again mends it.
        StorageError: If the part cannot be read, or its columns are not those of this version.
    """
    if record.status != "ok":
        raise ValueError(f"the scan {record.key} was quarantined and has no slices")
    return slices_of(storage, record, storage.read(record.part, record.sha256))


def slices_of(storage: Storage, record: ScanRecord, data: bytes) -> SliceColumns:
    """The slices in the bytes of a scan's part.

    Args:
        storage: The store that they are from, for messages.
        record: Of the scan.
        data: The part, checked.

    Raises:
        StorageError: If its columns are not those of this version.
    """
    try:
        table = read_table(data).select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise StorageError(
            f"{record.part!r} in the store {storage.uri!r} is no part of this version: {error}"
        ) from error
    first = {name: table.column(name)[0].as_py() for name in _GEOMETRY_COLUMNS}
    return SliceColumns(
        images_NHW=_fixed(table, "image", np.dtype("<f2")).reshape(-1, SIZE, SIZE),
        brain_bits_NK=_fixed(table, "brain", np.dtype("u1")),
        lesion_bits_NK=_fixed(table, "lesion", np.dtype("u1")),
        slice_index_N=table.column("slice_index").to_numpy(),
        geometry=SliceGeometry(
            shape_XYZ=tuple(first["shape"]),
            affine=tuple(first["affine"]),
            spacing_mm=tuple(first["spacing_mm"]),
            crop_box=tuple(first["crop_box"]),
            pixel_mm=first["pixel_mm"],
        ),
    )


def contrast_of(record: ScanRecord, slices: SliceColumns) -> ContrastMeasures | None:
    """The contrast of a prepared scan, measured on its slices if its record is from before."""
    if record.contrast is not None:
        return record.contrast
    brain, lesion = (
        np.unpackbits(bits, axis=1).reshape(slices.images_NHW.shape).astype(bool)
        for bits in (slices.brain_bits_NK, slices.lesion_bits_NK)
    )
    return measure_contrast(slices.images_NHW, brain, lesion, slices.geometry.pixel_mm)


_GEOMETRY_COLUMNS = ("shape", "affine", "spacing_mm", "crop_box", "pixel_mm")


def _prepare(scan: Scan, role: Role, settings: PreprocessSettings) -> _Prepared:
    if role == "test" and not scan.lesion_masks:
        raise ScanError("unlabelled: a test scan needs a lesion mask, and none was found")
    volume = load_volume(scan.image, scan.volume)
    lesion_XYZ, lesion_notes = _load_lesions(scan, volume)
    n_lesion = int(lesion_XYZ.sum())
    if role != "test" and n_lesion:
        raise ScanError(
            f"{NOT_HEALTHY}: a {role} scan must have no lesion, and its mask marks {n_lesion} "
            "voxels"
        )
    widened = settings.brain_mask == "widened"
    brain = extract_brain(volume, scan, settings.brain_extractor, widened=widened)
    if fault := no_magnetic_resonance(volume.data_XYZ, brain.mask_XYZ):
        raise ScanError(f"{scan.image} is no image of magnetic resonance: {fault}")
    voxel_ml = volume.voxel_mm3 / 1000
    outside = int((lesion_XYZ & ~brain.mask_XYZ).sum())
    if n_lesion:
        brain_ml = brain.measures.volume_ml
        if fault := lesion_fault(n_lesion * voxel_ml, brain_ml, outside / n_lesion):
            raise ScanError(f"implausible lesion mask: {fault}")
    stack = preprocess(volume, brain.mask_XYZ, lesion_XYZ, settings)
    contrast = measure_contrast(
        stack.images_SHW, stack.brain_SHW, stack.lesion_SHW, stack.geometry.pixel_mm
    )
    if contrast is not None and (fault := contradiction(contrast, scan.modality)):
        raise ScanError(f"{scan.image} is no {scan.modality} image: {fault}")
    kept = int(lesion_XYZ[:, :, stack.slice_index_S].sum())
    return _Prepared(
        volume=volume,
        brain=brain,
        stack=stack,
        lesion_volume_ml=n_lesion * voxel_ml if scan.lesion_masks else None,
        lesion_outside_brain_share=outside / n_lesion if n_lesion else None,
        lesion_lost_by_resizing_share=_lost_by_resizing(stack, kept) if kept else None,
        lesion_in_dropped_slices_share=1 - kept / n_lesion if n_lesion else None,
        contrast=contrast,
        notes=(*volume.notes, *lesion_notes, *brain.notes, *stack.notes),
    )


def _lost_by_resizing(stack: SliceStack, voxels: int) -> float:
    """By how much a lesion shrank from some voxels of the kept slices to pixels, as a share."""
    dx, dy, _ = stack.geometry.spacing_mm
    before_mm2 = voxels * dx * dy
    after_mm2 = int(stack.lesion_SHW.sum()) * stack.geometry.pixel_mm**2
    return 1 - after_mm2 / before_mm2


def _load_lesions(scan: Scan, volume: Volume) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """The union of a scan's lesion masks on the volume's grid; all false without any."""
    union_XYZ = np.zeros(volume.data_XYZ.shape, dtype=bool)
    notes: list[str] = []
    for path in scan.lesion_masks:
        chosen = dict(scan.lesion_labels).get(path, ())
        mask_XYZ, mask_notes = load_mask(path, volume, scan.image, chosen)
        union_XYZ |= mask_XYZ
        notes.extend(mask_notes)
    return union_XYZ, tuple(notes)


def _part_bytes(prepared: _Prepared, base: ScanRecord) -> bytes:
    """The Parquet part of a scan; equal slices give equal bytes."""
    stack, geometry = prepared.stack, prepared.stack.geometry
    n = len(stack.slice_index_S)
    columns = [
        pa.array([base.cohort] * n, pa.string()),
        pa.array([base.subject] * n, pa.string()),
        pa.array([base.session] * n, pa.string()),
        pa.array([base.modality] * n, pa.string()),
        pa.array(stack.slice_index_S, pa.int32()),
        _binary(stack.images_SHW.astype("<f2"), IMAGE_BYTES),
        _binary(_pack(stack.brain_SHW), MASK_BYTES),
        _binary(_pack(stack.lesion_SHW), MASK_BYTES),
        pa.array([geometry.shape_XYZ] * n, SCHEMA.field("shape").type),
        pa.array([geometry.affine] * n, SCHEMA.field("affine").type),
        pa.array([geometry.spacing_mm] * n, SCHEMA.field("spacing_mm").type),
        pa.array([geometry.crop_box] * n, SCHEMA.field("crop_box").type),
        pa.array([geometry.pixel_mm] * n, pa.float64()),
        pa.array([prepared.brain.measures.volume_ml] * n, pa.float64()),
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), sink, compression="zstd")
    return bytes(sink.getvalue())


def _pack(masks_SHW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(masks_SHW.reshape(len(masks_SHW), -1), axis=1)


def _binary(values: NDArray[Any], width: int) -> pa.Array:
    """A column of fixed-size byte strings from an array whose rows hold that many bytes."""
    buffer = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, buffer])


def _fixed(table: pa.Table, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A fixed-size binary column as rows of numbers, without a copy where possible."""
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    width = column.type.byte_width
    values = np.frombuffer(column.buffers()[1], dtype=dtype)
    per_row = width // dtype.itemsize
    return values[column.offset * per_row :][: len(column) * per_row].reshape(-1, per_row)
