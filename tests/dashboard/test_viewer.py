"""The viewer's page without a browser: what it offers, and what it says when something is gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import open_study
from datasets.manifest import CohortManifest, manifest_path, read_manifest
from datasets.storage import Storage
from study.records.names import Names
from study.records.studies import StudyStore
from study.report.best import top_rows
from tests.dashboard.browsing import STUDY

pytestmark = pytest.mark.slow

Open = Callable[..., AppTest]


@pytest.fixture
def store(smoke_store: Path, tmp_path: Path) -> Path:
    """A store of its own with the smoke study and its slices."""
    for name in ("studies", "shards"):
        shutil.copytree(smoke_store / name, tmp_path / name)
    return tmp_path


def _manifest(store: Path) -> CohortManifest:
    study = StudyStore.open(Storage.open(str(store)), STUDY).study()
    assert study is not None
    key = next(c.key for c in study.cohorts if (c.name, c.modality) == ("atlas", "T1w"))
    manifest = read_manifest(Storage.open(str(store)), key)
    assert manifest is not None
    return manifest


def _rows(store: Path, cohort: str) -> list[dict[str, Any]]:
    view = open_study(str(store), STUDY).view()
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    where = {"region": "brain"}
    where["cohort"], where["modality"] = cohort.split()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def _scene(app: AppTest) -> dict[str, Any]:
    """What the browser is told."""
    data = app.get("bidi_component")[0].proto.bytes
    told: dict[str, Any] = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    return told


def _warnings(app: AppTest) -> str:
    return "\n".join(str(warning.value) for warning in app.warning).replace("\\", "")


def test_every_line_of_table_1_can_be_looked_at_and_the_highest_is_first(
    open_app: Open, smoke_store: Path
) -> None:
    for cohort in ("atlas T1w", "brats T1w", "brats T2w"):
        app = open_app(smoke_store, "viewer", cohort=cohort)
        assert not app.exception
        assert not app.warning
        _, left, right = app.get("button_group")
        rows = _rows(smoke_store, cohort)
        study = open_study(str(smoke_store), STUDY).view()
        assert study.record is not None
        names = Names(study.record.detectors)
        for row in rows:
            line = f"{names.line(row['model'], row['score'])} {row['setting'] or ''}".strip()
            assert line in [option.replace("\\", "") for option in left.options]
        assert len(left.options) == len(rows)
        assert right.options == [*left.options, "none"]
        highest = max(rows, key=lambda row: float(row["auc"]))
        assert left.value == f"{highest['model']}:{highest['score']}"
        assert right.value == "none"
        assert [side["name"] for side in _scene(app)["sides"]] == [
            f"{names.line(highest['model'], highest['score'])} {highest['setting'] or ''}".strip()
        ]


def test_a_threshold_begins_at_the_highest_dice_of_its_own_score(
    open_app: Open, smoke_store: Path
) -> None:
    chosen = {"left-line": "vae:normalized_error", "left-second": "squared_error"}
    app = open_app(smoke_store, "viewer", cohort="atlas T1w", **chosen)
    rows = {(row["model"], row["score"]): row for row in _rows(smoke_store, "atlas T1w")}
    first, second = _scene(app)["sides"][0]["scores"]
    assert rows["vae", "squared_error"]["trial_id"] == rows["vae", "normalized_error"]["trial_id"]
    for told, score in ((first, "normalized_error"), (second, "squared_error")):
        threshold = rows["vae", score]["best_dice_threshold"]
        assert told["threshold"] == pytest.approx(threshold)
        assert told["ends"][0] <= told["threshold"] <= told["ends"][1]
    assert first["key"] != second["key"]


def test_scans_tell_their_lesions_volume(open_app: Open, smoke_store: Path) -> None:
    app = open_app(smoke_store, "viewer", cohort="atlas T1w")
    options = next(box.options for box in app.selectbox if box.label == "Scan")
    records = [r for r in _manifest(smoke_store).records if r.status == "ok"]
    assert options == sorted(
        f"atlas/{r.subject} · lesion {r.lesion_volume_ml:.1f} ml"
        if r.lesion_volume_ml
        else f"atlas/{r.subject} · no lesion"
        for r in records
    )


def test_a_scan_whose_slices_are_gone_is_said_and_the_others_are_shown(
    open_app: Open, store: Path
) -> None:
    first, second, *_ = sorted(_manifest(store).records, key=lambda r: r.subject)
    (store / first.part).unlink()
    shown = {r.subject: f"atlas/{r.subject}" for r in (first, second)}
    app = open_app(store, "viewer", cohort="atlas T1w", scan=shown[first.subject])
    assert not app.exception
    assert f"the slices of '{first.subject}' are gone" in _warnings(app)
    assert not app.get("bidi_component")
    app = open_app(store, "viewer", cohort="atlas T1w", scan=shown[second.subject])
    assert not app.warning
    assert _scene(app)["name"] == shown[second.subject]


def test_a_cohort_without_slices_is_said(open_app: Open, store: Path) -> None:
    (store / manifest_path(_manifest(store).key)).unlink()
    app = open_app(store, "viewer", cohort="atlas T1w")
    assert not app.exception
    assert "The slices of this cohort are not in this store" in "".join(
        m.value for m in app.markdown
    )


def test_a_trial_without_weights_leaves_the_image_and_the_other_side(
    open_app: Open, store: Path
) -> None:
    rows = {(row["model"], row["score"]): row for row in _rows(store, "atlas T1w")}
    trial_id = rows["vae", "normalized_error"]["trial_id"]
    folder = store / "studies" / STUDY / "trials" / trial_id
    (next(folder.rglob("model.safetensors"))).unlink()
    sides = {"left-line": "vae:normalized_error", "right-line": "gmm:outlier_sum"}
    app = open_app(store, "viewer", cohort="atlas T1w", **sides)
    assert not app.exception
    assert trial_id in _warnings(app)
    told = _scene(app)
    assert [len(side["scores"]) for side in told["sides"]] == [0, 1]
    assert np.prod(told["shape"]) > 0
