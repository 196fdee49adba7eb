"""What changes between two runs is done, and that alone; what it replaces is never mixed in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from study.records.studies import StudyStore
from tests.commands import Command
from tests.grids import TINY
from tests.heads import write_cohorts, write_head
from tests.stores import history, open_study, rewrite, stamps, unnamed

pytestmark = pytest.mark.slow

Tiny = Callable[..., Command]
NOWHERE = ("--address", "127.0.0.1:1")
"""A Ray cluster that is not there: whoever asks for Ray fails."""


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cohorts, a grid and its finished study; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("finished")
    write_cohorts(folder / "scans", 3, 2)
    tiny(folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study and its cohorts, with all times kept."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def _study(folder: Path) -> StudyStore:
    return open_study(folder / "store", "s")


def _by_model(folder: Path) -> dict[str, list[str]]:
    """Trials of the store by model."""
    found: dict[str, list[str]] = {}
    study = _study(folder)
    for name in study.storage.names("trials"):
        fit = study.trial(name).fit()
        assert fit is not None
        found.setdefault(fit.spec.model, []).append(name)
    return found


def _rows(run: Callable[..., Any], folder: Path) -> list[dict[str, Any]]:
    report = run("study.report", "--store", folder / "store", "--format", "json")
    rows: list[dict[str, Any]] = json.loads(report.out)["rows"]
    return rows


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Records that were there before and are others now."""
    return {path for path in before if after.get(path) != before[path]}


def test_an_extended_grid_runs_its_new_points_alone(tiny: Tiny, folder: Path) -> None:
    before = stamps(folder / "store")
    wider = TINY.replace("0.1, 0.001", "0.1, 0.01, 0.001").replace('"n_z": 8,', '"n_z": 16,')
    both = wider.replace('GridTrial("intensity"),', 'GridTrial("intensity"), ' + _AE_8)
    command = tiny(folder, grid=both)
    assert "6 of 6 trials done, 0 failed" in command.out
    after = stamps(folder / "store")
    assert _changed(before, after) == set()
    new = {path for path in after if path not in before and "/trials/" in path}
    assert len(new) == 6  # a fit and two evaluations of one network and one lambda
    assert {m: len(names) for m, names in _by_model(folder).items()} == {
        "ae": 2,
        "gmm": 3,
        "intensity": 1,
    }


_AE_8 = 'GridTrial("ae", {"n_c": 8, "n_z": 8, "batch_size": 32}, epochs=2),'


def test_raised_epochs_continue_networks_and_nothing_else(tiny: Tiny, folder: Path) -> None:
    before = stamps(folder / "store")
    tiny(folder, "--epochs", "3")
    study, models = _study(folder), _by_model(folder)
    (network,) = models["ae"]
    rows = history(study.trial(network))
    # Its rate began to decay in the second epoch: it goes on from there.
    assert [(row["epoch"], row["attempt"]) for row in rows] == [(1, 1), (2, 2), (3, 2)]
    changed = _changed(before, stamps(folder / "store"))
    assert changed == {f"studies/s/trials/{network}/manifest.json"}
    # On the test cohort and on the subjects held out, of 2 and of 3 epochs.
    assert len(study.storage.names(f"trials/{network}/eval")) == 4
    tiny(folder, "--epochs", "3", *NOWHERE)


def test_an_added_and_then_corrected_test_cohort_is_evaluated_on_the_weights_that_are_there(
    tiny: Tiny, run: Callable[..., Any], folder: Path
) -> None:
    scans = folder / "scans"
    before = stamps(folder / "store")
    write_head(scans / "tumour", "t000", lesion=True)
    with (scans / "cohorts.toml").open("a") as file:
        file.write('[cohorts.tumour]\nsource = "bids"\nroot = "tumour"\nrole = "test"\n')
    tiny(folder)
    added = stamps(folder / "store")
    assert _changed(before, added) == set()
    assert len([p for p in added if p not in before and "/eval/" in p]) == 4
    assert {row["cohort"] for row in _rows(run, folder)} == {"stroke", "tumour"}

    (mask,) = (scans / "tumour").rglob("*lesion_mask.nii.gz")
    image = nib.load(mask)
    voxels = np.asarray(image.dataobj).copy()
    voxels[12:14] = 0
    nib.save(nib.Nifti1Image(voxels, image.affine), mask)
    n_prepared = len(stamps(folder / "store", "record.json"))
    tiny(folder)
    corrected = stamps(folder / "store")
    assert _changed(added, corrected) == set()
    assert len([p for p in corrected if p not in added and "/eval/" in p]) == 4
    assert len(stamps(folder / "store", "record.json")) == n_prepared + 1
    tumour = [row for row in _rows(run, folder) if row["cohort"] == "tumour"]
    assert {row["n_positive"] for row in tumour} != {0}
    assert len({row["eval_id"] for row in tumour}) == 4  # the corrected ones alone


