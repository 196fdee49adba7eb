"""Which evaluations of post-processed score maps a study has, and how many there can be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from study.plan.plan import searched_trial
from study.records.types import CohortInfo, PlannedEval, PlannedSearch, PlannedTrial
from trainables.postprocess import MEDIAN, MEDIAN_AND_COMPONENTS, Postprocessing
from trainables.registry import detector_class
from trainables.spec import postprocessed_identity

POSTPROCESSINGS = (MEDIAN, MEDIAN_AND_COMPONENTS)
"""What is done to the score maps of the best settings, each as an evaluation of its own."""


def postprocessed(trial: PlannedTrial, cohorts: Collection[str]) -> PlannedTrial:
    """A trial with evaluations of post-processed maps on some test cohorts, and no others.

    Args:
        trial: The trial.
        cohorts: Names of the test cohorts.
    """
    evals = tuple(
        postprocessed_eval(planned, done)
        for planned in trial.evals
        if planned.role == "test" and planned.cohort in cohorts
        for done in POSTPROCESSINGS
    )
    return trial.model_copy(update={"evals": evals})


def postprocessed_eval(planned: PlannedEval, done: Postprocessing) -> PlannedEval:
    """An evaluation of the same fit on the same data, of post-processed maps.

    Args:
        planned: The evaluation of the maps as they are.
        done: What is done to them.
    """
    name = postprocessed_identity(planned.eval_id, done)
    return planned.model_copy(update={"eval_id": name, "postprocessing": done})


def most_postprocessed(
    trials: Iterable[PlannedTrial],
    searches: Iterable[PlannedSearch],
    cohorts: Sequence[CohortInfo],
) -> list[PlannedTrial]:
    """About as many trials with post-processed evaluations as there will be at most.

    Which settings will be the best is not known before all are evaluated: of each model, modality
    and test cohort there is one a score and seed, so that many of its trials stand for them.

    Args:
        trials: The trials of a plan.
        searches: Its searches, whose trials are not known yet.
        cohorts: The data.
    """
    found = [
        searched_trial(search.spec, search, cohorts) for search in searches if not search.points
    ]
    alike: dict[tuple[str, str, int], list[PlannedTrial]] = {}
    for trial in (*trials, *found):
        spec = trial.spec
        alike.setdefault((spec.model, spec.modality, spec.seed), []).append(trial)
    chosen: dict[str, tuple[PlannedTrial, set[str]]] = {}
    for (model, modality, _), some in alike.items():
        names = [c.name for c in cohorts if c.role == "test" and c.modality == modality]
        n_scores = max(len(trial.evals[0].asked) for trial in some if trial.evals)
        n_scores += len(detector_class(model).SCORES)
        for i, name in enumerate(names):
            # Others for another cohort, as if each had winners of its own.
            for j in range(min(n_scores, len(some))):
                trial = some[(i * n_scores + j) % len(some)]
                chosen.setdefault(trial.trial_id, (trial, set()))[1].add(name)
    return [postprocessed(trial, names) for trial, names in chosen.values()]
