"""What people read for the models, scores and settings of a study.

A study's record keeps what its detectors said of themselves when it was run last. Records that are
older tell nothing: then an installed detector is asked, which loads it; of one that is not
installed the raw names are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trainables.description import LAST_PLACE, ChosenSetting, DetectorInfo, Score
from trainables.registry import describe
from trainables.spec import TrialSpec


@dataclass(frozen=True)
class Names:
    """The descriptions of a study's detectors.

    Attributes:
        detectors: What the study's record tells, by model.
    """

    detectors: Mapping[str, DetectorInfo] = field(default_factory=dict)

    def detector(self, model: str) -> DetectorInfo:
        """The description of a model, whether or not anything is known of it."""
        known = self.detectors.get(model)
        return known if known is not None else installed(model)

    def defaults(self, model: str, version: int) -> dict[str, Any] | None:
        """The defaults of a model's settings in a version of it; None where they are not known."""
        info = self.detector(model)
        if info.version is None:  # told by a version of this software that did not tell it
            info = installed(model)
        return info.defaults if info.version == version else None

    def model(self, model: str) -> str:
        """What people read for a model."""
        return self.detector(model).label

    def score(self, model: str, score: str) -> str:
        """What people read for a score of a model."""
        return self.score_of(model, score).label or score

    def score_of(self, model: str, score: str) -> Score:
        """The description of a score."""
        known = (s for s in self.detector(model).scores if s.name == score)
        return next(known, Score(score))

    def line(self, model: str, score: str) -> str:
        """What people read for a line of table 1."""
        label = self.model(model)
        return label if model == score else f"{label} · {self.score(model, score)}"

    def short_line(self, model: str, score: str) -> str:
        """The same for legends, with the paper's symbols: ``VAE E``."""
        name, known = self.detector(model).short_label, self.score_of(model, score)
        if known.symbol:
            return f"{name} {known.symbol}"
        return name if model == score else f"{name} {self.score(model, score)}"

    def place(self, model: str, score: str = "") -> tuple[int, str, int, str]:
        """What lines of a table are sorted by: the detectors' places, then their scores'."""
        info = self.detector(model)
        names = [s.name for s in info.scores]
        place = names.index(score) if score in names else len(names)
        return (info.place, model, place, score)

    def chosen(self, model: str, params: Mapping[str, Any]) -> ChosenSetting:
        """The setting that people compare, of a specification's ``params``."""
        return self.detector(model).chosen(params)

    def chosen_of(self, spec: str) -> ChosenSetting:
        """The same of a specification as the index has it."""
        content = json.loads(spec)
        return self.chosen(content["model"], content["params"])


def describe_all(models: Iterable[str]) -> dict[str, DetectorInfo]:
    """What the installed detectors of some models say of themselves.

    Raises:
        ValueError: If one is not installed.
    """
    return {model: describe(model) for model in sorted(set(models))}


def spec_label(spec: TrialSpec) -> str:
    """A short name of a trial for people: ``vae T1w (8, 64)``."""
    text = f"{spec.model} {spec.modality} {Names().chosen(spec.model, spec.params).text}".strip()
    return f"{text} seed {spec.seed}" if spec.seed else text


@lru_cache(maxsize=256)
def installed(model: str) -> DetectorInfo:
    """What a model says of itself, or nothing but its name if it is not installed."""
    try:
        return describe(model)
    except (ValueError, ImportError):
        return DetectorInfo(model, model, LAST_PLACE, settings=None)