@pytest.mark.parametrize("what", ["code", "data"])
def test_changed_code_or_training_data_is_another_study_in_the_same_store(
    tiny: Tiny, run: Callable[..., Any], folder: Path, what: str
) -> None:
    before, rows = stamps(folder / "store"), _rows(run, folder)
    code = ""
    if what == "code":
        code = (
            "from trainables.registry import detector_class, model_names\n"
            "for name in model_names(): detector_class(name).VERSION += 1"
        )
    else:
        write_head(folder / "scans/healthy", "h000", seed=77)
    tiny(folder, before=code)
    after = stamps(folder / "store")
    assert _changed(before, after) == set()  # what was there stays there
    mine = _rows(run, folder)
    assert len(mine) == len(rows)
    assert not {r["trial_id"] for r in mine} & {r["trial_id"] for r in rows}


@pytest.mark.parametrize(("version", "word"), [(0, "an older version"), (99, "a newer version")])
def test_a_study_of_another_version_is_refused_in_a_sentence_and_left_alone(
    tiny: Tiny, folder: Path, version: int, word: str
) -> None:
    path = folder / "store/studies/s/study.json"
    rewrite(path, store_version=version)
    before = stamps(folder / "store") | stamps(folder / "store", "study.json")
    command = tiny(folder, status=1)
    assert f"was written by {word} of this software (store version {version}" in command.err
    assert len(command.err.strip().splitlines()) == 1
    assert stamps(folder / "store") | stamps(folder / "store", "study.json") == before


def test_a_trial_of_an_older_version_is_not_overwritten(tiny: Tiny, folder: Path) -> None:
    (intensity,) = _by_model(folder)["intensity"]
    path = folder / f"store/studies/s/trials/{intensity}/manifest.json"
    rewrite(path, store_version=0)
    before = stamps(folder / "store")
    command = tiny(folder, status=1)
    assert f"{path} was written by an older version" in command.out
    assert "1 of 4 trials have no record at the end" in command.out
    assert stamps(folder / "store") == before


def test_a_clock_that_jumped_changes_nothing(tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    """The first run's clock was hours off: its files and its last heartbeat say so."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with ThreadPoolExecutor() as pool:  # a heartbeat that is to come is waited for
        left = pool.map(lambda one: _jump(tiny, *one), ((folder, -30), (other, 30)))
        assert list(left) == [[], []]


def _jump(tiny: Tiny, folder: Path, hours: int) -> list[str]:
    """Go on after a jump; returns the files that no record names."""
    store = folder / "store"
    shift = timedelta(hours=hours)
    for path in store.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime + shift.total_seconds()
            os.utime(path, (then, then))
    then = (datetime.now(UTC) + shift).isoformat(timespec="milliseconds")
    rewrite(
        store / "studies/s/progress.json",
        **{"stage": "trials", "updated": then, "host": "elsewhere", "space": "elsewhere"},
    )
    (network,) = _by_model(folder)["ae"]
    shutil.rmtree(store / f"studies/s/trials/{network}")
    before = stamps(store)
    command = tiny(folder)
    assert "4 of 4 trials done, 0 failed" in command.out
    after = stamps(store)
    assert _changed(before, after) == set()
    assert {p for p in after if p not in before} == {
        p for p in after if p.startswith(f"studies/s/trials/{network}/")
    }
    return unnamed(store)
