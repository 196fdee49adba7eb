"""The runs of a study as three tables: trials, their losses, their figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from datasets.files import write_whole
from study.errors import UsageError
from study.export.extras import Exported
from study.export.runs import Run

TRIALS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("name", pa.string()),
        ("model", pa.string()),
        ("modality", pa.string()),
        ("status", pa.string()),
        ("failure", pa.string()),
        ("finished", pa.string()),
        ("params", pa.string()),
    ]
)
LOSSES = pa.schema(
    [
        ("trial_id", pa.string()),
        ("epoch", pa.int64()),
        ("train_loss", pa.float64()),
        ("validation_loss", pa.float64()),
    ]
)
METRICS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("cohort", pa.string()),
        ("score", pa.string()),
        ("region", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)


def tables(runs: Iterable[Run]) -> dict[str, pa.Table]:
    """The tables by name; settings are JSON, undefined figures are left out."""
    trials, losses, metrics = [], [], []
    for run in runs:
        names = ("trial_id", "name", "model", "modality", "status", "failure", "finished")
        settings = json.dumps(run.params, ensure_ascii=False)
        trials.append({name: getattr(run, name) for name in names} | {"params": settings})
        for loss in run.losses:
            told = {"train_loss": loss.train, "validation_loss": loss.validation}
            losses.append({"trial_id": run.trial_id, "epoch": loss.epoch, **told})
        for name, value in run.metrics.items():
            place = dict(zip(("cohort", "score", "region", "metric"), name.split("/"), strict=True))
            metrics.append({"trial_id": run.trial_id, **place, "value": value})
    return {
        "trials": pa.Table.from_pylist(trials, schema=TRIALS),
        "losses": pa.Table.from_pylist(losses, schema=LOSSES),
        "metrics": pa.Table.from_pylist(metrics, schema=METRICS),
    }


def write_tables(
    place: str, runs: Sequence[Run], ending: str, packed: Callable[[pa.Table], bytes]
) -> Exported:
    """Write the tables into a folder, in place of what was there.

    Args:
        place: The folder.
        runs: What the tables are of.
        ending: Of the files' names.
        packed: A table as the bytes of a file.
    """
    path = folder(place)
    for name, table in tables(runs).items():
        write_whole(path / f"{name}.{ending}", packed(table))
    return Exported(len(runs), 0, str(path))


def folder(place: str) -> Path:
    """A folder to write to, made if need be.

    Raises:
        UsageError: If it cannot be made.
    """
    path = Path(place).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}") from error
    return path
