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

from dashboard.text import markdown_text
from datasets.manifest import CohortManifest, ScanRecord, manifest_path, read_manifest
from datasets.storage import Storage
from study.records.studies import StudyStore
from tests.dashboard.browsing import STUDY
from tests.dashboard.viewing import best_of, line_text, sides

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


def _scene(app: AppTest) -> dict[str, Any]:
    """What the browser is told."""
    data = app.get("bidi_component")[0].proto.bytes
    told: dict[str, Any] = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    return told


def _option(record: ScanRecord) -> str:
    told = f"lesion {record.lesion_volume_ml:.1f} ml" if record.lesion_volume_ml else "no lesion"
    return f"atlas/{record.subject} · {told}"


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
        rows = best_of(smoke_store, cohort)
        lines = [markdown_text(line_text(smoke_store, cohort, key)) for key in rows]
        assert sorted(left.options) == sorted(lines)
        assert right.options == [*left.options, "none"]
        highest = max(rows, key=lambda key: float(rows[key]["auc"]))
        assert (left.value, right.value) == (highest, "none")
        (side,) = _scene(app)["sides"]
        assert side["name"] == line_text(smoke_store, cohort, highest)


def test_a_threshold_begins_at_the_highest_dice_of_its_own_score(
    open_app: Open, smoke_store: Path
) -> None:
    chosen = sides(smoke_store, "atlas T1w", "vae:normalized_error")
    app = open_app(smoke_store, "viewer", **chosen, **{"left-second": "squared error (SE)"})
    assert not app.warning
    rows = best_of(smoke_store, "atlas T1w")
    first, second = _scene(app)["sides"][0]["scores"]
    assert rows["vae:squared_error"]["trial_id"] == rows["vae:normalized_error"]["trial_id"]
    for told, key in ((first, "vae:normalized_error"), (second, "vae:squared_error")):
        assert told["threshold"] == pytest.approx(rows[key]["best_dice_threshold"])
        assert told["ends"][0] <= told["threshold"] <= told["ends"][1]
    assert first["key"] != second["key"]


def test_another_model_without_that_second_score_shows_its_own_alone(
    open_app: Open, smoke_store: Path
) -> None:
    chosen = sides(smoke_store, "atlas T1w", "vae:normalized_error")
    app = open_app(smoke_store, "viewer", **chosen, **{"left-second": "squared error (SE)"})
    app.get("button_group")[1].set_value("gmm:outlier_sum").run()
    assert not app.exception
    (side,) = _scene(app)["sides"]
    assert side["name"] == line_text(smoke_store, "atlas T1w", "gmm:outlier_sum")
    assert len(side["scores"]) == 1


def test_scans_tell_their_lesions_volume(open_app: Open, smoke_store: Path) -> None:
    app = open_app(smoke_store, "viewer", cohort="atlas T1w")
    options = next(box.options for box in app.selectbox if box.label == "Subject")
    records = [r for r in _manifest(smoke_store).records if r.status == "ok"]
    assert options == sorted(_option(record) for record in records)


def test_a_scan_whose_slices_are_gone_is_said_and_the_others_are_shown(
    open_app: Open, store: Path
) -> None:
    first, second, *_ = sorted(_manifest(store).records, key=lambda r: r.subject)
    (store / first.part).unlink()
    app = open_app(store, "viewer", cohort="atlas T1w", subject=_option(first))
    assert not app.exception
    assert f"the slices of '{first.subject}' are gone" in _warnings(app)
    assert not app.get("bidi_component")
    link = f"atlas/{second.subject}"  # the scan alone is enough
    app = open_app(store, "viewer", cohort="atlas T1w", subject=link)
    assert not app.warning
    assert _scene(app)["name"] == link


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
    trial_id = best_of(store, "atlas T1w")["vae:normalized_error"]["trial_id"]
    folder = store / "studies" / STUDY / "trials" / trial_id
    (next(folder.rglob("model.safetensors"))).unlink()
    chosen = sides(store, "atlas T1w", "vae:normalized_error", "gmm:outlier_sum")
    app = open_app(store, "viewer", **chosen)
    assert not app.exception
    assert trial_id in _warnings(app)
    told = _scene(app)
    assert [len(side["scores"]) for side in told["sides"]] == [0, 1]
    assert np.prod(told["shape"]) > 0
