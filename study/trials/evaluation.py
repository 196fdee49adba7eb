"""One evaluation of a fit on a test or healthy cohort, from slices to record."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa

from datasets.storage import DamagedFileError, StorageError
from datasets.tables import read_table
from study.progress.events import Event
from study.records.parts import table_bytes
from study.records.provenance import provenance
from study.records.studies import Attempt, TrialStore, utc_now
from study.records.types import EvalRecord, Failure, Part, PlannedEval
from study.trials.failures import failure_of, is_out_of_memory
from study.trials.order import TrialData, TrialOrder
from trainables.detector import Detector
from trainables.evaluate import evaluate
from trainables.slices import Slices
from trainables.spec import EVAL_VERSION, HELD_OUT

PARTS = ("metrics", "roc", "subjects", "slices", "lesions", "heatmaps")


def recorded(order: TrialOrder, planned: PlannedEval, trial: TrialStore) -> Event | None:
    """What an evaluation that is there already tells, or None if it has to be made.

    It is there when a worker was lost after it had written the record.
    """
    try:
        record = trial.evaluation(planned.eval_id)
        if record is None or record.status != "done":
            return None
        parts = {name: trial.read_part(record, name) for name in sorted(record.parts)}
        rows = read_table(parts["metrics.parquet"]).to_pylist()
    except (DamagedFileError, KeyError, pa.ArrowInvalid):
        return None
    return Event("evaluate", order.spec.epochs, cohort=planned.place, auc=_told(planned, rows))


def evaluate_and_record(
    order: TrialOrder,
    planned: PlannedEval,
    detector: Detector,
    data: TrialData,
    trial: TrialStore,
) -> Event:
    """Evaluate a fitted detector on a cohort; an exception is a record, not a crash.

    Raises:
        StorageError: If the store cannot be written.
    """
    clock = time.perf_counter()
    parts: dict[str, Part] = {}
    failure, auc, n_slices = None, {}, 0
    try:
        test = _slices(order, planned, data)
        n_slices = len(test)
        outside = data.lesion_outside_brain_share(planned.cohort)
        result = evaluate(
            detector,
            test,
            asked=planned.asked,
            lesion_outside_brain_share=outside,
            postprocessing=planned.postprocessing,
        )
        auc = _told(planned, result.metrics.to_pylist())
        attempt = Attempt(trial.evaluation_storage(planned.eval_id))
        parts = attempt.put_all(
            {f"{name}.parquet": table_bytes(getattr(result, name)) for name in PARTS}
        )
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - an evaluation that fails is a record, not a crash
        if is_out_of_memory(error) and not order.alone:
            return Event("evaluate", order.spec.epochs, cohort=planned.place, crowded=True)
        failure = failure_of(error)
    wall_s = time.perf_counter() - clock
    trial.write_evaluation(_record(order, planned, parts, wall_s, failure))
    reason = f"{failure.kind}: {failure.message}" if failure else ""
    return Event(
        "evaluate",
        order.spec.epochs,
        n_slices,
        failed=failure is not None,
        reason=reason,
        cohort=planned.place,
        auc=auc,
    )


def _slices(order: TrialOrder, planned: PlannedEval, data: TrialData) -> Slices:
    """What is evaluated: a cohort, or the subjects that the fit was not trained on."""
    if planned.cohort != HELD_OUT:
        return data.test(planned.cohort)
    _, held_out = data.train().split(order.spec.validation_fraction)
    if held_out is None:
        raise ValueError("no subject is held out of training: there is nothing to evaluate")
    return held_out


def record_failed_evaluations(order: TrialOrder, trial: TrialStore, failure: Failure) -> None:
    """Write a failed record for each evaluation of an order that has none."""
    for planned in order.work.evals:
        if recorded(order, planned, trial) is None:
            trial.write_evaluation(_record(order, planned, {}, 0.0, failure))


def _record(
    order: TrialOrder,
    planned: PlannedEval,
    parts: dict[str, Part],
    wall_s: float,
    failure: Failure | None,
) -> EvalRecord:
    return EvalRecord(
        eval_id=planned.eval_id,
        trial_id=order.work.trial.trial_id,
        status="failed" if failure else "done",
        epochs=order.spec.epochs,
        cohort=planned.cohort,
        role=planned.role,
        modality=order.spec.modality,
        test_key=planned.test_key,
        eval_version=EVAL_VERSION,
        postprocessing=planned.postprocessing,
        parts=parts,
        wall_s=wall_s,
        failure=failure,
        provenance=provenance(order.device),
        finished=utc_now(),
    )


def _told(planned: PlannedEval, rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The brain region's AUC by score; of post-processed maps none.

    Those neither lead a search nor count as the best so far.
    """
    if planned.postprocessing is not None:
        return {}
    return {row["score"]: row["auc"] for row in rows if row["region"] == "brain"}
