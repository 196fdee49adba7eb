from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.lesions import lesion_fault, record_notes
from datasets.manifest import ScanRecord
from datasets.storage import Storage
from tests.datasets.test_shards import BRAIN, LESION, make_scan, run

CORNER = np.zeros(BRAIN.shape, bool)
CORNER[:3, :3, :3] = True


@pytest.mark.parametrize("mask", [~LESION, BRAIN, ~BRAIN, BRAIN & ~LESION, ~CORNER, CORNER])
def test_a_lesion_mask_that_cannot_be_right_is_set_aside(tmp_path: Path, mask: Any) -> None:
    record = run(make_scan(tmp_path, (mask,)), Storage.open(str(tmp_path / "store")))
    assert record.status == "quarantined"
    assert record.reason.startswith("implausible lesion mask: ")


def test_a_right_lesion_mask_is_used_without_a_note_on_it(tmp_path: Path) -> None:
    record = run(make_scan(tmp_path, (LESION,)), Storage.open(str(tmp_path / "store")))
    assert record.status == "ok"
    assert record_notes(record) == record.notes


@pytest.mark.parametrize(
    ("lesion_ml", "brain_ml", "outside"),
    [(500, 800, 0.4), (400, 1300, 0.0), (0.1, 1300, 0.0), (0.1, 1300, 1.0), (40, 1200, 0.8)],
)
def test_lesions_that_people_have_pass(lesion_ml: float, brain_ml: float, outside: float) -> None:
    assert lesion_fault(lesion_ml, brain_ml, outside) == ""


@pytest.mark.parametrize(
    ("lesion_ml", "outside", "words"),
    [
        (7000, 0.8, "may be inverted"),
        (30, 1.0, "outside the brain"),
        (600, 0.0, "50% of the brain's volume"),
        (5, 0.6, "60% of the lesion mask lie outside"),
    ],
)
def test_a_scan_prepared_before_is_judged_from_its_record(
    lesion_ml: float, outside: float, words: str
) -> None:
    record = ScanRecord(
        key="0" * 20,
        status="ok",
        cohort="a",
        role="test",
        subject="1",
        session="",
        modality="T1w",
        image="1.nii",
        brain_volume_ml=1200,
        lesion_volume_ml=lesion_ml,
        lesion_outside_brain_share=outside,
        notes=("an older note",),
    )
    first, *others = record_notes(record)
    assert words in first
    assert others == ["an older note"]
