"""A grid can keep to some modalities; who names none gets the cohorts and trials of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from study.errors import PlanError
from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.prepare.cohorts import phantom_cohorts, read_cohorts
from study.records.types import CohortInfo


def test_the_folders_of_the_usual_phantoms_are_those_of_before(tmp_path: Path) -> None:
    usual = phantom_cohorts(tmp_path, {"ixi": 5, "brats": 3, "atlas": 3})
    assert [c.root.name for c in usual] == [
        "atlas-3-4fc1ac06",
        "brats-3-4915b839",
        "ixi-5-af06d826",
    ]
    with_flair = phantom_cohorts(tmp_path, {"ixi": 5, "brats": 3, "atlas": 3}, ("FLAIR",))
    assert [(c.name, c.modalities) for c in with_flair] == [
        ("brats", ("FLAIR",)),
        ("ixi", ("FLAIR",)),
    ]
    assert not {c.root for c in with_flair} & {c.root for c in usual}


def test_a_cohort_has_flair_only_if_its_table_names_it(tmp_path: Path) -> None:
    (tmp_path / "cohorts.toml").write_text(
        '[cohorts.a]\nsource = "bids"\nroot = "a"\nrole = "train"\n'
        '[cohorts.b]\nsource = "bids"\nroot = "b"\nrole = "test"\nmodalities = ["FLAIR", "T1w"]\n'
    )
    modalities = [cohort.modalities for cohort in read_cohorts(tmp_path / "cohorts.toml")]
    assert modalities == [("T1w", "T2w"), ("T1w", "FLAIR")]


def infos(*modalities: str) -> list[CohortInfo]:
    return [
        CohortInfo(
            name=name, role=role, modality=m, source="bids", key=f"{i:020d}", synthetic=False,
            n_scans=3, n_subjects=3, n_slices=100, n_quarantined=0,
        )
        for i, m in enumerate(modalities)
        for name, role in (("controls", "train"), ("stroke", "test"))
    ]  # fmt: skip


def test_a_grid_keeps_to_the_modalities_that_it_names() -> None:
    smoke, data = load_grid("smoke"), infos("T1w", "T2w", "FLAIR")
    every = build_plan(smoke, data, seeds=(0,), epochs=None)
    flair = build_plan(replace(smoke, modalities=("FLAIR",)), data, seeds=(0,), epochs=None)
    assert {t.spec.modality for t in every.trials} == {"T1w", "T2w", "FLAIR"}
    assert {t.spec.modality for t in flair.trials} == {"FLAIR"}
    assert {t.trial_id for t in flair.trials} < {t.trial_id for t in every.trials}
    before = build_plan(smoke, infos("T1w", "T2w"), seeds=(0,), epochs=None)
    assert {t.trial_id for t in before.trials} == {
        t.trial_id for t in every.trials if t.spec.modality != "FLAIR"
    }
    with pytest.raises(PlanError, match="of the same modality among FLAIR"):
        build_plan(replace(smoke, modalities=("FLAIR",)), infos("T1w"), seeds=(0,), epochs=None)


@pytest.mark.parametrize("modalities", [("T1",), ("T1w", "PD"), ()])
def test_a_grid_with_another_modality_is_refused(modalities: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="name some of T1w, T2w or FLAIR"):
        replace(load_grid("smoke"), modalities=modalities)
