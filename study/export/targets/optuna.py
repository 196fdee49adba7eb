"""``optuna:URL``: an Optuna storage with a study a test cohort, for optuna-dashboard and its kin.

A trial's value is the AUC over brain pixels of the score that is best there; every figure is among
its attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.errors import UsageError
from study.export.extras import Exported
from study.export.runs import ExportedStudy, Run, Value
from study.report.choice import Row
from study.report.table import table_columns

_TRIAL, _FINGERPRINT = "trial_id", "fingerprint"
_NONE = "-"


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Add the trials that are not there as they are; where one has changed, make its study anew.

    Raises:
        UsageError: If the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.get_storage(place)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot open the Optuna storage {place}: {reason}") from error
    choices = _choices(study.runs)
    written = known = 0
    for cohort, modality in table_columns([row for run in study.runs for row in run.rows]):
        here = [run for run in runs if run.modality == modality]
        name = f"{study.name} {cohort} {modality}"
        fresh = _fresh(storage, name, here)
        written, known = written + len(fresh), known + len(here) - len(fresh)
        if fresh and not _can_grow(storage, name, fresh, choices):
            # Neither a trial nor what a setting may be can be changed, so the study is made anew.
            optuna.delete_study(study_name=name, storage=storage)
            fresh = [run for run in study.runs if run.modality == modality]
        opened = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        opened.add_trials([_trial(run, cohort, choices) for run in fresh])
    return Exported(written, known, place)


def _trials(storage: BaseStorage, name: str) -> list[FrozenTrial]:
    """The trials of an Optuna study; none where there is no such study."""
    if name not in optuna.get_all_study_names(storage):
        return []
    trials: list[FrozenTrial] = optuna.load_study(study_name=name, storage=storage).trials
    return trials


def _fresh(storage: BaseStorage, name: str, runs: Sequence[Run]) -> list[Run]:
    """The runs that an Optuna study does not have as they are."""
    there = {
        (trial.user_attrs.get(_TRIAL), trial.user_attrs.get(_FINGERPRINT))
        for trial in _trials(storage, name)
    }
    return [run for run in runs if (run.trial_id, run.fingerprint) not in there]


def _can_grow(
    storage: BaseStorage, name: str, fresh: Sequence[Run], choices: dict[str, BaseDistribution]
) -> bool:
    """Whether runs can be added to an Optuna study that is there as it is, or is not there."""
    ids = {run.trial_id for run in fresh}
    return all(
        trial.distributions == choices and trial.user_attrs.get(_TRIAL) not in ids
        for trial in _trials(storage, name)
    )


def _choices(runs: Sequence[Run]) -> dict[str, BaseDistribution]:
    """What each setting may be: all values that the study's trials have, in their order."""
    found: dict[str, set[Value]] = {"score": {row["score"] for run in runs for row in run.rows}}
    for run in runs:
        for name, value in run.params.items():
            found.setdefault(name, set()).add(value)
    return {
        name: CategoricalDistribution(sorted(values | {_NONE}, key=lambda v: (str(type(v)), v)))
        for name, values in found.items()
    }


def _trial(run: Run, cohort: str, choices: dict[str, BaseDistribution]) -> FrozenTrial:
    rows: list[Row] = [
        row
        for row in run.rows
        if row["cohort"] == cohort and row["region"] == "brain" and row["auc"] is not None
    ]
    best = max(rows, key=lambda row: row["auc"], default=None)
    is_done = run.status == "done" and best is not None
    params = {name: run.params.get(name, _NONE) for name in choices}
    params["score"] = best["score"] if best is not None else _NONE
    own = {name: value for name, value in run.metrics.items() if name.startswith(f"{cohort}/")}
    attributes = {_TRIAL: run.trial_id, _FINGERPRINT: run.fingerprint, "name": run.name, **own}
    if run.failure:
        attributes["failure"] = run.failure
    return create_trial(
        state=TrialState.COMPLETE if is_done else TrialState.FAIL,
        value=best["auc"] if is_done and best is not None else None,
        params=params,
        distributions=choices,
        user_attrs=attributes,
        intermediate_values={
            loss.epoch: loss.validation for loss in run.losses if loss.validation is not None
        },
    )
