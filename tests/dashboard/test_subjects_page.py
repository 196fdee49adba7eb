"""The page of subjects: its figures, its order, its pictures, and what it leaves out."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlparse

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.map_charts import MAP_SCALE, TRUTH_COLOUR
from dashboard.reader import StudyReader, StudyView
from dashboard.subject_charts import volume_scatter
from dashboard.thumbnails import picture
from datasets.storage import Storage
from study.report.best import top_rows
from study.report.counts import read_counts
from study.report.parts import Parts
from study.report.subjects import SubjectFigures

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def view(made_up_store: Path) -> StudyView:
    return StudyReader(Storage.open(str(made_up_store)), "synthetic").view()


def _seeds(view: StudyView, score: str) -> list[dict[str, object]]:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    place = {"model": "vae", "score": score, "cohort": "atlas", "region": "brain"}
    return [row for row in rows if all(row[k] == v for k, v in place.items())]


def test_subjects_have_the_means_of_the_best_settings_seeds_and_come_worst_first(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    line = "VAE · normalised error (E)"
    app = open_app(made_up_store, "subjects", cohort="atlas T1w", line=line)
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["AUC"]) == sorted(table["AUC"])
    study = StudyReader(Storage.open(str(made_up_store)), "synthetic").study
    seeds = _seeds(view, "normalized_error")
    assert seeds
    parts = Parts(study)
    counts = [read_counts(parts, str(r["trial_id"]), str(r["eval_id"])) for r in seeds]
    counted = [some["normalized_error", "brain"] for some in counts]
    names = counted[0].subjects
    means = np.mean([one.aucs for one in counted], axis=0)
    expected = dict(zip((name.partition("/")[2] for name in names), means, strict=True))
    assert dict(zip(table["Subject"], table["AUC"], strict=True)) == pytest.approx(expected)
    assert ("SD over seeds" in table) == (len(seeds) > 1)


def test_the_line_with_the_highest_figure_is_shown_first_and_all_others_can_be(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    app = open_app(made_up_store, "subjects", cohort="atlas T1w")
    (box,) = (box for box in app.selectbox if box.label == "Model and score")
    here = view.results.filter(
        (pc.field("cohort") == "atlas") & (pc.field("region") == "brain")
    ).group_by(["model", "score"])
    assert len(box.options) == here.aggregate([]).num_rows
    told = " ".join(caption.value for caption in app.caption)
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if (row["cohort"], row["modality"], row["region"]) == ("atlas", "T1w", "brain"):
            cells.setdefault((row["model"], row["score"]), []).append(row["auc"])
    top = max(float(np.mean(some)) for some in cells.values())
    assert f"{top:.3f}".replace(".", "\\.") in told


def test_each_subject_leads_to_the_viewer_with_its_cohort(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "subjects", cohort="brats T2w")
    table = app.dataframe[0].value
    for subject, link in zip(table["Subject"], table["Viewer"], strict=True):
        address = parse_qs(urlparse(link).query)
        assert urlparse(link).path == "viewer"
        assert address["viewer.cohort"] == ["brats T2w"]
        assert address["viewer.subject"] == [f"brats/{subject}"]
        assert address["viewer.left-line"]
        assert address["study"] == ["synthetic"]


def test_sizes_and_order_of_the_address_choose_the_subjects(
    open_app: Open, made_up_store: Path
) -> None:
    every = open_app(made_up_store, "subjects", cohort="atlas T1w").dataframe[0].value
    found = []
    for size, low, high in (
        ("under 1 ml", 0, 1),
        ("1 to 10 ml", 1, 10),
        ("over 10 ml", 10, np.inf),
    ):
        address = {"cohort": "atlas T1w", "size": size, "order": "largest lesion first"}
        app = open_app(made_up_store, "subjects", **address)
        wanted = every[(every["Lesion ml"] > low) & (every["Lesion ml"] <= high)]
        if not len(wanted):
            assert not app.dataframe
            continue
        shown = app.dataframe[0].value
        found += list(shown["Subject"])
        assert set(shown["Subject"]) == set(wanted["Subject"])
        assert list(shown["Lesion ml"]) == sorted(shown["Lesion ml"], reverse=True)
    assert sorted(found) == sorted(every["Subject"])


def test_damaged_counts_are_said_in_their_place(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "bad", synthetic.Wanted(trials=6, failed=0))
    for path in study.storage.files("trials"):
        if path.endswith("subjects.parquet"):
            study.storage.put(path, b"damaged")
    app = open_app(tmp_path, "subjects")
    assert not app.exception
    assert any("damaged" in warning.value for warning in app.warning)


def test_a_picture_is_black_outside_its_mask_and_has_the_truth_around_its_pixels() -> None:
    values = np.linspace(0, 1, 128 * 128, dtype=np.float32).reshape(128, 128)
    mask, lesion = np.zeros((2, 128, 128), bool)
    mask[20:110, 20:110] = True
    lesion[40:50, 60:70] = True
    address = picture(values, mask, lesion, (0.0, 1.0), MAP_SCALE)
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    image = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    truth = tuple(int(TRUTH_COLOUR[i : i + 2], 16) for i in (1, 3, 5))
    is_truth = (image == truth).all(axis=2)
    assert is_truth.sum() == 40  # beside each edge of 10 by 10 pixels
    assert not is_truth[lesion].any()
    assert (image[~mask] == 0).all()
    assert image[108, 108].sum() > image[21, 21].sum()  # low scores are dark
    assert len(address) < 12_000


def test_subjects_without_a_figure_or_a_volume_have_no_point() -> None:
    def one(name: str, auc: float | None, ml: float | None) -> SubjectFigures:
        return SubjectFigures(name, auc, None, None, 100, 5, ml)

    evil = "atlas/<script>alert(1)</script>"
    some = [one(evil, 0.7, 2.0), one("a/b", None, 1.0), one("a/c", 0.5, 0.0), one("a/d", 0.6, None)]
    figure = volume_scatter(some, "#123456")
    assert list(figure.data[0].x) == [2.0]
    assert "<script>" not in figure.to_json()
    assert figure.layout.xaxis.type == "log"
