"""Two studies on the same subjects: their tables' best settings side by side, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from study.records.names import Names
from study.records.types import StudyRecord
from study.report.choice import CELL, Row, mean_of, seeds_by_place
from study.report.comparisons import Comparison, by_holm, compare
from study.report.evidence import Evidence
from study.terminal import counted


@dataclass(frozen=True)
class Difference:
    """A cell of table 1 in two studies.

    Attributes:
        model: Of the row.
        score: Of the row.
        cohort: The test set.
        modality: Of the test set.
        here: The AUC of this study's best setting.
        other: That of the other study's.
        comparison: The difference; None where the studies have other subjects there, or it cannot
            be told.
    """

    model: str
    score: str
    cohort: str
    modality: str
    here: float
    other: float
    comparison: Comparison | None


def differences(
    here: Sequence[Row], evidence: Evidence, other: Sequence[Row], others: Evidence
) -> list[Difference]:
    """The cells that two studies share, over brain pixels, with Holm's correction over all of them.

    Args:
        here: The rows of this study's best settings, a row a seed.
        evidence: This study's.
        other: Those of the other study.
        others: The other study's evidence.
    """
    theirs = {_place(seeds): seeds for seeds in seeds_by_place(other)}
    pairs = [
        (seeds, theirs[_place(seeds)]) for seeds in seeds_by_place(here) if _place(seeds) in theirs
    ]
    tests: dict[int, Comparison | None] = {}
    # Scores of one evaluation after each other, since few evaluations stay in memory.
    for number in sorted(range(len(pairs)), key=lambda number: _evaluations(pairs[number][0])):
        seeds, match = pairs[number]
        counts = evidence.counts_of(seeds), others.counts_of(match)
        tests[number] = None
        if counts[0] is not None and counts[1] is not None and counts[0][0] == counts[1][0]:
            both = {"other": counts[1][1], "here": counts[0][1]}
            tests[number] = compare("other", "here", both)
    found = [(*pair, tests[number]) for number, pair in enumerate(pairs)]
    tested = iter(by_holm([one for _, _, one in found if one is not None]))
    return [
        Difference(
            model=seeds[0]["model"],
            score=seeds[0]["score"],
            cohort=seeds[0]["cohort"],
            modality=seeds[0]["modality"],
            here=mean_of(seeds, "auc"),
            other=mean_of(match, "auc"),
            comparison=None if one is None else next(tested),
        )
        for seeds, match, one in found
    ]


def _evaluations(seeds: Sequence[Row]) -> list[tuple[str, str]]:
    return [(row["trial_id"], row["eval_id"]) for row in seeds]


def _place(seeds: Sequence[Row]) -> tuple[Any, ...]:
    return tuple(seeds[0][name] for name in CELL)


def differences_table(found: Sequence[Difference], names: Names, other: str) -> Table:
    """Differences for a terminal."""
    table = Table(title=f"ROC-AUC over brain pixels, beside study {other}", title_justify="left")
    for name in ("model", "score", "test set"):
        table.add_column(name)
    for name in ("here", other, "difference", "95 %", "p"):
        table.add_column(name, justify="right")
    for one in found:
        tested = one.comparison
        texts: list[str | Text] = ["—", "—", "—"]
        if tested is not None:
            style = "bold" if tested.is_separated else ""
            ends = f"{tested.low:+.3f} to {tested.high:+.3f}"
            texts = [Text(f"{tested.difference:+.3f}", style), ends, f"{tested.p:.2g}"]
        table.add_row(
            names.model(one.model),
            names.score(one.model, one.score),
            f"{one.cohort} {one.modality}",
            f"{one.here:.3f}",
            f"{one.other:.3f}",
            *texts,
        )
    return table


def shared_cohorts(here: StudyRecord, other: StudyRecord) -> dict[tuple[str, str], bool]:
    """The test sets that two studies have in common, by cohort and modality.

    Returns:
        Of each, whether the prepared scans are the same; else a test set of that name was prepared
        otherwise, or has other scans.
    """
    theirs = {(c.name, c.modality): c.key for c in other.cohorts if c.role == "test"}
    return {
        (c.name, c.modality): theirs[c.name, c.modality] == c.key
        for c in here.cohorts
        if c.role == "test" and (c.name, c.modality) in theirs
    }


def made_differently(records: Sequence[StudyRecord]) -> list[tuple[str, tuple[str, ...]]]:
    """In what some studies were made differently: grid, code, packages, data.

    Returns:
        What it is and how each study has it, in the order of ``records``; a dash where one does
        not tell it.
    """
    facts = [_facts(record) for record in records]
    names = dict.fromkeys(name for some in facts for name in some)
    told = [(name, tuple(some.get(name, "—") for some in facts)) for name in names]
    return [(name, values) for name, values in told if len(set(values)) > 1]


def _facts(record: StudyRecord) -> dict[str, str]:
    made = record.provenance
    models = {trial.spec.model for trial in record.trials}
    models |= {search.spec.model for search in record.searches}
    facts = {
        "grid": record.grid,
        "trials": f"{len(record.trials):,}",
        "models": ", ".join(sorted(models)),
        "seeds": ", ".join(str(s) for s in sorted({t.spec.seed for t in record.trials})),
        "epochs": ", ".join(str(e) for e in sorted({t.spec.epochs for t in record.trials})),
        "arithmetic": record.precision or "—",
        "revision": made.git_revision or "—",
        "device": f"{made.device} {made.cpu}".strip() or "—",
        "Python": made.python or "—",
        **{f"package {name}": version for name, version in sorted(made.packages.items())},
    }
    for cohort in record.cohorts:
        n = counted(cohort.n_subjects, "subject")
        name = f"{cohort.role} {cohort.name} {cohort.modality}"
        facts[name] = f"{n}, data key {cohort.key[:8]}"
    return facts
