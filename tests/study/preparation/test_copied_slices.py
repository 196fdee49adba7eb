"""From shards to the slices that trials map, whatever has become of the shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datasets.storage import Storage
from study.trials.data import StudySlices, study_slices
from study.trials.execute import copied_slices
from study.trials.node import NodeSlices
from trainables.slices import Slices

Prepare = Callable[..., Any]


def test_slices_for_trials_come_whole_although_shards_are_damaged_and_gone(
    make_cohorts: Callable[[int, int], Path],
    prepare: Prepare,
    store: Storage,
    ray: Any,
    tmp_path: Path,
) -> None:
    first = prepare(make_cohorts(3, 2))

    def remake() -> StudySlices:
        return study_slices(first.preparation.mend(first.listings), ["T1w"])

    def copied(cache: str) -> tuple[Slices, Slices]:
        node = NodeSlices(store.uri, "a-study", str(tmp_path / cache), run=cache)
        sets = study_slices(first.listings, ["T1w"])
        sets = copied_slices(ray, node, sets, first.preparation.monitor, remake)
        return node.slices(sets.train["T1w"]), node.slices(sets.test["stroke", "T1w"])

    before, _ = copied("one")
    assert first.count == 5
    part = first.records["h000"].part
    store.put(part, store.read(part)[:-1] + b"?")
    store.delete(first.records["s001"].part)
    after, test = copied("two")
    assert first.count == 5 + 2
    assert np.array_equal(before.images_NHW, after.images_NHW)
    assert len(test) > 0
