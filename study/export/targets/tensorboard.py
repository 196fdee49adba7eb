"""``tensorboard:DIR``: a folder a trial with losses, figures, settings and showcase slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.export.extras import Exported, needed
from study.export.marks import write_folders
from study.export.runs import ExportedStudy, Run
from study.export.tables import folder


def check(place: str) -> None:
    """See that what is needed is installed."""
    needed("tensorboardX", "tensorboard")


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the runs that are not there as they are."""
    return write_folders(
        folder(place) / study.name,
        runs,
        lambda run: f"{run.model}-{run.modality}-{run.trial_id[:12]}",
        lambda run, path: _write(study, run, path),
    )


def _write(study: ExportedStudy, run: Run, path: Path) -> None:
    writers = needed("tensorboardX", "tensorboard")
    hparams = needed("tensorboardX.summary", "tensorboard").hparams
    with writers.SummaryWriter(str(path)) as writer:
        writer.add_text("trial", f"{run.name}: {run.status} {run.failure}".strip())
        for summary in hparams({"trial_id": run.trial_id, **run.params}, run.metrics):
            writer.file_writer.add_summary(summary)
        for loss in run.losses:
            for name, value in (("train_loss", loss.train), ("validation_loss", loss.validation)):
                if value is not None:
                    writer.add_scalar(name, value, loss.epoch)
        last = run.losses[-1].epoch if run.losses else 0
        for name, value in run.metrics.items():
            writer.add_scalar(name, value, last)
        for name, image in study.pictures(run):
            writer.add_image(name, np.asarray(image), last, dataformats="HW")
