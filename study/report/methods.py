"""The numbers of a study's methods: what became of the scans, what was trained, how it is measured.

All of them are from the records. The paragraph (``study.report.methods_text``) and the checklist
(``study.report.claim``) say no number that is not here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from datasets.manifest import CohortManifest, FileCounts, read_manifest
from datasets.settings import SIZE, PreprocessSettings
from datasets.storage import Storage
from study.plan.done import TrialCounts, plan_trials
from study.records.halving import Halving
from study.records.names import Names
from study.records.types import CohortInfo, PlannedTrial
from study.report.paper import PAPER_REGION
from study.report.report import Report
from study.report.selection import N_DRAWS, N_SPLITS
from study.report.statistics import LEVEL
from study.report.stopped import StoppedTrial

_PATH = re.compile(r"\S*/\S+")

Values = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class CohortFlow:
    """What became of a cohort's scans of one modality.

    Attributes:
        cohort: Its name.
        modality: Of the scans.
        role: ``train``, ``test`` or ``healthy``.
        source: The layout that it was read as.
        files: What became of the files below its folders, in all modalities; None if not counted.
        left_out: How many files were left out for each reason, in all modalities.
        n_scans: Scans that were found.
        n_used: Those that are used.
        set_aside: How many scans were set aside for each reason.
        n_subjects: Subjects of the scans that are used.
        n_slices: Their slices.
        n_lesion_subjects: Those subjects with a lesion; None where the shards do not tell.
        lesion_ml: The smallest, the median and the largest lesion volume of their scans.
        brain_tools: What told the brain, by the number of scans.
    """

    cohort: str
    modality: str
    role: str
    source: str
    files: FileCounts | None
    left_out: dict[str, int]
    n_scans: int
    n_used: int
    set_aside: dict[str, int]
    n_subjects: int
    n_slices: int
    n_lesion_subjects: int | None
    lesion_ml: tuple[float, float, float] | None
    brain_tools: dict[str, int]

    @property
    def name(self) -> str:
        """Cohort and modality."""
        return f"{self.cohort} {self.modality}"


@dataclass(frozen=True)
class Training:
    """How the models of one kind were trained.

    Attributes:
        model: What people read for it.
        n_trials: Trials that are planned.
        modalities: That they are trained on, each on its own.
        epochs: Passes over the training slices; one for a model that does not train by epochs.
        seeds: Number of seeds.
        varied: The settings that people compare, by symbol, with their values.
        optimiser: Settings of the training by name: batch size, rate, schedule, weight decay.
        search: The parameter that a search found, or nothing.
    """

    model: str
    n_trials: int
    modalities: tuple[str, ...]
    epochs: tuple[int, ...]
    seeds: int
    varied: Values
    optimiser: Values
    search: str


@dataclass(frozen=True)
class Preprocessing:
    """How scans became slices.

    Attributes:
        size_px: Height and width of a slice.
        versions: Of preprocessing; several where cohorts were prepared by several.
        normalisation: What is divided by the median of its brain.
        brain_extractor: What tells the brain in whole heads.
        brain_mask: Whether its mask is widened beside dark lesions.
        least_brain_percent: Slices whose brain covers less of the image are left out.
    """

    size_px: int
    versions: tuple[int, ...]
    normalisation: str
    brain_extractor: str
    brain_mask: str
    least_brain_percent: float


@dataclass(frozen=True)
class Methods:
    """Everything that is said of the methods.

    Attributes:
        study: Name of the study.
        grid: Name of its grid.
        synthetic: Whether any cohort is the phantom.
        cohorts: What became of the scans.
        preprocessing: How they became slices; None where the shards do not tell.
        trainings: How models were trained.
        validation_percent: Share of the healthy subjects that is withheld for a loss.
        trials: How far the study is.
        n_settings: By test set, how many settings a row's best was chosen from, at most.
        estimand: What is estimated.
        selection: How the best setting is chosen.
        level_percent: Level of the intervals; None if there are none.
        n_draws: Draws of subjects by which the choice is corrected; None if it is not.
        n_splits: Splits of the subjects into halves for the same; None if there are none.
        postprocessings: What was done to the score maps of the best settings, each way apart.
        halving: How the latest run stopped networks early; None if it did not.
        stopped: Networks that were stopped early and have not been completed since.
        precision: Arithmetic of the networks.
        revision: Of the code.
        python: Version of Python.
        packages: Versions of packages.
    """

    study: str
    grid: str
    synthetic: bool
    cohorts: tuple[CohortFlow, ...]
    preprocessing: Preprocessing | None
    trainings: tuple[Training, ...]
    validation_percent: float | None
    trials: TrialCounts
    n_settings: dict[str, int]
    estimand: str
    selection: str
    level_percent: int | None
    n_draws: int | None
    n_splits: int | None
    postprocessings: tuple[str, ...]
    halving: Halving | None
    stopped: tuple[StoppedTrial, ...]
    precision: str | None
    revision: str | None
    python: str
    packages: dict[str, str]

    def of_role(self, *roles: str) -> list[CohortFlow]:
        """The cohorts of some roles."""
        return [flow for flow in self.cohorts if flow.role in roles]

    def as_json(self) -> str:
        """One JSON object."""
        content = asdict(self) | {"trials": self.trials.as_dict()}
        content["halving"] = self.halving.model_dump() if self.halving else None
        for name in ("halving", "stopped"):  # told only where there is something to tell
            if not content[name]:
                del content[name]
        for told, flow in zip(content["cohorts"], self.cohorts, strict=True):
            told["files"] = flow.files.model_dump() if flow.files else None
        return json.dumps(content, indent=1, allow_nan=False)


def gather(store: Storage, report: Report) -> Methods:
    """Gather what the records tell of the methods.

    Args:
        store: The store that the study lies in.
        report: Its report.

    Raises:
        StorageError: If the store cannot be read.
    """
    record = report.record
    manifests = {info.key: read_manifest(store, info.key) for info in record.cohorts}
    trials = plan_trials(record, report.index)
    table = report.table(PAPER_REGION)
    withheld = {trial.spec.validation_fraction for trial in trials}
    return Methods(
        study=report.study,
        grid=report.grid,
        synthetic=report.synthetic,
        cohorts=tuple(_flow(info, manifests[info.key]) for info in record.cohorts),
        preprocessing=_preprocessing([m for m in manifests.values() if m]),
        trainings=_trainings(trials, report.names),
        validation_percent=_percent(max(withheld)) if withheld else None,
        trials=report.trials,
        n_settings=_n_settings(trials, record.cohorts),
        estimand="ROC-AUC over all brain pixels of all subjects of a test set, pooled",
        selection="highest mean over the seeds, on the test set itself",
        level_percent=round(100 * LEVEL) if table.has_intervals else None,
        n_draws=N_DRAWS if table.has_selected else None,
        n_splits=N_SPLITS if table.has_selected else None,
        postprocessings=_postprocessings(report),
        halving=record.halving,
        stopped=tuple(report.stopped),
        precision=record.precision,
        revision=record.provenance.git_revision,
        python=record.provenance.python,
        packages=dict(record.provenance.packages),
    )


def _postprocessings(report: Report) -> tuple[str, ...]:
    """The ways of post-processing that any of the best settings has a figure of."""
    told = (figures for cell in report.postprocessed for figures in cell.after)
    return tuple(dict.fromkeys(f.postprocessing for f in told if f.auc is not None))


def _flow(info: CohortInfo, manifest: CohortManifest | None) -> CohortFlow:
    records = manifest.records if manifest else ()
    used = [scan for scan in records if scan.status == "ok"]
    volumes = sorted(scan.lesion_volume_ml for scan in used if scan.lesion_volume_ml is not None)
    reasons = Counter(_kind(s.reason, s.image) for s in records if s.status != "ok")
    left_out: Counter[str] = Counter()
    for path, reason in manifest.skipped if manifest else ():
        assert manifest is not None
        left_out[_kind(reason, path)] += manifest.stand_for.get(path, 1)
    if not manifest and info.n_quarantined:
        reasons["the reason is not in the store"] = info.n_quarantined
    ill = {s.subject for s in used if s.lesion_volume_ml}
    return CohortFlow(
        cohort=info.name,
        modality=info.modality,
        role=info.role,
        source=info.source,
        files=manifest.files if manifest else None,
        left_out=dict(left_out.most_common()),
        n_scans=info.n_scans + info.n_quarantined,
        n_used=info.n_scans,
        set_aside=dict(reasons.most_common()),
        n_subjects=info.n_subjects,
        n_slices=info.n_slices,
        n_lesion_subjects=len(ill) if manifest and info.role == "test" else None,
        lesion_ml=_range(volumes) if info.role == "test" and volumes else None,
        brain_tools=dict(Counter(s.brain_tool for s in used if s.brain_tool).most_common()),
    )


def _range(volumes: list[float]) -> tuple[float, float, float]:
    """The smallest, the median and the largest, to a tenth."""
    n = len(volumes)
    median = (volumes[(n - 1) // 2] + volumes[n // 2]) / 2
    return round(volumes[0], 1), round(median, 1), round(volumes[-1], 1)


def _kind(reason: str, path: str) -> str:
    """What reasons of many scans have in common: what is before the colon, without file names."""
    general = reason.replace(path, "the image") if path else reason
    return _PATH.sub("a file", general).partition(": ")[0]


def _preprocessing(manifests: list[CohortManifest]) -> Preprocessing | None:
    if not manifests:
        return None

    def told(name: str) -> str:
        return " or ".join(dict.fromkeys(str(getattr(m.settings, name)) for m in manifests))

    settings: PreprocessSettings = manifests[0].settings
    return Preprocessing(
        size_px=SIZE,
        versions=tuple(sorted({m.preprocess_version for m in manifests})),
        normalisation=told("normalisation"),
        brain_extractor=told("brain_extractor"),
        brain_mask=told("brain_mask"),
        least_brain_percent=_percent(settings.min_brain_fraction),
    )


def _percent(share: float) -> float:
    """A share in percent, a whole number if it is one."""
    percent = round(100 * share, 6)
    return int(percent) if percent == int(percent) else percent


_OPTIMISER = ("batch_size", "learning_rate", "betas", "weight_decay", "schedule")


def _trainings(trials: Iterable[PlannedTrial], names: Names) -> tuple[Training, ...]:
    by_model: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        by_model.setdefault(trial.spec.model, []).append(trial)
    models = sorted(by_model, key=lambda model: names.place(model))
    return tuple(_training(names, model, by_model[model]) for model in models)


def _training(names: Names, model: str, trials: list[PlannedTrial]) -> Training:
    varied: dict[str, set[Any]] = {}
    for trial in trials:
        for setting, value in names.chosen(model, trial.spec.params).values:
            varied.setdefault(setting.symbol or setting.name, set()).add(value)
    optimiser: dict[str, dict[str, Any]] = {}
    for trial in trials:
        for name in _OPTIMISER:
            if name in trial.spec.params:
                value = trial.spec.params[name]
                optimiser.setdefault(name, {})[json.dumps(value)] = value
    searched = {trial.search for trial in trials if trial.search}
    return Training(
        model=names.model(model),
        n_trials=len(trials),
        modalities=tuple(sorted({trial.spec.modality for trial in trials})),
        epochs=tuple(sorted({trial.spec.epochs for trial in trials})),
        seeds=len({trial.spec.seed for trial in trials}),
        varied={name: tuple(sorted(some, key=str_or_number)) for name, some in varied.items()},
        optimiser={name: tuple(some.values()) for name, some in optimiser.items()},
        search="Optuna" if searched else "",
    )


def str_or_number(value: Any) -> tuple[int, float, str]:
    """What values of a setting are sorted by."""
    is_number = isinstance(value, int | float)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def _n_settings(trials: Iterable[PlannedTrial], cohorts: Iterable[CohortInfo]) -> dict[str, int]:
    """How many settings a row's best was chosen from, at most, by test set."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for trial in trials:
        for evaluation in trial.evals:
            key = (evaluation.cohort, trial.spec.modality, trial.spec.model)
            found.setdefault(key, set()).add(json.dumps(trial.spec.params, sort_keys=True))
    tests = [(c.name, c.modality) for c in cohorts if c.role == "test"]
    return {
        f"{name} {modality}": max(
            (len(some) for (c, m, _), some in found.items() if (c, m) == (name, modality)),
            default=0,
        )
        for name, modality in tests
    }
