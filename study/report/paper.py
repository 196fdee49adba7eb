"""Table 1 of Sato et al.: the paper's figures, and the settings that it chose for them."""

from __future__ import annotations

from trainables.description import ChosenSetting, Setting

PAPER_AUC: dict[tuple[str, str], tuple[float, float, float]] = {
    ("intensity", "intensity"): (0.612, 0.811, 0.549),
    ("gmm", "outlier_posterior"): (0.635, 0.798, 0.550),
    ("ae", "squared_error"): (0.588, 0.566, 0.545),
    ("dae", "squared_error"): (0.583, 0.607, 0.532),
    ("vae", "squared_error"): (0.611, 0.733, 0.554),
    ("vae", "nll"): (0.626, 0.737, 0.561),
    ("vae", "log_variance"): (0.404, 0.520, 0.436),
    ("vae", "normalized_error"): (0.672, 0.788, 0.582),
}
"""The ROC-AUCs, by model and score, in the order of ``PAPER_COLUMNS``."""

PAPER_COLUMNS: tuple[tuple[str, str], ...] = (("atlas", "T1w"), ("brats", "T2w"), ("brats", "T1w"))

PAPER_REGION = "brain"
"""The pixels that the paper's figures are taken to be over."""


PAPER_SYMBOLS = {"n_c": "N_c", "n_z": "N_z", "gmm_lambda": "λ"}
"""The hyper-parameters that the paper's table tells, by their columns in a CSV file."""

NO_SETTING = ChosenSetting()


def paper_networks(n_c: int, n_z: int) -> ChosenSetting:
    """A cell of the paper's grid of networks."""
    return ChosenSetting(((Setting("n_c", "N_c"), n_c), (Setting("n_z", "N_z"), n_z)))


def paper_mixture(gmm_lambda: float, n_z: int | None = None) -> ChosenSetting:
    """A setting of the mixture; its ``N_z`` is its number of Gaussians, as the table has it."""
    density = (Setting("gmm_lambda", "λ", scale="log"), gmm_lambda)
    gaussians = ((Setting("n_gaussians", "N_z", is_aside=True), n_z),) if n_z else ()
    return ChosenSetting((density, *gaussians))


_net = paper_networks
_MIXTURE = paper_mixture(0.001, 4)

PAPER_SETTINGS: dict[tuple[str, str], tuple[ChosenSetting, ChosenSetting, ChosenSetting]] = {
    ("gmm", "outlier_posterior"): (_MIXTURE, _MIXTURE, _MIXTURE),
    ("ae", "squared_error"): (_net(16, 8), _net(16, 256), _net(16, 16)),
    ("dae", "squared_error"): (_net(16, 8), _net(16, 256), _net(16, 16)),
    ("vae", "squared_error"): (_net(32, 8), _net(16, 256), _net(32, 16)),
    ("vae", "nll"): (_net(32, 8), _net(16, 256), _net(32, 16)),
    ("vae", "log_variance"): (_net(32, 8), _net(16, 128), _net(16, 16)),
    ("vae", "normalized_error"): (_net(32, 8), _net(16, 256), _net(32, 16)),
}
"""The cells of its grid that it chose, in the order of ``PAPER_COLUMNS``; the baseline has none."""


def paper_auc(model: str, score: str, cohort: str, modality: str) -> float | None:
    """The paper's figure for a cell of table 1, or None where it has none."""
    values = PAPER_AUC.get((model, score))
    column = (cohort, modality)
    return values[PAPER_COLUMNS.index(column)] if values and column in PAPER_COLUMNS else None


def paper_setting(model: str, score: str, cohort: str, modality: str) -> ChosenSetting:
    """The setting behind the paper's figure; an empty one where it has none."""
    settings = PAPER_SETTINGS.get((model, score))
    column = (cohort, modality)
    known = settings and column in PAPER_COLUMNS
    return settings[PAPER_COLUMNS.index(column)] if settings and known else NO_SETTING


def is_usual(model: str, score: str) -> bool:
    """Whether a line of table 1 is shown where there is room for few.

    Those are the paper's own, and all of the models that the paper does not have.
    """
    return (model, score) in PAPER_AUC or model not in {known for known, _ in PAPER_AUC}
