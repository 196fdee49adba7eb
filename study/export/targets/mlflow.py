"""``mlflow:URI``: an experiment with a run for the study and, below it, one a trial."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from study.errors import UsageError
from study.export.extras import Exported, needed
from study.export.runs import ExportedStudy, Run

_TRIAL, _STUDY, _FINGERPRINT = (f"anomaly_study.{n}" for n in ("trial_id", "study", "fingerprint"))
_AT_ONCE = 900  # figures of a request
_STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


def check(place: str) -> None:
    """See that what is needed is installed."""
    needed("mlflow", "mlflow")


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the runs that are not there as they are.

    Raises:
        UsageError: If the server or folder cannot be used.
    """
    # Files are what was asked for where the place is a folder; a server is not waited for long.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow = needed("mlflow", "mlflow")
    try:
        return _export(mlflow, study, place, runs)
    except mlflow.exceptions.MlflowException as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot export to MLflow at {place}: {reason}") from error


def _export(mlflow: Any, study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    client = mlflow.MlflowClient(tracking_uri=place)
    found = client.get_experiment_by_name(study.name)
    experiment = found.experiment_id if found else client.create_experiment(study.name)
    parent, known = "", {}
    for run in _all_runs(client, experiment):
        if run.data.tags.get(_STUDY) == study.name:
            parent = run.info.run_id
        elif _TRIAL in run.data.tags and run.info.status in _STATUS.values():
            known[run.data.tags[_TRIAL]] = run
        elif _TRIAL in run.data.tags:
            client.delete_run(run.info.run_id)  # its export was interrupted
    if not parent:
        tags = {_STUDY: study.name, "grid": study.record.grid}
        tags["synthetic"] = str(study.report.synthetic).lower()
        created = client.create_run(experiment, tags=tags, run_name=study.name)
        parent = created.info.run_id
        client.set_terminated(parent)
    written = 0
    for run in runs:
        before = known.get(run.trial_id)
        if before is not None:
            if before.data.tags.get(_FINGERPRINT) == run.fingerprint:
                continue
            client.delete_run(before.info.run_id)
        _write(mlflow, client, study, run, experiment, parent)
        written += 1
    return Exported(written, len(runs) - written, f"{place}, experiment {study.name}")


def _all_runs(client: Any, experiment: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _write(
    mlflow: Any, client: Any, study: ExportedStudy, run: Run, experiment: str, parent: str
) -> None:
    entities = mlflow.entities
    at_ms = int(datetime.fromisoformat(run.finished).timestamp() * 1000)
    tags = {
        "mlflow.parentRunId": parent,
        _TRIAL: run.trial_id,
        _FINGERPRINT: run.fingerprint,
        **({"failure": run.failure[:4000]} if run.failure else {}),
    }
    created = client.create_run(experiment, at_ms, tags=tags, run_name=run.name)
    run_id = created.info.run_id
    params = [entities.Param(name, str(value)[:6000]) for name, value in run.params.items()]
    client.log_batch(run_id, params=params)
    last = run.losses[-1].epoch if run.losses else 0
    figures = [
        entities.Metric(name, value, at_ms, loss.epoch)
        for loss in run.losses
        for name, value in (("train_loss", loss.train), ("validation_loss", loss.validation))
        if value is not None
    ]
    figures += [entities.Metric(name, value, at_ms, last) for name, value in run.metrics.items()]
    for start in range(0, len(figures), _AT_ONCE):
        client.log_batch(run_id, metrics=figures[start : start + _AT_ONCE])
    for name, image in study.pictures(run):
        client.log_image(run_id, image, f"showcase/{name}")
    client.set_terminated(run_id, _STATUS.get(run.status, "FINISHED"), at_ms)
