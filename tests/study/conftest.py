"""Storages of every kind, small cohorts and small slices for the tests of the study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from datasets.scan import Modality, Role
from datasets.storage import Storage
from study.plan.done import Work
from study.plan.plan import planned_trial
from study.records.parts import table_bytes
from study.records.studies import Attempt, StudyStore
from study.records.types import (
    CohortInfo,
    EvalRecord,
    Failure,
    FitRecord,
    PlannedTrial,
    StudyRecord,
)
from study.trials.order import TrialOrder
from tests.calls import Call, calling
from trainables.slices import Slices
from trainables.spec import EVAL_VERSION, TrialSpec


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """An S3 server of this process with one bucket; the query that a URI needs to reach it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        Storage.open(f"s3://bucket?{query}&allow_bucket_creation=true").filesystem.create_dir(
            "bucket"
        )
        yield query
    server.stop()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    with calling(monkeypatch, capsys) as run:
        yield run


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty store, once on a disk and once on S3."""
    if request.param == "local":
        return Storage.open(str(tmp_path / "store"))
    query = request.getfixturevalue("s3_bucket")
    return Storage.open(f"s3://bucket/{tmp_path.name}/store?{query}")


@pytest.fixture
def study(storage: Storage) -> StudyStore:
    return StudyStore.open(storage, "a-study")


@pytest.fixture
def local_study(tmp_path: Path) -> StudyStore:
    return StudyStore.open(Storage.open(str(tmp_path / "store")), "a-study")


MakeCohort = Callable[..., CohortInfo]


@pytest.fixture(scope="session")
def make_cohort() -> MakeCohort:
    """Builds a cohort's entry; its key follows from its name and modality."""

    def make(name: str, role: Role, modality: Modality, **changes: object) -> CohortInfo:
        values = {
            "name": name,
            "role": role,
            "modality": modality,
            "source": "bids",
            "key": f"key-of-{name}-{modality}",
            "synthetic": False,
            "n_scans": 4,
            "n_subjects": 4,
            "n_slices": 100,
            "n_quarantined": 0,
        }
        return CohortInfo.model_validate(values | changes)

    return make


@pytest.fixture(scope="session")
def paper_cohorts(make_cohort: MakeCohort) -> tuple[CohortInfo, ...]:
    """The roles and modalities of the paper."""
    return (
        make_cohort("atlas", "test", "T1w"),
        make_cohort("brats", "test", "T1w"),
        make_cohort("brats", "test", "T2w"),
        make_cohort("ixi", "train", "T1w"),
        make_cohort("ixi", "train", "T2w"),
    )


@pytest.fixture(scope="session")
def make_trial(paper_cohorts: tuple[CohortInfo, ...]) -> Callable[..., PlannedTrial]:
    """Builds a planned trial on the paper's cohorts."""

    def make(
        model: str = "intensity",
        modality: Modality = "T1w",
        *,
        seed: int = 0,
        epochs: int = 1,
        search: str | None = None,
        **params: object,
    ) -> PlannedTrial:
        spec = TrialSpec(model=model, modality=modality, params=params, seed=seed, epochs=epochs)
        return planned_trial(spec.completed(), paper_cohorts, search)

    return make


FINISHED = "2026-01-02T03:04:05.678+00:00"


@pytest.fixture(scope="session")
def make_fit() -> Callable[..., FitRecord]:
    """Builds the record of a trial's fit."""

    def make(trial: PlannedTrial, **changes: object) -> FitRecord:
        values: dict[str, object] = {
            "trial_id": trial.trial_id,
            "status": "done",
            "spec": trial.spec,
            "train_cohorts": ("ixi",),
            "train_keys": ("key-of-ixi",),
            "search": trial.search,
            "recipe_version": 1,
            "finished": FINISHED,
        }
        if changes.get("status") == "failed":
            values["failure"] = Failure(kind="ValueError", message="why", traceback="where")
        return FitRecord.model_validate(values | changes)

    return make


def metric_row(score: str, region: str, auc: float | None) -> dict[str, object]:
    return {
        "score": score,
        "region": region,
        "n_subjects": 3,
        "n_slices": 30,
        "n_pixels": 1000,
        "n_positive": 10 if auc is not None else 0,
        "auc": auc,
        "average_precision": auc,
        "chance_average_precision": 0.01,
        "best_dice": auc,
        "best_dice_threshold": 1.5 if auc is not None else None,
        "mean_subject_auc": auc,
        "lesion_outside_brain_share": 0.0,
    }


