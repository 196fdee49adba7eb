"""The paragraph of methods, the flow of scans, and what the records answer of a checklist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets.storage import Storage
from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.records.names import describe_all
from study.records.provenance import provenance
from study.records.studies import StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.report.claim import ITEMS, YOU_MUST_STATE, answered
from study.report.methods import Methods, gather
from study.report.methods_text import NO_SHARDS, as_text, flow_lines, paragraph
from study.report.report import make_report
from tests.calls import Call
from tests.study.figures import material_of, prepared, written_study

REASONS = (
    "unlabelled: a test scan needs a lesion mask, and none was found",
    "/scans/x1.nii.gz is no T1w image: its border is dark",
    "/scans/x2.nii.gz is no T1w image: its centre is dark",
)


@pytest.fixture
def planned(local_study: StudyStore, paper_cohorts: tuple[CohortInfo, ...]) -> StudyRecord:
    """The small grid over the paper's cohorts with two seeds, of which nothing is done."""
    plan = build_plan(load_grid("small"), paper_cohorts, seeds=(0, 1), epochs=None)
    record = StudyRecord(
        study=local_study.name, grid="small", synthetic=False, precision="float32",
        detectors=describe_all(plan.models), cohorts=paper_cohorts, trials=plan.trials,
        searches=plan.searches, provenance=provenance(), created="2026", updated="2026",
    )  # fmt: skip
    local_study.write_study(record)
    return record


@pytest.fixture
def methods(local_study: StudyStore, planned: StudyRecord, tmp_path: Path) -> Methods:
    """Those of the study, with a cohort whose scans are prepared and partly set aside."""
    storage = Storage.open(str(tmp_path / "store"))
    record = prepared(storage, planned, ("atlas", "T1w"), (), REASONS)
    return gather(storage, make_report(local_study, record))


def numbers_in(value: Any) -> Iterator[float]:
    """Every number of a JSON object, those within its texts included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers_in(key)
            yield from numbers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, str):
        yield from spoken(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def spoken(text: str) -> Iterator[float]:
    """The numbers of a text; those of a version one by one, none within a word such as T1w."""
    for word in re.findall(r"(?<![\w.])\d[\d,.]*(?:e-?\d+)?(?!\w)", text):
        plain = word.replace(",", "").rstrip(".")
        parts = plain.split(".") if plain.count(".") > 1 else [plain]
        yield from (float(part) for part in parts)


def test_every_number_of_the_paragraph_is_in_the_json(methods: Methods) -> None:
    known = set(numbers_in(json.loads(methods.as_json())))
    said = list(spoken(paragraph(methods)))
    assert len(said) > 30
    assert set(said) <= known
    assert set(spoken(" ".join(flow_lines(methods)))) <= known


def test_the_paragraph_says_what_was_done_and_how_it_was_chosen(methods: Methods) -> None:
    text = paragraph(methods)
    assert (
        "AE, DAE, VAE: 16 trials each, N_c 8 or 16, N_z 8 or 64, 8 epochs in batches of 16" in text
    )
    assert "learning rate of 0.001, which decays linearly to zero over the last third" in text
    assert "2 seeds a setting" in text
    assert "over all brain pixels of all subjects of a test set, pooled" in text
    assert "chosen on the test set itself" in text
    assert "too high on the average" in text
    assert "atlas T1w: 4; brats T1w: 4; brats T2w: 4" in text
    assert "128 x 128 pixels" in text
    assert "No confidence intervals were computed." in text
    assert "Holm" not in text
    tested = paragraph(replace(methods, level_percent=95))
    assert "order U < SE < L < E of the VAE's scores in fixed sequence" in tested
    assert "ynthetic" not in text


def test_intervals_and_the_phantom_are_said_where_there_are_any(tmp_path: Path) -> None:
    material = material_of(tmp_path, written_study(tmp_path, trials=3))
    methods = gather(material.store, material.report)
    assert methods.level_percent == 95
    text = paragraph(methods)
    assert text.startswith("Synthetic phantom")
    assert "Intervals of 95 % are of the subjects" in text
    assert "Holm's correction" in text
    assert NO_SHARDS in text
    assert set(spoken(text)) <= set(numbers_in(json.loads(methods.as_json())))


def test_the_flow_adds_up_and_names_kinds_of_reasons_and_no_file(methods: Methods) -> None:
    (flow,) = [f for f in methods.cohorts if f.name == "atlas T1w"]
    assert flow.n_scans == flow.n_used + sum(flow.set_aside.values()) == 3
    assert flow.set_aside == {"the image is no T1w image": 2, "unlabelled": 1}
    assert flow.left_out == {"no image": 8}
    assert flow.files is not None
    assert flow.files.below == flow.files.used + flow.files.set_aside + flow.files.left_out
    text = "\n".join(flow_lines(methods))
    assert "set aside: 2: the image is no T1w image" in text
    assert "/scans" not in text


def test_the_checklist_has_every_item_once_and_leaves_open_what_no_record_knows(
    methods: Methods,
) -> None:
    items = answered(methods)
    assert [item.number for item in items] == list(range(1, 45))
    by_number = {item.number: item for item in items}
    for item in ITEMS:
        if item.answer is None:
            assert by_number[item.number].text == YOU_MUST_STATE
    assert by_number[29].text == YOU_MUST_STATE  # there are no intervals
    assert "128 x 128" in by_number[9].text
    assert not by_number[9].is_open
    assert "on the test set itself" in by_number[26].text
    for ethical in (11, 13, 16, 44):
        assert by_number[ethical].is_open


def test_the_commands_print_text_and_json(
    call: Call, local_study: StudyStore, planned: StudyRecord, tmp_path: Path
) -> None:
    def printed(*words: str) -> str:
        outcome = call("report", "--store", tmp_path / "store", *words)
        assert outcome.status == 0, outcome.err
        return outcome.out

    report = make_report(local_study, planned)
    methods = gather(Storage.open(str(tmp_path / "store")), report)
    assert printed("--methods").strip() == as_text(methods).strip()
    assert json.loads(printed("--methods", "--format", "json")) == json.loads(methods.as_json())
    told = json.loads(printed("--checklist", "claim", "--format", "json"))
    assert [item["number"] for item in told["items"]] == list(range(1, 45))
    assert YOU_MUST_STATE in printed("--checklist", "claim")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--methods", "--figures", "out"), "--figures and --methods do not go together"),
        (("--methods", "--format", "csv"), "--methods has no --format csv; it is text or json"),
        (("--figures", "out", "--format", "json"), "--figures has no --format json; it is text"),
        (("--methods", "--strata", "site"), "--strata and --compare go with table 1"),
        (("--checklist", "stard"), "'stard' is not one of 'claim'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    call: Call, planned: StudyRecord, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    outcome = call("report", "--store", tmp_path / "store", *words)
    assert outcome.status == 2
    assert says in " ".join(outcome.err.split())
    assert not Path("out").exists()


def test_a_plan_is_told_though_nothing_is_done(methods: Methods) -> None:
    assert (methods.trials.planned, methods.trials.done) == (68, 0)
    assert [training.model for training in methods.trainings][:2] == ["Intensity", "modified GMM"]
