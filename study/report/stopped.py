"""What was stopped early by its validation loss, and what that means for a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from study.records.types import PlannedTrial
from study.terminal import counted


@dataclass(frozen=True)
class StoppedTrial:
    """A network that was stopped early: it has no figures.

    Attributes:
        trial_id: Its trial.
        model: Its detector.
        modality: What it was trained on.
        setting: What people read of its settings.
        seed: Its seed.
        epoch: Epochs that it was trained.
        epochs: Epochs that it was to be trained.
        validation_loss: It had when it was stopped.
    """

    trial_id: str
    model: str
    modality: str
    setting: str
    seed: int
    epoch: int
    epochs: int
    validation_loss: float


def stopped_trials(trials: Iterable[PlannedTrial], index: pa.Table) -> list[StoppedTrial]:
    """The trials of a study's plan that are stopped, in the order of the index."""
    fits = index.filter(
        pc.and_(pc.equal(index["kind"], "fit"), pc.equal(index["status"], "stopped"))
    )
    if not fits.num_rows:
        return []
    planned = {trial.trial_id for trial in trials}
    return [
        StoppedTrial(
            trial_id=row["trial_id"],
            model=row["model"],
            modality=row["modality"],
            setting=row["setting"],
            seed=row["seed"],
            epoch=row["epochs"],
            epochs=json.loads(row["spec"])["epochs"],
            validation_loss=row["validation_loss"],
        )
        for row in fits.to_pylist()
        if row["trial_id"] in planned
    ]


def cut_by_asha(stopped: Sequence[StoppedTrial]) -> list[str]:
    """What readers of a table have to know of it; nothing where no network was stopped."""
    if not stopped:
        return []
    after = Counter((one.epoch, one.epochs) for one in stopped)
    listed = ", ".join(
        f"{n} after {epoch} of {counted(epochs, 'epoch')}"
        for (epoch, epochs), n in sorted(after.items())
    )
    were = "network was" if len(stopped) == 1 else "networks were"
    return [
        f"The grid was cut by ASHA on the validation loss: {len(stopped)} {were} stopped early "
        f"({listed}), without any figure, and the best settings are chosen among the others.",
        "The same study.run without --asha completes them.",
    ]
