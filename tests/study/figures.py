"""A finished study with curves and maps, and the prepared scans that its maps are from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.synthetic_store import Wanted, write_store
from datasets import shards
from datasets.identity import digest
from datasets.manifest import CohortManifest, FileCounts, ScanRecord, cohort_key, write_manifest
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.storage import Storage
from study.records.parts import table_bytes
from study.records.showcase import ShowcaseMaps
from study.records.studies import StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.report.figures.material import Column, Material
from study.report.report import make_report

PIXEL_MM = 1.6


def written_study(folder: Path, trials: int = 52) -> StudyStore:
    """A study of the phantom on T1w with curves and maps, by default with every model."""
    return write_store(folder, "figures", Wanted(trials=trials, failed=0))


def material_of(folder: Path, study: StudyStore, record: StudyRecord | None = None) -> Material:
    """What figures are made of, of a study as it is stored or as another record tells it."""
    told = record or study.study()
    assert told is not None
    return Material(Storage.open(str(folder)), study, make_report(study, told))


def prepared(
    storage: Storage,
    record: StudyRecord,
    column: Column,
    slices: tuple[ShowcaseMaps, ...] = (),
    reasons: tuple[str, ...] = (),
) -> StudyRecord:
    """Write the shards of a cohort with some slices, a scan each; returns the record that names it.

    Args:
        storage: The store.
        record: Of the study.
        column: Cohort and modality.
        slices: One for each scan that is used.
        reasons: Why further scans were set aside.
    """
    name = column[0]
    info = next(c for c in record.cohorts if (c.name, c.modality) == column)
    used = [_scan(storage, info, maps, 10.0 + 3 * i) for i, maps in enumerate(slices)]
    aside = [
        ScanRecord(
            key=digest({"aside": i}), status="quarantined", reason=reason, cohort=name,
            role=info.role, subject=f"x{i}", session="", modality=info.modality,
            image=f"/scans/x{i}.nii.gz",
        )
        for i, reason in enumerate(reasons)
    ]  # fmt: skip
    scans = (*used, *aside)
    key = cohort_key(name, info.modality, [scan.key for scan in scans])
    write_manifest(
        storage,
        CohortManifest(
            key=key, cohort=name, modality=info.modality, role=info.role, source=info.source,
            synthetic=info.synthetic, settings=PreprocessSettings(),
            preprocess_version=PREPROCESS_VERSION, records=scans,
            skipped=(("/scans/notes.txt", "no image"), ("/scans/more", "no image")),
            stand_for={"/scans/more": 7},
            files=FileCounts(below=40, used=20, set_aside=12, left_out=8),
        ),
    )  # fmt: skip
    known = info.model_copy(update={"key": key, "n_scans": len(used), "n_quarantined": len(aside)})
    others = tuple(known if c == info else c for c in record.cohorts)
    return record.model_copy(update={"cohorts": others})


def _scan(storage: Storage, info: CohortInfo, maps: ShowcaseMaps, volume_ml: float) -> ScanRecord:
    subject = maps.subject.partition("/")[2]
    key = digest({"subject": subject})
    values = {
        "cohort": info.name,
        "subject": subject,
        "session": "",
        "modality": info.modality,
        "slice_index": maps.slice_index,
        "image": maps.image_HW.astype("<f2").tobytes(),
        "brain": np.packbits(maps.brain_HW).tobytes(),
        "lesion": np.packbits(maps.lesion_HW).tobytes(),
        "shape": [200, 200, 100],
        "affine": np.eye(4).reshape(-1).tolist(),
        "spacing_mm": [1.0, 1.0, 1.0],
        "crop_box": [0, 200, 0, 200],
        "pixel_mm": PIXEL_MM,
        "brain_volume_ml": 1400.0,
    }
    data = table_bytes(pa.Table.from_pylist([values], schema=shards.SCHEMA))
    sha256 = hashlib.sha256(data).hexdigest()
    part = f"shards/scans/{key}/slices-{sha256[:20]}.parquet"
    storage.put(part, data)
    return ScanRecord(
        key=key, status="ok", cohort=info.name, role=info.role, subject=subject, session="",
        modality=info.modality, image=f"/scans/{subject}.nii.gz", part=part, sha256=sha256,
        n_slices=1, brain_tool="deepbet 1.0.2", lesion_volume_ml=volume_ml,
    )  # fmt: skip
