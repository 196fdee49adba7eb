"""The order of subjects that train, and what of a cohort's lesions is lost."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datasets.manifest import CohortManifest, ScanRecord
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from study.prepare import losses
from study.trials import data
from trainables.slices import Slices


def subjects_of(**sizes: int) -> dict[str, list[str]]:
    return {name: [f"{name}/{i:03d}" for i in range(count)] for name, count in sizes.items()}


def slices_of(**sizes: int) -> Slices:
    """Two slices a subject, in the order that training sets are loaded in."""
    place = data.shared_order(subjects_of(**sizes))
    names = tuple(sorted(place, key=lambda name: place[name]))
    subject_N = np.repeat(np.arange(len(names), dtype=np.int32), 2)
    n = len(subject_N)
    return Slices(
        images_NHW=np.zeros((n, 128, 128), np.float16),
        brain_bits_NK=np.zeros((n, 2048), np.uint8),
        lesion_bits_NK=np.zeros((n, 2048), np.uint8),
        subject_N=subject_N,
        slice_index_N=np.zeros(n, np.int32),
        subjects=names,
    )


@pytest.mark.parametrize(
    ("sizes", "fraction"),
    [
        ({"a": 16, "b": 6}, 0.1),
        ({"a": 16, "b": 6}, 0.3),
        ({"a": 100, "b": 100, "c": 20}, 0.1),
        ({"a": 579, "b": 16}, 0.1),
        ({"a": 20}, 0.1),
    ],
)
def test_each_cohort_gives_its_share_of_the_held_out_subjects(
    sizes: dict[str, int], fraction: float
) -> None:
    train, held_out = slices_of(**sizes).split(fraction)
    assert held_out is not None
    assert len(held_out.subjects) == round(fraction * sum(sizes.values()))
    assert set(train.subjects) | set(held_out.subjects) == set(slices_of(**sizes).subjects)
    counts = Counter(name.partition("/")[0] for name in held_out.subjects)
    for cohort, size in sizes.items():
        assert abs(counts[cohort] - fraction * size) <= 1


def test_two_cohorts_of_16_and_6_give_one_subject_each() -> None:
    _, held_out = slices_of(a=16, b=6).split(0.1)
    assert held_out is not None
    assert sorted(name[0] for name in held_out.subjects) == ["a", "b"]


def test_held_out_slices_are_views_of_the_pooled_ones() -> None:
    pooled = slices_of(a=16, b=6)
    train, held_out = pooled.split(0.1)
    assert held_out is not None
    assert np.shares_memory(train.images_NHW, pooled.images_NHW)
    assert np.shares_memory(held_out.images_NHW, pooled.images_NHW)


def test_who_is_held_out_depends_on_no_order_and_is_not_the_last_by_name() -> None:
    subjects = subjects_of(a=16, b=6)
    turned = {name: names[::-1] for name, names in reversed(subjects.items())}
    assert data.shared_order(subjects) == data.shared_order(turned)
    place = data.shared_order(subjects)
    by_name = sorted(subjects["a"])
    assert sorted(by_name, key=lambda name: place[name]) != by_name


def test_another_cohort_does_not_change_the_order_within_one() -> None:
    alone = data.shared_order(subjects_of(a=16))
    beside = data.shared_order(subjects_of(a=16, b=6))
    names = subjects_of(a=16)["a"]
    assert sorted(names, key=alone.__getitem__) == sorted(names, key=beside.__getitem__)


def manifest_of(*lesions: dict[str, float]) -> CohortManifest:
    records = tuple(
        ScanRecord.model_validate(
            {
                "key": str(i),
                "status": "ok",
                "cohort": "c",
                "role": "test",
                "subject": str(i),
                "session": "",
                "modality": "T1w",
                "image": "x",
                **lesion,
            }
        )
        for i, lesion in enumerate(lesions)
    )
    return CohortManifest(
        key="k",
        cohort="c",
        modality="T1w",
        role="test",
        source="bids",
        synthetic=False,
        settings=PreprocessSettings(),
        preprocess_version=PREPROCESS_VERSION,
        records=records,
    )


def test_shares_of_a_cohort_weigh_scans_by_their_lesions() -> None:
    cohort = manifest_of(
        {
            "lesion_volume_ml": 30.0,
            "lesion_lost_by_resizing_share": 0.02,
            "lesion_in_dropped_slices_share": 0.5,
        },
        {
            "lesion_volume_ml": 5.0,
            "lesion_lost_by_resizing_share": -0.04,
            "lesion_in_dropped_slices_share": 0.0,
        },
        {},
    )
    assert losses.lesion_in_dropped_slices_share(cohort) == pytest.approx(15 / 35)
    assert losses.lesion_lost_by_resizing_share(cohort) == pytest.approx((0.3 - 0.2) / 20)
    assert losses.lesion_outside_brain_share(cohort) is None


def test_records_from_before_losses_were_measured_say_nothing_of_them() -> None:
    cohort = manifest_of({"lesion_volume_ml": 30.0, "lesion_outside_brain_share": 0.1})
    assert losses.lesion_lost_by_resizing_share(cohort) is None
    assert losses.lesion_in_dropped_slices_share(cohort) is None
    assert losses.lesion_outside_brain_share(cohort) == pytest.approx(0.1)
