"""The language of grids: what a file in ``study/grids`` says, and how it is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datasets.plugins import load_plugin, plugin_names
from study import grids


@dataclass(frozen=True)
class GridTrial:
    """A point of a grid: a model and its settings, for every modality and seed.

    Attributes:
        model: File name of the detector.
        params: Its settings; the others keep their defaults.
        epochs: Passes over the training slices; ignored by detectors that do not train by epochs.
    """

    model: str
    params: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1


@dataclass(frozen=True)
class GridSearch:
    """A search over one parameter, led by Optuna, for every modality, seed and test cohort.

    Attributes:
        model: File name of the detector.
        parameter: The searched parameter.
        score: The score whose brain-region AUC on the test cohort is maximised.
        points: The values of a grid search; empty for a continuous one.
        low: Lower end of a continuous search, on a log scale.
        high: Upper end.
        n_trials: Trials of a continuous search, for each test cohort; a grid search makes one a
            point, which serves all test cohorts.
        params: The other settings.
    """

    model: str
    parameter: str
    score: str
    points: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    n_trials: int = 0
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """What a module in ``study/grids`` provides as ``GRID``.

    Attributes:
        trials: Points to run.
        searches: Searches to run.
        phantom_subjects: Size of the built-in cohorts when no data is configured, by name.
    """

    trials: tuple[GridTrial, ...]
    searches: tuple[GridSearch, ...]
    phantom_subjects: dict[str, int]


def grid_names() -> tuple[str, ...]:
    """Names of all grids, sorted."""
    return plugin_names(grids)


def load_grid(name: str) -> Grid:
    """The grid of that file name.

    Raises:
        ValueError: If there is no such grid; the message lists those there are.
    """
    grid: Grid = load_plugin(grids, name, "grid").GRID
    return grid
