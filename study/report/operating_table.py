"""Table 1 at thresholds chosen on healthy subjects: cells, text, and what its signs mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.table import Table

from study.report.choice import Row
from study.report.operating import REGION, FalseAlarms, Operating, OperatingPoint, OperatingPoints
from study.report.table_one import TableOne
from study.report.thresholds import FEW, SHARES, USUAL, threshold_name
from study.terminal import counted, one_line
from trainables.spec import HELD_OUT

Place = tuple[tuple[str, str], tuple[str, str]]
"""(model, score) and (cohort, modality) of a cell."""

NAMES = ", ".join(threshold_name(share) for share in SHARES)

CRITERION = (
    "Found: lesions (pixels connected in 3-D) of which at least half is marked. A single pixel "
    "would prove little: where 5 % are marked, chance alone meets every second lesion of 14 pixels."
)
BY_HIGHEST = (
    "Slice and subject AUC: those with a lesion against those without, by the mean of the "
    "highest 1 % of brain pixels. The healthy subjects that chose the thresholds count as subjects "
    "without one, so whatever else tells their cohort from the test set counts as well."
)


def with_operating(table: TableOne, best: Sequence[Row], operating: OperatingPoints) -> TableOne:
    """Table 1 with what its cells are at the thresholds of healthy subjects.

    Args:
        table: The table.
        best: The rows of its best settings.
        operating: What is known of them.
    """
    if table.region != REGION:
        return table
    cells = dict(table.cells)
    for place, seeds in seeds_by_place(best).items():
        if place in cells:
            cells[place] = replace(cells[place], operating=operating.of_cell(seeds))
    return replace(table, cells=cells)


def seeds_by_place(best: Sequence[Row]) -> dict[Place, list[Row]]:
    """The rows of the best settings over brain pixels by their cells, a row a seed."""
    found: dict[Place, list[Row]] = {}
    for row in best:
        if row["region"] == REGION:
            place = (row["model"], row["score"]), (row["cohort"], row["modality"])
            found.setdefault(place, []).append(row)
    return found


def operating_tables(table: TableOne, alarms: Mapping[Place, Sequence[FalseAlarms]]) -> list[Table]:
    """The cells at every threshold for a terminal, a table a test set of at most 100 columns.

    Args:
        table: From :func:`with_operating`.
        alarms: The false alarms of the fits of each cell.
    """
    return [
        _table(table, column, alarms)
        for column in table.columns
        if any(table.cells[line, column].operating is not None for line in table.lines)
    ]


def _table(
    table: TableOne, column: tuple[str, str], alarms: Mapping[Place, Sequence[FalseAlarms]]
) -> Table:
    printed = Table(
        title=f"{' '.join(column)} at the thresholds {NAMES}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    here = {line: alarms.get((line, column), ()) for line in table.lines}
    measured = sorted({a.cohort for some in here.values() for a in some} - {HELD_OUT})
    printed.add_column("")
    heads = ("sensitivity", "Dice", "false ml\na scan", "found %", "slice\nAUC", "subject\nAUC")
    for head in heads:
        printed.add_column(head, justify="right", no_wrap=True)
    for cohort in measured:
        printed.add_column(f"{one_line(cohort)}\nat {USUAL:.0%}", justify="right")
    for line in table.lines:
        found = table.cells[line, column].operating
        if found is None:
            continue
        printed.add_row(
            table.names.short_line(*line),
            _each(found, lambda point: _share(point.sensitivity)),
            _each(found, lambda point: _share(point.dice)),
            _each(found, lambda point: _short(point.false_positive_ml)),
            _each(found, lambda point: _percent(point.lesions_half)),
            _share(found.slice_auc),
            _share(found.subject_detection_auc),
            *(_alarm_text(here[line], cohort) for cohort in measured),
        )
    return printed


def operating_sentences(
    table: TableOne, alarms: Mapping[Place, Sequence[FalseAlarms]]
) -> list[str]:
    """What the figures at thresholds stand for; nothing where there are none."""
    told = []
    for column in table.columns:
        found = [table.cells[line, column].operating for line in table.lines]
        known = next((one for one in found if one is not None), None)
        if known is not None:
            told.append(reference_sentence(known, " ".join(column)))
    if not told:
        return []
    measured = {
        a.cohort: a
        for place, some in alarms.items()
        if place[1] in table.columns
        for a in some
        if a.cohort != HELD_OUT
    }
    told += [
        f"{cohort} at {USUAL:.0%}: the share of its brain pixels that is marked at a threshold "
        f"chosen on {' and '.join(a.reference)} ({counted(a.n_reference, 'subject')}), not on "
        f"itself{uncertain(a.n_reference)}."
        for cohort, a in sorted(measured.items())
    ]
    return [*told, CRITERION, BY_HIGHEST]


def reference_sentence(found: Operating, column: str) -> str:
    """Which subjects chose the thresholds, and whether they are too few."""
    names = (
        "the training subjects held out"
        if found.reference == (HELD_OUT,)
        else (
            f"the healthy {'cohort' if len(found.reference) == 1 else 'cohorts'} "
            f"{' and '.join(found.reference)}"
        )
    )
    words = f"{column}: thresholds {NAMES} were chosen on {names}"
    return f"{words} ({counted(found.n_reference, 'subject')}){uncertain(found.n_reference)}."


def uncertain(n_reference: int) -> str:
    """A warning where so few subjects chose a threshold; else nothing."""
    if n_reference >= FEW:
        return ""
    return f", which is uncertain below {FEW} subjects: their scores may lie far from others'"


def point_of(found: Operating | None, share: float = USUAL) -> OperatingPoint | None:
    """What a cell is at one of the thresholds, if that is known."""
    name = threshold_name(share)
    points = found.points if found is not None else ()
    return next((point for point in points if point.threshold == name), None)


def _each(found: Operating, text: Callable[[OperatingPoint], str]) -> str:
    return " ".join(text(point) for point in found.points)


def _share(value: float | None) -> str:
    """A figure of at most 1 in three places, such as ``.43``."""
    if value is None:
        return "—"
    return "1.0" if value >= 0.995 else f"{value:.2f}".removeprefix("0")


def _short(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.0f}"


def _alarm_text(alarms: Sequence[FalseAlarms], cohort: str) -> str:
    """The share of a healthy cohort that is marked at the usual threshold, the mean over seeds."""
    place = (cohort, threshold_name(USUAL))
    here = [a.marked for a in alarms if (a.cohort, a.threshold) == place]
    known = [value for value in here if value is not None]
    return f"{sum(known) / len(known):.1%}" if known else "—"
