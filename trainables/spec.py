"""The specification of a trial and the identities derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from datasets.identity import digest
from datasets.scan import Modality
from trainables.detector import Detector, Params, score_names
from trainables.postprocess import Postprocessing
from trainables.registry import describe, detector_class

EVAL_VERSION = 2
"""Raised whenever the same weights and test data would evaluate to other numbers than before, or to
more of them."""

HELD_OUT = "held out"
"""What stands for a cohort's name where a fit is evaluated on the healthy subjects that are held
out of its training. No cohort can have the name: one has no space."""


class TrialSpec(BaseModel):
    """Everything that can change a trained model, besides the data.

    Attributes:
        model: File name of the detector in ``trainables/models``.
        modality: Contrast it is trained on and tested on.
        params: The detector's own settings; complete in every plan and record (see
            :meth:`completed`), so that a default changed later does not change what an old record
            means.
        seed: Seed of initialisation, shuffling, noise and sampling.
        epochs: Passes over the training slices; no part of the fit's identity, since raising it
            continues the same training. Always 1 for detectors that do not train by epochs.
        validation_fraction: Share of the healthy subjects held out for the validation loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    modality: Modality
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    epochs: int = Field(default=1, ge=1, lt=1 << 63)
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)

    def completed(self) -> TrialSpec:
        """This specification with every default of its detector filled in, and checked.

        Reading a record needs no detector, so construction alone checks nothing of ``params``.

        Raises:
            ValueError: If the model is unknown or its settings are wrong.
        """
        detector = detector_class(self.model)
        params = detector.Params.model_validate(self.params).model_dump(mode="json")
        epochs = self.epochs if detector.TRAINS_BY_EPOCHS else 1
        return self.model_copy(update={"params": params, "epochs": epochs})

    def typed_params(self) -> Params:
        """The detector's settings as its own type."""
        return detector_class(self.model).Params.model_validate(self.params)

    def detector(self, device: str = "cpu") -> Detector:
        """A fresh, untrained detector of this specification."""
        return detector_class(self.model)(self.typed_params(), seed=self.seed, device=device)


def identity(spec: TrialSpec, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What of a specification is hashed: all but its epochs and settings at their defaults.

    A setting that a detector is given later does not change the identity of what was fitted before,
    as long as its default means what was done then. A default that is changed needs a
    detector's ``VERSION`` to be raised.

    Args:
        spec: The trial.
        defaults: Of a complete specification: the defaults of its detector, as its description
            tells them; then the detector itself is not needed.
    """
    params = spec.params
    if defaults is None:
        defaults = describe(spec.model).defaults or {}
        params = spec.typed_params().model_dump(mode="json")
    content = spec.model_dump(mode="json", exclude={"epochs"})
    content["params"] = {
        name: value
        for name, value in spec.params.items()
        if name not in defaults or params[name] != defaults[name]
    }
    return content


def trial_id(spec: TrialSpec, train_keys: Sequence[str]) -> str:
    """Identity of a fit: the specification without its epochs, the data, the detector's version.

    Args:
        spec: The trial.
        train_keys: Keys of the train cohorts' shards of that modality, in cohort name order.
    """
    return fit_identity(identity(spec), train_keys, detector_class(spec.model).VERSION)


def fit_identity(content: Mapping[str, Any], train_keys: Sequence[str], version: int) -> str:
    """Identity of a fit, from what of its specification is hashed.

    Args:
        content: From :func:`identity`.
        train_keys: As for :func:`trial_id`.
        version: The detector's ``VERSION``.
    """
    return digest({"spec": content, "train_keys": list(train_keys), "recipe_version": version})


def held_out_key(train_keys: Sequence[str], fraction: float) -> str:
    """What stands for the key of a cohort's shards, of the subjects that are held out of training.

    Args:
        train_keys: As for :func:`trial_id`.
        fraction: The share of the subjects that is held out.
    """
    return digest({"held_out": list(train_keys), "fraction": fraction})


def eval_id(
    spec: TrialSpec,
    fit_id: str,
    test_key: str,
    asked: Sequence[str] = (),
    version: int = EVAL_VERSION,
) -> str:
    """Identity of an evaluation: the fit, its epochs, cohort, scores, evaluation version.

    The names of the scores are told where they are others than the detector's ``FIRST_SCORES``, so
    that what was evaluated before they were told keeps its identity. Their order does not matter.

    Args:
        spec: The trial.
        fit_id: Identity of its fit.
        test_key: Key of the cohort's shards, or :func:`held_out_key`.
        asked: Scores that are asked for besides those that are always computed.
        version: Of evaluation.

    Raises:
        ValueError: If the detector does not have one of them.
    """
    detector = detector_class(spec.model)
    names = sorted(score_names(detector, asked))
    told = () if names == sorted(detector.FIRST_SCORES) else names
    return evaluation_identity(fit_id, spec.epochs, test_key, version, told)


def evaluation_identity(
    fit_id: str, epochs: int, test_key: str, version: int, scores: Sequence[str]
) -> str:
    """Identity of an evaluation.

    Args:
        fit_id: Identity of its fit.
        epochs: Of the fit.
        test_key: Key of the test cohort's shards.
        version: Of evaluation.
        scores: Names of the scores, sorted; none where they are the detector's first ones.
    """
    content = {"fit": fit_id, "epochs": epochs, "test_key": test_key, "eval_version": version}
    return digest(content | ({"scores": list(scores)} if scores else {}))


def postprocessed_identity(evaluation: str, postprocessing: Postprocessing) -> str:
    """Identity of an evaluation of post-processed score maps.

    Args:
        evaluation: Identity of the same evaluation of the maps as they are.
        postprocessing: What is done to them.
    """
    told = postprocessing.model_dump(mode="json")
    return digest({"evaluation": evaluation, "postprocessing": told})
