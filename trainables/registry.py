"""How a detector is found by its name: in ``trainables/models``, or at an installed entry point."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from datasets.plugins import load_plugin, plugin_names
from trainables import models
from trainables.description import LAST_PLACE, DetectorInfo, Score, Setting
from trainables.detector import Declared, Detector


def model_names() -> tuple[str, ...]:
    """Names of all detectors, sorted."""
    return plugin_names(models)


def is_installed(name: str) -> bool:
    """Whether there is a model of that name; it is not loaded."""
    return name in model_names()


@cache
def detector_class(name: str) -> type[Detector]:
    """The detector of a model file.

    Raises:
        ValueError: If there is no such model, or if its file has no class ``Model`` that says of
            itself what a detector does.
    """
    module = load_plugin(models, name, "model")
    found = getattr(module, "Model", None)
    if not (isinstance(found, type) and issubclass(found, Declared)):
        raise ValueError(
            f"the model {name!r} has no class Model that derives from FitsAtOnce, NetworkDetector, "
            f"AnyNetworkDetector or Declared: {module.__file__}"
        )
    for scores in (found.SCORES, found.MORE_SCORES):
        if not all(isinstance(score, Score) for score in scores):
            raise ValueError(f"SCORES of the model {name!r} has to be of Score(...): {scores}")
    return cast("type[Detector]", found)


@cache
def describe(name: str) -> DetectorInfo:
    """What a detector says of itself.

    A label and a place are those of the class itself: a model that derives from another one and
    says none has its file name, and comes last.

    Raises:
        ValueError: If there is no such model.
    """
    detector = detector_class(name)
    own = vars(detector)
    label = own.get("LABEL") or name
    return DetectorInfo(
        label=label,
        short_label=own.get("SHORT_LABEL") or label,
        place=own.get("PLACE", LAST_PLACE),
        scores=(*detector.SCORES, *detector.MORE_SCORES),
        settings=tuple(_with_default(detector, setting) for setting in detector.SETTINGS),
        defaults=_defaults(detector.Params),
        version=detector.VERSION,
    )


def _defaults(params: type[BaseModel]) -> dict[str, Any]:
    """The settings that have a default, with it, as JSON has them."""
    fields = params.model_fields
    values = {n: f.default for n, f in fields.items() if f.default is not PydanticUndefined}
    dumped: dict[str, Any] = params.model_construct(**values).model_dump(mode="json")
    return {name: dumped[name] for name in values}


def _with_default(detector: type[Detector], setting: Setting) -> Setting:
    field = detector.Params.model_fields.get(setting.name)
    if field is None:
        raise ValueError(f"{setting.name!r} is no field of {detector.Params.__name__}")
    return setting if field.is_required() else replace(setting, default=field.default)
