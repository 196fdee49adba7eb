"""Table 1 with what the subjects say of its figures, and the answer to the paper's claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import CELL, Row, with_settings
from study.report.comparisons import ALPHA, CLAIM, Comparison, by_holm
from study.report.evidence import Evidence
from study.report.table_one import Cell, TableOne

MAX_SETTINGS = 256
"""Of more settings in a cell it is not worked out what the choice of the best is worth."""

CLAIM_MODEL = "vae"
CLAIM_SCORES = {
    "U": "log_variance",
    "SE": "squared_error",
    "L": "nll",
    "E": "normalized_error",
}
"""The scores of the paper's claim, by their symbols."""

BASELINE = ("intensity", "intensity")
"""The line that every other has to be above."""

Place = tuple[tuple[str, str], tuple[str, str]]


def with_evidence(
    table: TableOne, best: Sequence[Row], results: pa.Table, evidence: Evidence
) -> TableOne:
    """The table with intervals, honest figures and tests.

    Args:
        table: Table 1 of a region, by AUC.
        best: The rows of its settings, see :func:`study.report.best.top_rows`.
        results: The index's finished evaluation rows of the current plan.
        evidence: The study's.
    """
    seeds = _by_place([row for row in best if row["region"] == table.region])
    settings = _settings(results, table.region)
    told = dict(table.cells)
    for place, cell in table.cells.items():
        if place in seeds:
            told[place] = _told(cell, seeds[place], settings.get(place, []), evidence)
    for column in table.columns:
        here = [place for place in seeds if place[1] == column and place in told]
        highest = next((place for place in here if told[place].best), None)
        others = [seeds[place] for place in here if place != highest]
        if highest is not None and others:
            is_separated = evidence.is_separated(seeds[highest], others)
            if is_separated is None and any(cell.interval for cell in told.values()):
                is_separated = False  # in a table with tests, what they cannot tell is not told
            told[highest] = replace(told[highest], is_separated=is_separated)
        told |= _differences({place: seeds[place] for place in here}, told, evidence)
    return replace(table, cells=told)


def _differences(
    seeds: Mapping[Place, Sequence[Row]], cells: Mapping[Place, Cell], evidence: Evidence
) -> dict[Place, Cell]:
    """The cells of a column with their differences to the baseline and to the highest other.

    All of them are one family of tests, with Holm's correction.
    """
    ranked = sorted(seeds, key=lambda place: -(cells[place].value or 0.0))
    against: dict[tuple[Place, str], Comparison] = {}
    for place in ranked:
        other = next((one for one in ranked if one != place), None)
        baseline = next((one for one in ranked if one[0] == BASELINE and one != place), None)
        for name, lower in (("over_baseline", baseline), ("over_other", other)):
            if lower is None:
                continue
            pair = [(":".join(one[0]), seeds[one]) for one in (lower, place)]
            found = evidence.difference(pair[0], pair[1])
            if found is not None:
                against[place, name] = found
    tested = dict(zip(against, by_holm([*against.values()]), strict=True))
    return {
        place: replace(
            cells[place],
            over_baseline=tested.get((place, "over_baseline")),
            over_other=tested.get((place, "over_other")),
        )
        for place in ranked
    }


def _told(
    cell: Cell, seeds: Sequence[Row], settings: Sequence[Sequence[Row]], evidence: Evidence
) -> Cell:
    found = evidence.of_cell(seeds)
    choice = None
    if 1 < len(settings) <= MAX_SETTINGS:
        choice = evidence.of_choice(settings)
    figures = [row["auc"] for row in seeds]
    interval = None
    if found.auc_low is not None and found.auc_high is not None:
        interval = (found.auc_low, found.auc_high)
    return replace(
        cell,
        interval=interval,
        selected=None if choice is None else choice.selected,
        split=None if choice is None else choice.split,
        seed_sd=float(np.std(figures, ddof=1)) if len(figures) > 1 else None,
        n_with_lesion=found.n_with_lesion,
        n_effective=found.n_effective,
        df=found.df,
    )


def _by_place(rows: Sequence[Row]) -> dict[Place, list[Row]]:
    found: dict[Place, list[Row]] = {}
    for row in rows:
        place = (row["model"], row["score"]), (row["cohort"], row["modality"])
        found.setdefault(place, []).append(row)
    return found


def _settings(results: pa.Table, region: str) -> dict[Place, list[list[Row]]]:
    """The rows of every setting of a cell, the seeds of a setting together."""
    names = [*CELL, "trial_id", "eval_id"]
    here = results.filter(pc.and_(pc.equal(results["region"], region), pc.is_valid(results["auc"])))
    if not here.num_rows:
        return {}
    rows: list[dict[str, Any]] = with_settings(here).select([*names, "setting_id"]).to_pylist()
    rows.sort(key=lambda row: (row["setting_id"], row["trial_id"]))
    found: dict[Place, dict[str, list[Row]]] = {}
    for row in rows:
        place = (row["model"], row["score"]), (row["cohort"], row["modality"])
        found.setdefault(place, {}).setdefault(row["setting_id"], []).append(row)
    return {place: [*some.values()] for place, some in found.items()}


def claims(table: TableOne, best: Sequence[Row], evidence: Evidence) -> list[str]:
    """What becomes of the paper's claim on each test set, a sentence each."""
    seeds = _by_place([row for row in best if row["region"] == table.region])
    told = []
    for column in table.columns:
        rows = {
            symbol: seeds[place]
            for symbol, score in CLAIM_SCORES.items()
            if (place := ((CLAIM_MODEL, score), column)) in seeds
        }
        tested = evidence.claim(rows)
        if any(one is not None for one in tested):
            told.append(f"{' '.join(column)}: {_sentence(tested)}")
    return told


def _sentence(tested: Sequence[Comparison | None]) -> str:
    parts = []
    for one in tested:
        if one is None:
            break
        sign = "<" if one.difference > 0 else ">"
        difference = f"{abs(one.difference):.3f}, p {one.p:.2g}"
        if one.is_separated:
            parts.append(f"{one.lower} < {one.higher} holds ({difference})")
            continue
        words = "is not borne out" if one.difference > 0 else "is not so"
        parts.append(
            f"{one.lower} < {one.higher} {words} ({one.lower} {sign} {one.higher} by {difference})"
        )
        break
    holds = len(parts) == len(CLAIM) - 1 and all(one and one.is_separated for one in tested)
    whole = " < ".join(CLAIM)
    end = f": {whole} holds" if holds else f": {whole} does not hold as a whole"
    return "; ".join(parts) + f"{end} at the level of {ALPHA:.0%}."
