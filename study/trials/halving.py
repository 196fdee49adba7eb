"""Asynchronous successive halving: which networks go on, by their validation loss (ASHA).

Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2: of the
networks that have come to a rung, those go on that are among the best ``1 / factor`` of them. Here
a network is asked when it comes to the rung: it goes on or is stopped, and does not wait for a
place among the best that others may leave it later. Ray Tune does the same.

Tune's own ``AsyncHyperBandScheduler`` is not used: its rungs know trials by Tune's random names and
end with Tune's experiment, while a study here goes on from its store; and of two networks it stops
the second if it is worse than the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import DamagedFileError
from datasets.tables import read_table
from study.records.halving import Halving, Stop
from study.records.studies import StudyStore, TrialStore
from study.records.types import Checkpoint, FitRecord, PlannedTrial
from trainables.registry import detector_class
from trainables.spec import TrialSpec

Group = tuple[str, str]
"""Model and modality: the losses of others are other quantities."""


class Rungs:
    """The validation losses of the networks that have come to each rung. Of the driver's thread."""

    def __init__(self, reduction_factor: int) -> None:
        self._factor = reduction_factor
        self._losses: defaultdict[tuple[Group, int], dict[str, float]] = defaultdict(dict)

    def add(self, group: Group, epoch: int, trial_id: str, loss: float) -> None:
        """Take in a network that has come to a rung earlier, whatever became of it."""
        self._losses[group, epoch][trial_id] = loss

    def compare(self, group: Group, epoch: int, trial_id: str, loss: float) -> Stop | None:
        """Take in a network that has come to a rung; why it is stopped, or None if it goes on.

        A rung that fewer than ``factor`` networks have come to stops none, and a network is asked
        at a rung once: a worker that was lost may tell of it again.

        Args:
            group: Of the network.
            epoch: The rung.
            trial_id: The network.
            loss: Its validation loss after that epoch.
        """
        here = self._losses[group, epoch]
        if trial_id in here:
            return None
        here[trial_id] = loss
        n_best = len(here) // self._factor
        if n_best == 0:
            return None
        threshold = sorted(here.values())[n_best - 1]
        if loss <= threshold:
            return None
        return Stop(epoch=epoch, validation_loss=loss, threshold=threshold, n_compared=len(here))


def rungs_of(trial: PlannedTrial, halving: Halving | None) -> tuple[int, ...]:
    """The epochs after which a trial is compared; none where it is never stopped.

    What fits at once has no epochs, and what Optuna asks for has to give it a figure.
    """
    by_epochs = detector_class(trial.spec.model).TRAINS_BY_EPOCHS
    if halving is None or trial.search is not None or not by_epochs:
        return ()
    return halving.rungs(trial.spec.epochs)


def group_of(spec: TrialSpec) -> Group:
    """Whom a network is compared with."""
    return (spec.model, spec.modality)


def rebuilt(
    trials: Sequence[PlannedTrial], index: pa.Table, study: StudyStore, halving: Halving
) -> Rungs:
    """The rungs as earlier runs have left them, from what the store tells of each network.

    Args:
        trials: The plan.
        index: The study's index.
        study: Its store.
        halving: How networks are stopped.

    Raises:
        StorageError: If the store cannot be read.
    """
    rungs = Rungs(halving.reduction_factor)
    fits = index.filter(pc.equal(index["kind"], "fit"))
    status_of = dict(zip(*(fits[c].to_pylist() for c in ("trial_id", "status")), strict=True))
    for trial in trials:
        wanted = rungs_of(trial, halving)
        if not wanted or status_of.get(trial.trial_id) == "failed":
            continue
        passed = _passed(study.trial(trial.trial_id), trial.spec.epochs)
        for epoch in wanted:
            if epoch in passed:
                rungs.add(group_of(trial.spec), epoch, trial.trial_id, passed[epoch])
    return rungs


def _passed(trial: TrialStore, epochs: int) -> dict[int, float]:
    """The validation losses of a network by the epochs about which has been decided.

    A fit under way that has just completed an epoch is asked about that one when it goes on, and so
    is one of fewer epochs, which goes on from an earlier state than its last.
    """
    try:
        fit = trial.fit()
        if fit is not None and fit.status == "done":
            return _losses(trial, fit) if fit.spec.epochs >= epochs else {}
        checkpoint = trial.checkpoint()
        losses = _losses(trial, checkpoint) if checkpoint is not None else {}
    except DamagedFileError:
        return {}
    if fit is not None and fit.stopped is not None:
        return losses | {fit.stopped.epoch: fit.stopped.validation_loss}
    if checkpoint is None:
        return {}
    decided = checkpoint.epoch if checkpoint.share else checkpoint.epoch - 1
    return {epoch: loss for epoch, loss in losses.items() if epoch <= decided}


def _losses(trial: TrialStore, source: FitRecord | Checkpoint) -> dict[int, float]:
    """The validation losses in a history, by epoch."""
    table = read_table(trial.read_part(source, "history.parquet"))
    pairs = zip(table["epoch"].to_pylist(), table["validation_loss"].to_pylist(), strict=True)
    return {epoch: loss for epoch, loss in pairs if loss is not None}
