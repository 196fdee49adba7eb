"""Slices and their scores in a real browser, against what the store has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from benchmarks.serving import settled
from dashboard.maps import overlap, region_mask, segment
from dashboard.text import figure_text
from datasets.manifest import read_manifest
from datasets.shards import read_slices
from datasets.storage import Storage
from study.records.names import Names
from study.records.showcase import ShowcaseMaps, decode_showcase
from study.report.choice import best_rows
from tests.dashboard.browsing import (
    SLIDER_IS_IN_THE_ADDRESS,
    Served,
    address_of,
    metric,
    open_page,
)
from trainables.slices import Slices

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def _stored(smoke: Served, trial_id: str, eval_id: str) -> tuple[ShowcaseMaps, ...]:
    trial = smoke.study.trial(trial_id)
    record = trial.evaluation(eval_id)
    assert record is not None
    data = trial.read_part(record, "heatmaps.parquet")
    return decode_showcase(pq.read_table(pa.BufferReader(data)))


def _dice(showcase: ShowcaseMaps, score: str, threshold: float) -> str:
    mask = region_mask(showcase.brain_HW, "brain")
    found = segment(showcase.scores[score], showcase.brain_HW, "brain", threshold)
    return figure_text(overlap(found, showcase.lesion_HW & mask).dice)


def _best_vae(report: dict[str, Any], cohort: str, modality: str) -> dict[str, Any]:
    place = {"model": "vae", "score": "normalized_error", "region": "brain"}
    place |= {"cohort": cohort, "modality": modality}
    rows = [r for r in report["rows"] if all(r[k] == v for k, v in place.items())]
    row: dict[str, Any] = best_rows(rows, "auc")[0]
    return row


def _line(smoke: Served, row: dict[str, Any]) -> str:
    """What the page calls a line of table 1."""
    names = Names(smoke.study.described().detectors)
    return f"{names.line(row['model'], row['score'])} {row['setting']}"


def test_slider_prints_the_dice_of_its_threshold(
    page: Page, smoke: Served, report: dict[str, Any]
) -> None:
    row = _best_vae(report, "atlas", "T1w")
    stored = _stored(smoke, row["trial_id"], row["eval_id"])
    open_page(page, smoke.url, "heatmaps", cohort="atlas T1w", segment=_line(smoke, row))
    subject, index = _shown(page)
    showcase = next(s for s in stored if (s.subject, s.slice_index) == (subject, index))
    seen = []
    slider = page.get_by_test_id("stSlider")
    thumb = slider.get_by_role("slider")
    for presses in (0, 10, 20):
        thumb.focus()
        for _ in range(presses):
            thumb.press("ArrowRight")
        threshold = row["best_dice_threshold"]
        if presses:
            page.wait_for_function(SLIDER_IS_IN_THE_ADDRESS)
            threshold = float(address_of(page)["heatmaps.threshold-normalized_error"])
        text = metric(page, "Dice, this slice")
        expect(text).to_have_text(_dice(showcase, "normalized_error", threshold))
        seen.append(text.inner_text())
    assert len(set(seen)) == 3


def test_any_other_slice_is_scored_from_the_saved_weights(
    page: Page, smoke: Served, report: dict[str, Any]
) -> None:
    row = _best_vae(report, "brats", "T2w")
    view = {"cohort": "brats T2w", "segment": _line(smoke, row), "all": "true"}
    open_page(page, smoke.url, "heatmaps", **view)
    before = _shown(page)
    page.keyboard.press("n")
    box = page.get_by_role("combobox", name="Axial slice")
    expect(box).not_to_have_value(str(before[1]))
    expect(page.get_by_text("Segmentation", exact=True).first).to_be_visible()
    settled(page)
    showcase = _scored(smoke, row, *_shown(page))
    threshold = row["best_dice_threshold"]
    expect(metric(page, "Dice, this slice")).to_have_text(
        _dice(showcase, "normalized_error", threshold)
    )
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def _shown(page: Page) -> tuple[str, int]:
    """The subject and the slice that are chosen."""
    names = ("Subject", "Axial slice")
    subject, index = (page.get_by_role("combobox", name=name).input_value() for name in names)
    return subject, int(index)


def _scored(smoke: Served, row: dict[str, Any], subject: str, index: int) -> ShowcaseMaps:
    """The same slice, scored by the test's own hand."""
    import safetensors.numpy

    store = Storage.open(str(smoke.store))
    record = smoke.study.study()
    assert record is not None
    wanted = (row["cohort"], row["modality"])
    key = next(c.key for c in record.cohorts if (c.name, c.modality) == wanted)
    manifest = read_manifest(store, key)
    assert manifest is not None
    scan = next(r for r in manifest.records if f"{r.cohort}/{r.subject}" == subject)
    columns = read_slices(store, scan)
    at = int(np.flatnonzero(columns.slice_index_N == index)[0])
    batch = Slices(
        columns.images_NHW,
        columns.brain_bits_NK,
        columns.lesion_bits_NK,
        np.zeros(len(columns.slice_index_N), np.int32),
        columns.slice_index_N,
        (subject,),
    ).batch(slice(at, at + 1))
    trial = smoke.study.trial(row["trial_id"])
    fit = trial.fit()
    assert fit is not None
    detector = fit.spec.detector()
    detector.load_state(safetensors.numpy.load(trial.read_part(fit, "model.safetensors")))
    maps = detector.score(batch.images_BHW, batch.brain_BHW)
    return ShowcaseMaps(
        subject,
        index,
        batch.images_BHW[0],
        batch.brain_BHW[0],
        batch.lesion_BHW[0],
        {name: values[0] for name, values in maps.items()},
        {},
    )
