"""Names of maps: what BIDS allows, and never two scans' under one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.scan import Scan
from datasets.storage import Storage
from study.apply.driver import scan_orders, subject_of
from study.apply.folder import Names, label, model_label, sidecar
from study.errors import UsageError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_ses-pre_run-2_T1w.nii.gz", ("01", "pre")),
        ("sub-x9_T2w.nii", ("x9", "")),
        ("patient 12_t1.nii.gz", ("patient12t1", "")),
        ("résumé.nii", ("rsum", "")),
        ("___.nii", ("unnamed", "")),
    ],
)
def test_subject_and_session_of_a_single_file(name: str, expected: tuple[str, str]) -> None:
    assert subject_of(Path("/somewhere") / name) == expected


def test_names_are_those_of_derivatives() -> None:
    assert model_label("vae_fixed", "normalized_error") == "vaeFixedNormalizedError"
    names = Names("01", "a", "gmmOutlierSum")
    start = "sub-01/ses-a/anat/sub-01_ses-a_space-orig_"
    assert str(names.share) == f"{start}label-lesion_desc-gmmOutlierSum_probseg.nii.gz"
    assert str(names.scored) == f"{start}desc-scored_mask.nii.gz"
    assert sidecar(names.pieces).name.endswith("_lesions.json")
    assert label("C-3_b") == "C3b"


def test_two_scans_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    scans = [Scan(s, "", "T1w", tmp_path / f"{s}.nii.gz") for s in ("2013_1_11", "2013_11_1")]
    tasks = tuple(SimpleNamespace(scan=scan) for scan in scans)
    records = tuple(SimpleNamespace(status="ok") for _ in scans)
    spec = SimpleNamespace(model="vae")
    description = SimpleNamespace(spec=spec)
    model = SimpleNamespace(
        description=description, identity="x", healthy_pixels=lambda score: None
    )
    order: Any = SimpleNamespace(
        model=model, score="nll", root=tmp_path, threshold=None, out=tmp_path, page=False
    )
    listing: Any = SimpleNamespace(tasks=tasks, records=records)
    with pytest.raises(UsageError, match=r"2013_1_11.* and 2013_11_1.* same name"):
        scan_orders(order, listing, Storage.open(str(tmp_path)), tmp_path / "m.zip")
