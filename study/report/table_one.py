"""Table 1 as lines, columns and cells; every way to print it starts here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records.names import Names
from study.report.choice import mean_of
from study.report.comparisons import Comparison
from study.report.operating import Operating
from study.report.paper import NO_SETTING, PAPER_REGION, paper_auc, paper_setting
from study.report.table import table_columns, table_lines
from trainables.description import ChosenSetting

CHANCE = 0.5

_UNTOLD = Names()

BELOW_CHANCE = "below .5: the score ranks lesions below healthy tissue"
"""What the mark of a ROC-AUC below .5 means."""

OVER_SEEDS = (
    "A figure is the mean over the seeds of one setting; with several seeds the lowest and the "
    "highest stand beside it."
)


@dataclass(frozen=True)
class Cell:
    """One figure of table 1.

    Attributes:
        value: Ours: the mean over the seeds of the best setting; None if no trial has one.
        setting: That setting.
        trial_ids: Its trials, a seed each.
        spread: The lowest and the highest of several seeds.
        n_planned: With how many seeds it is planned; there may be fewer trials so far.
        paper: The paper's figure, or None where it has none.
        paper_setting: The setting behind that.
        best: Whether it is the highest of its column.
        below_chance: Whether it is a ROC-AUC below .5.
        interval: Lower and upper end of its confidence interval of 95 %, if known.
        selected: What the choice of this setting is worth on subjects that did not choose it, by
            bootstrap bias correction, if known.
        split: The same by repeated splits into halves.
        seed_sd: Standard deviation over several seeds.
        n_with_lesion: How many subjects have lesion pixels, if known.
        n_effective: How many subjects with equal lesions would have as much to say.
        df: Degrees of freedom of the interval.
        is_separated: Whether the tests tell it from every other figure of its column; None if they
            were not made.
        over_baseline: By how much it is above the baseline of its column, if known.
        over_other: By how much it is above the highest of the others of its column, if known.
        operating: What it is at thresholds chosen on healthy subjects, if known.
    """

    value: float | None = None
    setting: ChosenSetting = NO_SETTING
    trial_ids: tuple[str, ...] = ()
    spread: tuple[float, float] | None = None
    n_planned: int = 0
    paper: float | None = None
    paper_setting: ChosenSetting = NO_SETTING
    best: bool = False
    below_chance: bool = False
    interval: tuple[float, float] | None = None
    selected: float | None = None
    split: float | None = None
    seed_sd: float | None = None
    n_with_lesion: int | None = None
    n_effective: float | None = None
    df: float | None = None
    is_separated: bool | None = None
    over_baseline: Comparison | None = None
    over_other: Comparison | None = None
    operating: Operating | None = None

    @property
    def optimism(self) -> float | None:
        """By how much the figure is too high because its setting was chosen on the test set."""
        if self.value is None or self.selected is None:
            return None
        return self.value - self.selected

    @property
    def is_bold(self) -> bool:
        """Whether it is the highest of its column, and no test says that others may be as high."""
        return self.best and self.is_separated is not False

    @property
    def trial_id(self) -> str:
        """The first seed's trial, or nothing."""
        return self.trial_ids[0] if self.trial_ids else ""

    @property
    def paper_below_chance(self) -> bool:
        """Whether the paper's figure is below .5."""
        return self.paper is not None and self.paper < CHANCE

    @property
    def seeds(self) -> str:
        """How many seeds it is the mean of; nothing where only one is planned."""
        n, planned = len(self.trial_ids), max(self.n_planned, len(self.trial_ids))
        if planned < 2:
            return ""
        return f"{n} seeds" if n == planned else f"{n} of {planned} seeds"


@dataclass(frozen=True)
class TableOne:
    """Table 1 for one region and metric.

    Attributes:
        lines: (model, score) of each line.
        columns: (cohort, modality) of each column.
        cells: A cell for each line and column.
        region: Which pixels count.
        metric: One of ``study.report.table.METRICS``.
        names: What models, scores and settings are called.
    """

    lines: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    cells: dict[tuple[tuple[str, str], tuple[str, str]], Cell]
    region: str
    metric: str
    names: Names = _UNTOLD

    def has_paper(self, column: tuple[str, str]) -> bool:
        """Whether the paper has a figure in a column."""
        return any(self.cells[line, column].paper is not None for line in self.lines)

    @property
    def has_below_chance(self) -> bool:
        """Whether any figure has the mark of a ROC-AUC below .5."""
        return any(c.below_chance or c.paper_below_chance for c in self.cells.values())

    @property
    def has_seeds(self) -> bool:
        """Whether any setting is planned with several seeds."""
        return any(cell.seeds for cell in self.cells.values())

    @property
    def has_intervals(self) -> bool:
        """Whether any figure has an interval."""
        return any(cell.interval is not None for cell in self.cells.values())

    @property
    def has_selected(self) -> bool:
        """Whether it is known of any figure what its choice is worth."""
        return any(cell.selected is not None for cell in self.cells.values())

    @property
    def has_settings(self) -> bool:
        """Whether any figure has a setting."""
        return any(c.setting.values or c.paper_setting.values for c in self.cells.values())


def table_one(
    rows: Sequence[dict[str, Any]],
    region: str,
    metric: str,
    *,
    planned: Mapping[str, int] | None = None,
    found: Iterable[dict[str, Any]] = (),
    names: Names = _UNTOLD,
) -> TableOne:
    """Lay the best settings out as table 1.

    Args:
        rows: From :func:`study.report.best.top_rows` with the same metric.
        region: Which pixels count.
        metric: One of ``study.report.table.METRICS``.
        planned: With how many seeds a setting is planned, by ``setting_id``.
        found: Cells that have a place in the table though no figure is defined.
        names: What models, scores and settings are called; by default what the installed detectors
            say.
    """
    rows = [row for row in rows if row["region"] == region]
    places = [*rows, *(cell for cell in found if cell["region"] == region)]
    lines, columns = tuple(table_lines(places, names)), tuple(table_columns(places))
    seeds: dict[tuple[tuple[str, str], tuple[str, str]], list[dict[str, Any]]] = {}
    for row in rows:
        place = (row["model"], row["score"]), (row["cohort"], row["modality"])
        seeds.setdefault(place, []).append(row)
    means = {place: mean_of(some, metric) for place, some in seeds.items()}
    highest = {
        column: max((v for (_, c), v in means.items() if c == column), default=None)
        for column in columns
    }
    cells = {}
    for line in lines:
        for column in columns:
            value = means.get((line, column))
            has_paper = metric == "auc" and region == PAPER_REGION
            paper = paper_auc(*line, *column) if has_paper else None
            some = seeds.get((line, column), [])
            figures = [row[metric] for row in some]
            cells[line, column] = Cell(
                value=value,
                setting=names.chosen(line[0], some[0]["settings"]) if some else NO_SETTING,
                trial_ids=tuple(row["trial_id"] for row in some),
                spread=(min(figures), max(figures)) if len(figures) > 1 else None,
                n_planned=(planned or {}).get(some[0]["setting_id"], 0) if some else 0,
                paper=paper,
                paper_setting=NO_SETTING if paper is None else paper_setting(*line, *column),
                best=value is not None and value == highest[column],
                below_chance=metric == "auc" and value is not None and value < CHANCE,
            )
    return TableOne(lines, columns, cells, region, metric, names)
