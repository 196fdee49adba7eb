"""``wandb-offline:DIR``: runs of Weights & Biases on the disk, for ``wandb sync``; no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from study.export.extras import Exported, needed
from study.export.marks import write_folders
from study.export.runs import ExportedStudy, Run
from study.export.tables import folder


def check(place: str) -> None:
    """See that what is needed is installed."""
    needed("wandb", "wandb")


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the runs that are not there as they are, each in a folder of its own."""
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
    return write_folders(
        folder(place) / study.name,
        runs,
        lambda run: run.trial_id,
        lambda run, path: _write(study, run, path),
    )


def _write(study: ExportedStudy, run: Run, path: Path) -> None:
    wandb = needed("wandb", "wandb")
    settings = wandb.Settings(
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    opened = wandb.init(
        mode="offline",
        dir=str(path),
        project=study.name,
        group=study.name,
        job_type=run.model,
        name=run.name,
        id=run.trial_id,
        config=run.params,
        tags=[run.model, run.modality],
        notes=run.failure or None,
        settings=settings,
    )
    for loss in run.losses:
        told = {"train_loss": loss.train, "validation_loss": loss.validation}
        opened.log({k: v for k, v in told.items() if v is not None}, step=loss.epoch)
    pictures = {name: wandb.Image(image) for name, image in study.pictures(run)}
    if pictures:
        opened.log(pictures, step=run.losses[-1].epoch if run.losses else 0)
    opened.summary.update({"trial_id": run.trial_id, "status": run.status, **run.metrics})
    opened.finish(exit_code=1 if run.status == "failed" else 0)
