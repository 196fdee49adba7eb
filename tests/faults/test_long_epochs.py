"""An epoch that takes more than a minute is kept on the way, and goes on within itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.records.studies import StudyStore
from study.records.types import Checkpoint
from tests.commands import Command
from tests.grids import run_words
from tests.heads import write_cohorts
from tests.stores import history, open_study, study_content

pytestmark = pytest.mark.slow

EVERY_S = 2

LONG = '''
"""One network for one epoch of many steps: half a minute of them."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=(GridTrial("ae", {"n_c": 32, "n_z": 8, "batch_size": 2}, epochs=1),),
    searches=(),
    phantom_subjects={},
)
'''


def _checkpoint(study: StudyStore) -> Checkpoint | None:
    for name in study.storage.names("trials"):
        checkpoint = study.trial(name).checkpoint()
        if checkpoint is not None:
            return checkpoint
    return None


def test_a_kill_within_a_long_epoch_repeats_what_came_after_its_last_checkpoint(
    start: Callable[..., Command], until: Callable[..., None], address: str, tmp_path: Path
) -> None:
    cohorts = write_cohorts(tmp_path, n_train=16, n_test=1)

    def begin(store: str, *more: Any) -> Command:
        place = ("--cohorts", cohorts, "--store", tmp_path / store, "--address", address)
        precision = ("--precision", "float32")
        return start(*run_words(tmp_path, "long", LONG), *place, *precision, *more)

    undisturbed = begin("undisturbed")  # beside the other one: both have a core
    study = open_study(tmp_path / "killed", "s")
    first = begin("killed", "--checkpoint-every", EVERY_S)

    def halfway() -> bool:
        assert first.status is None, first.describe()
        found = _checkpoint(study)
        return found is not None and found.share > 0.4

    until(halfway, "nearly half of the epoch is kept")
    first.kill_group()
    until(lambda: not first.left_over(), "the killed driver is gone")
    kept = _checkpoint(study)
    assert kept is not None
    assert (kept.epoch, 0 < kept.share < 1) == (0, True)
    second = begin("killed", "--checkpoint-every", EVERY_S)

    def goes_on() -> bool:
        now = _checkpoint(study)
        return second.status is not None or (now is not None and now.steps > kept.steps)

    until(goes_on, "the second run has a checkpoint of its own")
    assert second.wait() == 0, second.describe()
    assert undisturbed.wait() == 0, undisturbed.describe()
    (name,) = study.storage.names("trials")
    trial = study.trial(name)
    fit = trial.fit()
    assert fit is not None
    assert (fit.attempts, [row["attempt"] for row in history(trial)]) == (2, [2])
    # The seconds that count are of both: the second one did not begin again.
    assert fit.wall_s > kept.wall_s
    assert study_content(study) == study_content(open_study(tmp_path / "undisturbed", "s"))
