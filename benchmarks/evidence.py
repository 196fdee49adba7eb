"""What the statistics of a report cost: all rows of the paper's grid over 285 subjects.

    python -m benchmarks.evidence [--grid paper] [--subjects 285]

Records are made up (benchmarks/simulated.py); prints CPU seconds of the report as JSON, which has
every row, then of table 1 as text, which has intervals, choice and tests, then of both once more
with what was kept.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.simulated import DISEASES, Cells, draw, subjects_table
from benchmarks.synthetic_records import SCORES, write_evaluation, write_fit
from datasets.storage import Storage
from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.records.parts import table_bytes
from study.records.studies import Attempt, StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.report.report import as_json, make_report, print_report
from study.terminal import PlainConsole
from trainables.spec import EVAL_VERSION


def write_records(study: StudyStore, grid: str, n_subjects: int) -> StudyRecord:
    """Write a finished study with counts of so many subjects."""
    cohorts = tuple(
        CohortInfo(
            name=name, role=role, modality=modality, source="bids", key=f"{name}-{modality}",
            synthetic=True, n_scans=4, n_subjects=n_subjects, n_slices=40, n_quarantined=0,
        )
        for name, role, modality in (
            ("ixi", "train", "T1w"), ("ixi", "train", "T2w"), ("atlas", "test", "T1w"),
            ("brats", "test", "T1w"), ("brats", "test", "T2w"),
        )
    )  # fmt: skip
    plan = build_plan(load_grid(grid), cohorts, seeds=(0,), epochs=None)
    record = StudyRecord(
        study=study.name, grid=grid, synthetic=True, cohorts=cohorts, trials=plan.trials,
        searches=(), eval_version=EVAL_VERSION, created="2026", updated="2026",
    )  # fmt: skip
    study.write_study(record)
    parts: dict[str, bytes] = {}
    rng = np.random.default_rng(0)
    for number, trial in enumerate(record.trials):
        write_fit(study, trial, rng, cohorts=cohorts)
        model = trial.spec.model
        kind = f"{model} {number % 3}"
        if kind not in parts:
            scores = SCORES[model]
            seeded = np.random.default_rng(7)
            cells = Cells(0.1 * rng.standard_normal(len(scores)))
            drawn = draw(DISEASES["tumours"], n_subjects, seeded, cells)
            both = itertools.product(zip(scores, drawn, strict=True), ("brain", "slice"))
            parts[kind] = table_bytes(subjects_table({(s, r): c for (s, c), r in both}))
        for evaluation in (e for e in trial.evals if e.role == "test"):
            write_evaluation(study, trial, evaluation, rng, None)
            store = study.trial(trial.trial_id)
            stored = store.evaluation(evaluation.eval_id)
            assert stored is not None
            files = {
                "metrics.parquet": store.read_part(stored, "metrics.parquet"),
                "subjects.parquet": parts[kind],
            }
            put = Attempt(store.evaluation_storage(evaluation.eval_id)).put_all(files)
            store.write_evaluation(stored.model_copy(update={"parts": put}))
    return record


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--grid", default="paper")
    parser.add_argument("--subjects", type=int, default=285)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        study = StudyStore.open(Storage.open(folder), "a-study")
        record = write_records(study, options.grid, options.subjects)
        for kept in ("nothing kept", "kept"):
            report = make_report(study, record)
            console = PlainConsole(file=io.StringIO(), width=200)
            rows_s = _cpu_s(lambda report=report: as_json(report))  # type: ignore[misc]
            table_s = _cpu_s(lambda report=report, c=console: print_report(report, c))  # type: ignore[misc]
            report.keep_statistics()
            print(
                f"{kept}: {len(report.rows)} rows {rows_s:.1f} s of CPU, table 1 {table_s:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
