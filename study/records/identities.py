"""Whether a record is that of its place: its identity, made again from what it says.

What a record says may have been changed by a hand or a disk. The digest in it tells the most;
records of versions that wrote none are told by the identity that their specification stands for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from datasets.storage import DamagedFileError, NewerFileError
from study.errors import DamagedError, ForeignError
from study.records.names import Names
from study.records.types import EvalRecord, FitRecord
from trainables.spec import (
    evaluation_identity,
    fit_identity,
    identity,
    postprocessed_identity,
)


class Problem(StrEnum):
    """Why a record does not count."""

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    NEWER = "newer"
    FOREIGN = "foreign"


def problem_of(error: Exception) -> Problem:
    """What is wrong with the record that could not be had."""
    if isinstance(error, ForeignError):
        return Problem.FOREIGN
    if isinstance(error, NewerFileError):
        return Problem.NEWER
    return Problem.DAMAGED if isinstance(error, DamagedFileError) else Problem.UNREADABLE


def check_fit(record: FitRecord, names: Names, where: str) -> None:
    """Compare a fit's identity with its specification.

    Args:
        record: The fit.
        names: Knows the settings of its detector; of one that is not installed nothing is known.
        where: What to call the record in an error.

    Raises:
        DamagedError: If they are not the same.
    """
    defaults = names.defaults(record.spec.model, record.recipe_version)
    if defaults is None:
        return
    try:
        content = identity(record.spec, defaults)
        expected = fit_identity(content, record.train_keys, record.recipe_version)
    except (KeyError, ValueError) as error:
        raise DamagedError(f"{where} is damaged: its specification: {error}") from error
    if expected != record.trial_id:
        raise DamagedError(
            f"{where} is damaged: what it says was fitted has another identity, {expected}"
        )


def check_evaluation(
    record: EvalRecord, scores: Collection[str], cohorts: Mapping[str, str], where: str
) -> None:
    """Compare an evaluation's identity with what it says.

    Args:
        record: The evaluation.
        scores: Names of the scores that it has; none where it has failed.
        cohorts: Names of the cohorts that are known, by the keys of their shards.
        where: What to call the record in an error.

    Raises:
        DamagedError: If they are not the same.
    """
    told = cohorts.get(record.test_key, record.cohort)
    if told != record.cohort:
        raise DamagedError(
            f"{where} is damaged: it names the cohort {record.cohort!r}, its data are of {told!r}"
        )
    possible = {
        evaluation_identity(
            record.trial_id, record.epochs, record.test_key, record.eval_version, names
        )
        for names in ((), tuple(sorted(scores)))
    }
    if record.postprocessing is not None:
        possible = {postprocessed_identity(name, record.postprocessing) for name in possible}
    is_known = bool(scores) or record.status == "done"
    if is_known and record.eval_id not in possible:
        raise DamagedError(f"{where} is damaged: what it says was evaluated has another identity")
