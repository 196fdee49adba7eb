"""Table 1 at thresholds of healthy subjects, from whole evaluations and the maps behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from study.plan.plan import planned_trial
from study.records.names import describe_all
from study.records.parts import table_bytes
from study.records.studies import Attempt, StudyStore
from study.records.types import CohortInfo, EvalRecord, FitRecord, PlannedTrial, StudyRecord
from study.report.report import Report, as_csv, as_json, make_report, print_report
from study.terminal import PlainConsole
from study.trials.evaluation import PARTS
from trainables.evaluate import evaluate
from trainables.slices import Slices
from trainables.spec import EVAL_VERSION, TrialSpec
from trainables.testing import healthy_slices

FINISHED = "2026-01-02T03:04:05.678+00:00"
VOXEL_ML = 0.02
PER_SUBJECT = 6


def _set(name: str, subjects: int, seed: int, *, lesions: bool = False) -> Slices:
    """Subjects of six slices; with lesions, all but the last have two each."""
    n = subjects * PER_SUBJECT
    slices = healthy_slices(n, seed=seed, slices_per_subject=PER_SUBJECT)
    lesion_NHW = np.zeros((n, 128, 128), bool)
    images = slices.images_NHW.copy()
    rng = np.random.default_rng(seed)
    if lesions:
        for subject in range(subjects - 1):
            first = subject * PER_SUBJECT
            lesion_NHW[first + 1 : first + 3, 52:62, 52:64] = True
            lesion_NHW[first + 3 : first + 5, 80:84, 70:76] = True
        images[lesion_NHW] += rng.uniform(0.0, 1.2, int(lesion_NHW.sum())).astype(np.float16)
    return replace(
        slices,
        images_NHW=images,
        lesion_bits_NK=np.packbits(lesion_NHW.reshape(n, -1), axis=1),
        subjects=tuple(f"{name}/{i}" for i in range(subjects)),
        voxel_ml_N=np.full(n, VOXEL_ML),
    )


SETS = {
    "stroke": _set("stroke", 5, 1, lesions=True),
    "volunteers": _set("volunteers", 12, 2),
    "students": _set("students", 4, 3),
    "held out": _set("ixi", 3, 4),
}
SPEC = TrialSpec(model="intensity", modality="T1w").completed()

Write = Callable[..., Report]


@pytest.fixture
def write(
    local_study: StudyStore,
    make_cohort: Callable[..., CohortInfo],
    make_fit: Callable[..., FitRecord],
) -> Write:
    """Writes a study of the baseline with real evaluations, and gives its report."""

    def written(*healthy: str, version: int = EVAL_VERSION) -> Report:
        cohorts = (
            make_cohort("ixi", "train", "T1w"),
            make_cohort("stroke", "test", "T1w"),
            *(make_cohort(name, "healthy", "T1w") for name in healthy),
        )
        trial = planned_trial(SPEC, cohorts, eval_version=version)
        record = StudyRecord(
            study=local_study.name, grid="g", synthetic=True, cohorts=cohorts, trials=(trial,),
            detectors=describe_all(["intensity"]), eval_version=version,
            created=FINISHED, updated=FINISHED,
        )  # fmt: skip
        local_study.write_study(record)
        keys = ("key-of-ixi-T1w",)
        fit = make_fit(trial, train_keys=keys, recipe_version=record.detectors["intensity"].version)
        local_study.trial(trial.trial_id).write_fit(fit)
        for planned in trial.evals:
            _write_evaluation(local_study, trial, planned.cohort, version)
        return make_report(local_study, record)

    return written


def _write_evaluation(study: StudyStore, trial: PlannedTrial, cohort: str, version: int) -> None:
    planned = next(e for e in trial.evals if e.cohort == cohort)
    store = study.trial(trial.trial_id)
    found = evaluate(SPEC.detector(), SETS[cohort])
    names = PARTS if version > 1 else ("metrics", "roc", "subjects", "heatmaps")
    files = {f"{name}.parquet": table_bytes(getattr(found, name)) for name in names}
    parts = Attempt(store.evaluation_storage(planned.eval_id)).put_all(files)
    store.write_evaluation(
        EvalRecord(
            eval_id=planned.eval_id, trial_id=trial.trial_id, status="done", epochs=1,
            cohort=cohort, role=planned.role, modality="T1w", test_key=planned.test_key,
            eval_version=version, parts=parts, finished=FINISHED,
        )
    )  # fmt: skip


def _row(report: Report, score: str = "intensity") -> dict[str, Any]:
    content = json.loads(as_json(report))
    (row,) = (r for r in content["rows"] if (r["score"], r["region"]) == (score, "brain"))
    assert row["cohort"] == "stroke"
    return dict(row)


def _text(report: Report, width: int = 100) -> str:
    sink = StringIO()
    print_report(report, PlainConsole(file=sink, width=width, no_color=True, highlight=False))
    return sink.getvalue()


def _pixels(name: str, sign: int = 1) -> np.ndarray[Any, Any]:
    batch = SETS[name].batch(slice(None))
    return sign * batch.images_BHW[batch.brain_BHW]


def test_figures_are_those_of_the_maps_marked_at_the_threshold(write: Write) -> None:
    row = _row(write("volunteers"))
    batch = SETS["stroke"].batch(slice(None))
    brain, lesion = batch.brain_BHW, batch.lesion_BHW & batch.brain_BHW
    reference = _pixels("volunteers")
    assert [p["threshold"] for p in row["operating_points"]] == [
        "healthy:1%",
        "healthy:5%",
        "healthy:10%",
    ]
    for share, point in zip((0.01, 0.05, 0.1), row["operating_points"], strict=True):
        value = point["value"]
        assert (reference >= value).mean() == pytest.approx(share, abs=0.002)
        assert point["marked"] == pytest.approx((reference >= value).mean(), abs=0.002)
        marked = (batch.images_BHW >= value) & brain
        hit, false = (marked & lesion).sum(), (marked & ~lesion).sum()
        assert point["sensitivity"] == pytest.approx(hit / lesion.sum(), abs=0.006)
        dice = 2 * hit / (marked.sum() + lesion.sum())
        assert point["dice"] == pytest.approx(dice, abs=0.006)
        assert point["false_positive_ml"] == pytest.approx(false * VOXEL_ML / 5, rel=0.02)
        found = _found(batch.images_BHW, lesion, value)
        assert point["lesions_half"] == np.mean(found >= 0.5)
        assert point["lesions_any"] == np.mean(found > 0)
    assert 0 < row["operating_points"][1]["lesions_half"] < 1
    assert row["n_lesions"] == 4 * 2


def _found(images: np.ndarray, lesion: np.ndarray, threshold: float) -> np.ndarray:
    """The share of each lesion that is marked."""
    shares = []
    for start in range(0, len(images), PER_SUBJECT):
        rows = slice(start, start + PER_SUBJECT)
        labels, count = ndimage.label(lesion[rows], structure=np.ones((3, 3, 3)))
        shares += [(images[rows][labels == i + 1] >= threshold).mean() for i in range(count)]
    return np.array(shares)


def _highest(images_HW: np.ndarray, brain_HW: np.ndarray) -> float:
    values = np.sort(images_HW[brain_HW])[::-1]
    return float(values[: max(1, len(values) // 100)].mean())


def test_slices_and_subjects_are_told_apart_as_their_highest_pixels_do(write: Write) -> None:
    row = _row(write("volunteers"))
    batch = SETS["stroke"].batch(slice(None))
    lesion = batch.lesion_BHW & batch.brain_BHW
    by_slice = [_highest(i, b) for i, b in zip(batch.images_BHW, batch.brain_BHW, strict=True)]
    expected = roc_auc_score(lesion.any(axis=(1, 2)), by_slice)
    assert row["slice_auc"] == pytest.approx(expected, abs=1e-9)
    by_subject, is_ill = [], []
    for name in ("stroke", "volunteers"):
        some = SETS[name].batch(slice(None))
        for start in range(0, len(some.images_BHW), PER_SUBJECT):
            rows = slice(start, start + PER_SUBJECT)
            by_subject.append(_highest(some.images_BHW[rows], some.brain_BHW[rows]))
            is_ill.append(bool((some.lesion_BHW & some.brain_BHW)[rows].any()))
    assert sum(is_ill) == 4
    expected = roc_auc_score(is_ill, by_subject)
    assert row["subject_detection_auc"] == pytest.approx(expected, abs=1e-9)


def test_without_a_healthy_cohort_the_subjects_held_out_choose(write: Write) -> None:
    report = write()
    point = _row(report)["operating_points"][1]
    assert (point["reference"], point["n_reference"]) == (["held out"], 3)
    assert (_pixels("held out") >= point["value"]).mean() == pytest.approx(0.05, abs=0.002)
    assert json.loads(as_json(report))["false_alarms"] == []


def test_below_ten_subjects_every_output_says_that_it_is_uncertain(write: Write) -> None:
    few = write("students")
    assert all(point["is_uncertain"] for point in _row(few)["operating_points"])
    assert "(4 subjects), which is uncertain below 10 subjects" in " ".join(_text(few).split())
    assert ",students,4,1," in as_csv(few)
    enough = write("volunteers")
    assert not any(point["is_uncertain"] for point in _row(enough)["operating_points"])
    words = " ".join(_text(enough).split())
    assert "healthy cohort volunteers (12 subjects)." in words
    assert words.count("uncertain") == 1  # the three held out, which tell of the volunteers' alarms
    assert "on held out (3 subjects), not on itself, which is uncertain below 10" in words
    assert ",volunteers,12,0," in as_csv(enough)


def _alarms(report: Report) -> dict[tuple[str, str], dict[str, Any]]:
    told = json.loads(as_json(report))["false_alarms"]
    return {(a["cohort"], a["threshold"]): a for a in told if a["score"] == "intensity"}


@pytest.mark.parametrize(
    ("healthy", "references"),
    [
        (("volunteers",), {"volunteers": ["held out"], "held out": ["volunteers"]}),
        (
            ("students", "volunteers"),
            {
                "students": ["volunteers"],
                "volunteers": ["students"],
                "held out": ["students", "volunteers"],
            },
        ),
    ],
)
def test_false_alarms_are_measured_at_thresholds_that_others_chose(
    write: Write, healthy: tuple[str, ...], references: Mapping[str, list[str]]
) -> None:
    found = _alarms(write(*healthy))
    assert {cohort: a["reference"] for (cohort, _), a in found.items()} == references
    for cohort, reference in references.items():
        alarm = found[cohort, "healthy:5%"]
        chosen_on = np.concatenate([_pixels(name) for name in reference])
        threshold = np.quantile(chosen_on, 0.95)
        measured = (_pixels(cohort) >= threshold).mean()
        assert alarm["marked"] == pytest.approx(measured, abs=0.004)
        assert alarm["n_reference"] == sum(len(SETS[name].subjects) for name in reference)
        per_scan = measured * len(_pixels(cohort)) * VOXEL_ML / len(SETS[cohort].subjects)
        assert alarm["marked_ml"] == pytest.approx(per_scan, rel=0.05)


def test_healthy_evaluations_are_no_columns_of_any_table(write: Write) -> None:
    report = write("volunteers", "students")
    assert {row["cohort"] for row in report.rows} == {"stroke"}
    for region in ("brain", "slice"):
        assert report.table(region).columns == (("stroke", "T1w"),)
    assert report.trials.done == 1


def test_evaluations_of_the_first_version_have_no_operating_points(write: Write) -> None:
    row = _row(write(version=1))
    assert row["operating_points"] == []
    assert (row["slice_auc"], row["subject_detection_auc"], row["n_lesions"]) == (None, None, None)
    assert row["auc"] is not None


def test_text_csv_and_json_have_the_same_figures_in_100_columns(write: Write) -> None:
    report = write("volunteers")
    point = _row(report)["operating_points"][1]
    text = _text(report)
    assert max(map(len, text[text.index("stroke T1w at the") :].splitlines()[:8])) <= 100
    (line,) = (x for x in text.splitlines() if x.strip().startswith("Intensity negated"))
    negated = _row(report, "negative_intensity")["operating_points"]
    figures = line.split("Intensity negated")[1].split()
    assert figures[:3] == [f"{p['sensitivity']:.2f}".lstrip("0") for p in negated]
    header, first, *_ = (row.split(",") for row in as_csv(report).splitlines())
    cell = dict(zip(header, first, strict=True))
    assert (cell["score"], cell["region"]) == ("intensity", "brain")
    assert float(cell["healthy_5_sensitivity"]) == point["sensitivity"]
    assert float(cell["healthy_5_threshold"]) == point["value"]


def test_what_was_worked_out_is_kept_for_pages_that_must_not_wait(
    write: Write, local_study: StudyStore
) -> None:
    from study.plan.done import plan_rows
    from study.report.evidence import Evidence
    from study.report.operating import OperatingPoints

    report = write("volunteers")
    row = next(r for r in report.best if r["region"] == "brain")
    healthy = plan_rows(report.record, report.index, "healthy")

    def kept() -> OperatingPoints:
        evidence = Evidence(local_study, report.index, kept_only=True)
        return OperatingPoints(healthy, evidence)

    assert kept().of_cell([row]) is None
    assert report.operating is not None
    worked_out = report.operating.of_cell([row])
    report.keep_statistics()
    assert worked_out is not None
    assert kept().of_cell([row]) == worked_out
