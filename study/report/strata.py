"""Table 1 by groups of subjects: by the volume of their lesions, by site, by age.

A stratum's figure is over the pixels of its subjects alone, lesions and others. Strata are small,
so their intervals are wide; that they overlap says little, and what differs between two of them is
not tested here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from datasets.manifest import CohortManifest, read_manifest
from datasets.storage import Storage, StorageError
from study.records.names import Names
from study.records.types import StudyRecord
from study.report.choice import Row, seeds_by_place
from study.report.evidence import Evidence
from study.terminal import counted, one_line

NOT_TOLD = "not told"
_LESION_ML = ((0.0, "none"), (1.0, "under 1 ml"), (10.0, "1 to 10 ml"))
_LARGEST = "over 10 ml"
_TERCILES = ("lowest third", "middle third", "highest third")


@dataclass(frozen=True)
class Stratum:
    """A figure over some of a test set's subjects.

    Attributes:
        model: Of the row of table 1.
        score: Of the row.
        cohort: The test set.
        modality: Of the test set.
        kind: What the subjects are grouped by.
        name: What the subjects have in common.
        n_subjects: How many there are.
        n_with_lesion: How many of them have lesion pixels.
        auc: Over their brain pixels; None where it is undefined.
        low: Lower end of its interval of 95 %; None where it cannot be told.
        high: Upper end.
    """

    model: str
    score: str
    cohort: str
    modality: str
    kind: str
    name: str
    n_subjects: int
    n_with_lesion: int
    auc: float | None
    low: float | None
    high: float | None


def strata(
    kinds: Sequence[str],
    best: Sequence[Row],
    record: StudyRecord,
    store: Storage,
    evidence: Evidence,
) -> list[Stratum]:
    """The figures of table 1's settings by strata, over brain pixels.

    Args:
        kinds: What to group by, see :data:`KINDS`.
        best: The rows of the best settings, a row a seed.
        record: The study.
        store: Where its shards lie.
        evidence: The study's.
    """
    manifests = {
        (cohort.name, cohort.modality): _manifest(store, cohort.key)
        for cohort in record.cohorts
        if cohort.role == "test"
    }
    found: list[Stratum] = []
    for seeds in seeds_by_place(best):
        manifest = manifests.get((seeds[0]["cohort"], seeds[0]["modality"]))
        if manifest is None:
            continue
        for kind in kinds:
            found += _of_setting(kind, seeds, manifest, evidence)
    return found


def _manifest(store: Storage, key: str) -> CohortManifest | None:
    try:
        return read_manifest(store, key)
    except StorageError:
        return None


def _of_setting(
    kind: str, seeds: Sequence[Row], manifest: CohortManifest, evidence: Evidence
) -> list[Stratum]:
    found = []
    row = seeds[0]
    for name, subjects in KINDS[kind](manifest).items():
        part = evidence.of_subjects(seeds, {f"{manifest.cohort}/{s}" for s in subjects})
        if part is not None and part.n_subjects:
            found.append(
                Stratum(
                    model=row["model"],
                    score=row["score"],
                    cohort=row["cohort"],
                    modality=row["modality"],
                    kind=kind,
                    name=name,
                    n_subjects=part.n_subjects,
                    n_with_lesion=part.n_with_lesion,
                    auc=part.auc,
                    low=part.low,
                    high=part.high,
                )
            )
    return found


def _lesion_ml(manifest: CohortManifest) -> dict[str, float]:
    volumes: dict[str, float] = {}
    for record in manifest.records:
        if record.status == "ok":
            before = volumes.get(record.subject, 0.0)
            volumes[record.subject] = before + (record.lesion_volume_ml or 0.0)
    return volumes


def _by_volume(manifest: CohortManifest) -> dict[str, list[str]]:
    names = [name for _, name in _LESION_ML] + [_LARGEST]
    groups: dict[str, list[str]] = {name: [] for name in names}
    for subject, volume in _lesion_ml(manifest).items():
        fitting = (name for most, name in _LESION_ML if volume <= most)
        groups[next(fitting, _LARGEST)].append(subject)
    return groups


def _by_volume_third(manifest: CohortManifest) -> dict[str, list[str]]:
    return _thirds({s: ml for s, ml in _lesion_ml(manifest).items() if ml > 0}, "ml")


def _by_site(manifest: CohortManifest) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for info in manifest.subjects:
        groups.setdefault(info.site or NOT_TOLD, []).append(info.subject)
    return dict(sorted(groups.items(), key=lambda item: (item[0] == NOT_TOLD, item[0])))


def _by_age(manifest: CohortManifest) -> dict[str, list[str]]:
    known = {info.subject: info.age for info in manifest.subjects if info.age is not None}
    groups = _thirds(known, "years")
    unknown = [info.subject for info in manifest.subjects if info.age is None]
    return {**groups, NOT_TOLD: unknown} if unknown else groups


def _thirds(values: Mapping[str, float], unit: str) -> dict[str, list[str]]:
    """Three groups of about equal size by a value, with the values where they meet."""
    if len(values) < len(_TERCILES):
        return {}
    edges = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    groups: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for subject, value in values.items():
        groups[int(np.searchsorted(edges, value))].append(subject)
    limits = (f"to {edges[0]:.3g}", f"to {edges[1]:.3g}", f"over {edges[1]:.3g}")
    return {
        f"{_TERCILES[number]} ({limits[number]} {unit})": subjects
        for number, subjects in groups.items()
    }


KINDS: dict[str, Callable[[CohortManifest], dict[str, list[str]]]] = {
    "lesion_ml": _by_volume,
    "lesion_third": _by_volume_third,
    "site": _by_site,
    "age": _by_age,
}
"""What subjects can be grouped by: fixed lesion volumes, thirds of them, site, thirds of age."""


def strata_tables(found: Sequence[Stratum], names: Names) -> list[Table]:
    """Strata for a terminal: a table a test set and kind, a line a row of table 1."""
    tables = []
    places = dict.fromkeys((s.cohort, s.modality, s.kind) for s in found)
    for cohort, modality, kind in places:
        here = [s for s in found if (s.cohort, s.modality, s.kind) == (cohort, modality, kind)]
        columns = list(dict.fromkeys(s.name for s in here))
        table = Table(
            title=f"ROC-AUC over brain pixels, {cohort} {modality} by {kind}", title_justify="left"
        )
        table.add_column("model")
        table.add_column("score")
        sizes = {s.name: counted(s.n_subjects, "subject") for s in here}
        for name in columns:
            table.add_column(f"{one_line(name)}\n{sizes[name]}", justify="right")
        lines = dict.fromkeys((s.model, s.score) for s in here)
        for line in lines:
            cells = {s.name: s for s in here if (s.model, s.score) == line}
            texts = [_cell_text(cells.get(name)) for name in columns]
            table.add_row(names.model(line[0]), names.score(*line), *texts)
        tables.append(table)
    return tables


def _cell_text(stratum: Stratum | None) -> str:
    if stratum is None or stratum.auc is None:
        return "—"
    if stratum.low is None or stratum.high is None:
        return f"{stratum.auc:.3f}"
    return f"{stratum.auc:.3f} ({stratum.low:.3f}–{stratum.high:.3f})"
