"""What grows with the number of subjects and trials, and how fast: ``python -m benchmarks.scale``.

The figures of ``docs/scale.md`` come from here. Each line is measured at two sizes, the second ten
times the first, in this process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.identity import digest
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    cohort_key,
    manifest_path,
    read_manifest,
    write_manifest,
)
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.sources import bids
from datasets.storage import Storage
from study.grids._grid import Grid, GridTrial
from study.plan.done import Work
from study.plan.plan import Plan, build_plan
from study.records.studies import StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.trials.data import slice_set
from study.trials.order import TrialOrder
from study.trials.places import Places
from study.trials.searcher import PlanSearcher

SIZES = (1_000, 10_000)


def main() -> None:
    """Measure and print."""
    print(f"{'what':44}" + "".join(f"{size:>14,}" for size in SIZES) + "   ratio")
    for name, measure in LINES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = [measure(Path(folder, str(size)), size) for size in SIZES]
        print(f"{name:44}" + "".join(f"{v:14,.3f}" for v in found) + f"{found[1] / found[0]:8.1f}")


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _listing_s(folder: Path, size: int) -> float:
    for number in range(size):
        place = folder / f"sub-{number:06d}" / "anat"
        place.mkdir(parents=True)
        (place / f"sub-{number:06d}_T1w.nii.gz").write_bytes(b"")
    return _seconds(lambda: bids.list_scans(folder, ("T1w", "T2w")))


def _manifest(size: int) -> CohortManifest:
    records = tuple(
        ScanRecord(
            key=digest([number]),
            status="ok",
            cohort="healthy",
            role="train",
            subject=f"s{number:06d}",
            session="",
            modality="T1w",
            image=f"/data/healthy/sub-{number:06d}/anat/sub-{number:06d}_T1w.nii.gz",
            part=f"shards/scans/{digest([number])}/slices-{digest([number, 1])}.parquet",
            sha256=digest([number]) * 3 + "0000",
            n_slices=100,
            shape=(256, 256, 150),
            spacing_mm=(0.9375, 0.9375, 1.2),
            brain_volume_ml=1400.0,
            brain_tool="deepbet 1.0.2",
            wall_s=2.2,
        )
        for number in range(size)
    )
    return CohortManifest(
        key=cohort_key("healthy", "T1w", (r.key for r in records)),
        cohort="healthy",
        modality="T1w",
        role="train",
        source="bids",
        synthetic=False,
        settings=PreprocessSettings(),
        preprocess_version=PREPROCESS_VERSION,
        records=records,
        skipped=(),
    )


def _manifest_mb(folder: Path, size: int) -> float:
    store, manifest = Storage.open(str(folder)), _manifest(size)
    write_manifest(store, manifest)
    return len(store.read(manifest_path(manifest.key))) / 1e6


def _manifest_s(folder: Path, size: int) -> float:
    store, manifest = Storage.open(str(folder)), _manifest(size)
    write_manifest(store, manifest)
    return _seconds(lambda: read_manifest(store, manifest.key))


def _set_s(folder: Path, size: int) -> float:
    manifest = _manifest(size)
    return _seconds(lambda: slice_set("train", [manifest]))


def _plan(size: int) -> Plan:
    cohorts = tuple(
        CohortInfo(
            name=name,
            role=role,  # type: ignore[arg-type]
            modality="T1w",
            source="bids",
            key=name,
            synthetic=False,
            n_scans=100,
            n_subjects=100,
            n_slices=10_000,
            n_quarantined=0,
        )
        for name, role in (("healthy", "train"), ("stroke", "test"))
    )
    point = GridTrial("ae", {"n_c": 8, "n_z": 8, "batch_size": 32})
    return build_plan(Grid((point,), (), {}), cohorts, seeds=range(size), epochs=1)


def _plan_s(folder: Path, size: int) -> float:
    return _seconds(lambda: _plan(size))


def _study(folder: Path, size: int) -> tuple[StudyStore, StudyRecord]:
    plan = _plan(size)
    record = StudyRecord(
        study="s",
        grid="own",
        synthetic=False,
        cohorts=(),
        trials=plan.trials,
        searches=(),
        created="2026",
        updated="2026",
    )
    study = StudyStore.open(Storage.open(str(folder)), "s")
    study.write_study(record)
    return study, record


def _study_mb(folder: Path, size: int) -> float:
    study, _ = _study(folder, size)
    return len(study.storage.read("study.json")) / 1e6


def _study_s(folder: Path, size: int) -> float:
    study, _ = _study(folder, size)
    return _seconds(study.study)


class _Nodes:
    def nodes(self) -> list[dict[str, Any]]:
        have = {"CPU": 64.0}
        return [{"NodeID": "n", "NodeManagerAddress": "n", "Alive": True, "Resources": have}]


def _hand_out_s(folder: Path, size: int) -> float:
    orders = [TrialOrder(Work(t, t.evals, fit=True), (), ()) for t in _plan(size).trials]
    places = Places(_Nodes(), "cpu", may_grow=False)

    def all_of_them() -> None:
        searcher = PlanSearcher(orders, [], lambda trial: orders[0], places)
        for number in range(size):
            searcher.suggest(f"t{number}")
            searcher.over(f"t{number}")

    return _seconds(all_of_them)


LINES: dict[str, Callable[[Path, int], float]] = {
    "listing a BIDS folder of so many subjects, s": _listing_s,
    "a cohort's manifest, MB": _manifest_mb,
    "reading the manifest, s": _manifest_s,
    "naming its set of slices, s": _set_s,
    "planning so many trials, s": _plan_s,
    "study.json of so many trials, MB": _study_mb,
    "reading study.json, s": _study_s,
    "handing out so many trials, s": _hand_out_s,
}

if __name__ == "__main__":
    main()
