"""Prepared cohorts of any size without any scan: for figures about size, and for tests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.identity import digest
from datasets.manifest import CohortManifest, ScanRecord, cohort_key, record_path, write_manifest
from datasets.scan import Role
from datasets.settings import PREPROCESS_VERSION, SIZE, PreprocessSettings
from datasets.shards import SCHEMA
from datasets.storage import Storage, sha256_hex


def write_cohort(
    store: Storage,
    name: str,
    role: Role,
    *,
    subjects: int,
    slices: int = 4,
    distinct: int = 8,
) -> CohortManifest:
    """Write a cohort of T1w scans with noise in an ellipse, and with lesions if it is to test.

    Args:
        store: Where.
        name: Of the cohort.
        role: Of the cohort.
        subjects: How many.
        slices: Of each.
        distinct: How many scans differ; the others repeat them.
    """
    records = []
    parts = [part_of_scan(name, role, number, slices) for number in range(min(subjects, distinct))]
    for number in range(subjects):
        data = parts[number % len(parts)]
        key = digest([name, number])
        folder, sha256 = record_path(key).rpartition("/")[0], sha256_hex(data)
        path = f"{folder}/slices-{sha256[:20]}.parquet"
        records.append(
            ScanRecord(
                key=key,
                status="ok",
                cohort=name,
                role=role,
                subject=f"s{number:06d}",
                session="",
                modality="T1w",
                image="",
                part=path,
                sha256=store.put(path, data),
                n_slices=slices,
                lesion_volume_ml=1.0 if role == "test" else None,
                lesion_outside_brain_share=0.0 if role == "test" else None,
            )
        )
    manifest = CohortManifest(
        key=cohort_key(name, "T1w", (record.key for record in records)),
        cohort=name,
        modality="T1w",
        role=role,
        source="bids",
        synthetic=True,
        settings=PreprocessSettings(),
        preprocess_version=PREPROCESS_VERSION,
        records=tuple(records),
        skipped=(),
    )
    write_manifest(store, manifest)
    return manifest


def part_of_scan(cohort: str, role: Role, number: int, slices: int) -> bytes:
    """The Parquet part of a scan."""
    rng = np.random.default_rng([number, role == "test"])
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    brain_HW = (x / 45) ** 2 + (y / 55) ** 2 < 1
    lesion_HW = ((x - 15) ** 2 + y**2 < 8**2) & (role == "test")
    images = np.where(brain_HW, rng.normal(1, 0.2, (slices, SIZE, SIZE)) - 0.3 * lesion_HW, 0)
    columns = {
        "cohort": [cohort] * slices,
        "subject": [f"s{number:06d}"] * slices,
        "session": [""] * slices,
        "modality": ["T1w"] * slices,
        "slice_index": range(slices),
        "image": [image.astype("<f2").tobytes() for image in images],
        "brain": [np.packbits(brain_HW).tobytes()] * slices,
        "lesion": [np.packbits(lesion_HW).tobytes()] * slices,
        "shape": [[SIZE, SIZE, slices]] * slices,
        "affine": [np.eye(4).ravel().tolist()] * slices,
        "spacing_mm": [[1.0, 1.0, 1.0]] * slices,
        "crop_box": [[0, SIZE, 0, SIZE]] * slices,
        "pixel_mm": [1.0] * slices,
        "brain_volume_ml": [1000.0] * slices,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink, compression="zstd")
    return bytes(sink.getvalue())