@pytest.fixture(scope="session")
def put_trial(make_fit: Callable[..., FitRecord]) -> Callable[..., None]:
    """Writes a finished trial into a study: its fit, and evaluations with the given AUCs.

    ``auc`` maps a score to the brain region's AUC; the slice region's is 0.1 lower.
    """
    import pyarrow as pa

    from study.records.index import METRIC_FIELDS

    schema = pa.schema(list(METRIC_FIELDS))

    def put(
        study: StudyStore,
        trial: PlannedTrial,
        auc: dict[str, float | None],
        *,
        cohorts: Sequence[str] | None = None,
        failed_evals: Sequence[str] = (),
    ) -> None:
        store = study.trial(trial.trial_id)
        store.write_fit(make_fit(trial))
        for planned in trial.evals:
            if cohorts is not None and planned.cohort not in cohorts:
                continue
            rows = [metric_row(s, "brain", value) for s, value in auc.items()]
            rows += [
                metric_row(s, "slice", None if value is None else value - 0.1)
                for s, value in auc.items()
            ]
            failed = planned.cohort in failed_evals
            attempt = Attempt(store.evaluation_storage(planned.eval_id))
            table = pa.Table.from_pylist(rows, schema=schema)
            parts = {} if failed else attempt.put_all({"metrics.parquet": table_bytes(table)})
            store.write_evaluation(
                EvalRecord(
                    eval_id=planned.eval_id,
                    trial_id=trial.trial_id,
                    status="failed" if failed else "done",
                    epochs=trial.spec.epochs,
                    cohort=planned.cohort,
                    role=planned.role,
                    modality=trial.spec.modality,
                    test_key=planned.test_key,
                    eval_version=EVAL_VERSION,
                    parts=parts,
                    failure=Failure(kind="E", message="m", traceback="t") if failed else None,
                    finished=FINISHED,
                )
            )

    return put


@pytest.fixture
def finished_study(
    local_study: StudyStore,
    paper_cohorts: tuple[CohortInfo, ...],
    make_trial: Callable[..., PlannedTrial],
    make_fit: Callable[..., FitRecord],
    put_trial: Callable[..., None],
) -> StudyStore:
    """Two finished trials of the baseline with parts, identities that hold, and an index."""
    from study.records.index import refresh_index
    from trainables.registry import describe

    baseline = describe("intensity")
    trials = tuple(make_trial("intensity", "T1w", seed=seed) for seed in (0, 1))
    local_study.write_study(
        StudyRecord(
            study=local_study.name,
            grid="g",
            synthetic=False,
            detectors={"intensity": baseline},
            cohorts=paper_cohorts,
            trials=trials,
            created=FINISHED,
            updated=FINISHED,
            eval_version=EVAL_VERSION,
        )
    )
    for trial in trials:
        put_trial(local_study, trial, {"intensity": 0.7})
        mine = local_study.trial(trial.trial_id)
        fit = make_fit(
            trial,
            train_keys=("key-of-ixi-T1w",),
            recipe_version=baseline.version,
            parts=mine.attempt().put_all({"model.safetensors": b"weights"}),
        )
        mine.write_fit(fit)
    refresh_index(local_study)
    return local_study


class SmallData:
    """Slices of textured discs, each test disc with a bright lesion; the same at every call."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def train(self) -> Slices:
        return self._slices("ixi", 12, seed=1)

    def test(self, cohort: str) -> Slices:
        return self._slices(cohort, 6, seed=2)

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return 0.0

    def _slices(self, cohort: str, count: int, seed: int) -> Slices:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:128, :128] - 63.5
        brain = x**2 + y**2 < 45**2
        lesion = (x - 15) ** 2 + y**2 < 8**2
        images = rng.normal(1.0, 0.1, (count, 128, 128)) + 0.5 * lesion * (seed == 2)
        images = np.where(brain, images, 0.0) * self.scale
        return Slices(
            images_NHW=images.astype(np.float16),
            brain_bits_NK=np.tile(np.packbits(brain), (count, 1)),
            lesion_bits_NK=np.tile(np.packbits(lesion & (seed == 2)), (count, 1)),
            subject_N=np.repeat(np.arange(count // 2), 2).astype(np.int32),
            slice_index_N=np.tile([10, 11], count // 2).astype(np.int32),
            subjects=tuple(f"{cohort}/s{i}" for i in range(count // 2)),
        )


@pytest.fixture(scope="session")
def small_data() -> SmallData:
    return SmallData()


@pytest.fixture(scope="session")
def order_of() -> Callable[..., TrialOrder]:
    """The order to do all of a trial, or some of its evaluations alone."""

    def make(trial: PlannedTrial, *, fit: bool = True) -> TrialOrder:
        return TrialOrder(Work(trial, trial.evals, fit), ("ixi",), ("key-of-ixi",))

    return make
