"""Two studies on the same subjects: their tables' best settings side by side, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from study.records.names import Names
from study.report.choice import CELL, Row, mean_of, seeds_by_place
from study.report.comparisons import Comparison, by_holm, compare
from study.report.evidence import Evidence


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
    found: list[tuple[Sequence[Row], Sequence[Row], Comparison | None]] = []
    for seeds in seeds_by_place(here):
        match = theirs.get(_place(seeds))
        if match is None:
            continue
        counts = evidence.counts_of(seeds), others.counts_of(match)
        comparison = None
        if counts[0] is not None and counts[1] is not None and counts[0][0] == counts[1][0]:
            both = {"other": counts[1][1], "here": counts[0][1]}
            comparison = compare("other", "here", both)
        found.append((seeds, match, comparison))
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
