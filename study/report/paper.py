"""Table 1 of Sato et al.: the paper's figures, and the settings that it chose for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Setting:
    """The hyper-parameters that table 1 tells apart.

    Attributes:
        n_c: N_c, channels of the first layer.
        n_z: N_z, size of the latent vector; of the mixture its Gaussians, as the paper's table
            counts them.
        gmm_lambda: The mixture's lambda.
    """

    n_c: int | None = None
    n_z: int | None = None
    gmm_lambda: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Setting:
        """That of a result row."""
        n_z = row["n_z"] if row["n_z"] is not None else row.get("n_gaussians")
        return cls(row["n_c"], n_z, row["gmm_lambda"])

    @property
    def text(self) -> str:
        """As the table prints it: ``(N_c, N_z)``, ``λ 0.001, N_z 4``, or nothing."""
        if self.n_c is not None and self.n_z is not None:
            return f"({self.n_c}, {self.n_z})"
        if self.gmm_lambda is None:
            return ""
        return f"λ {self.gmm_lambda:g}" + ("" if self.n_z is None else f", N_z {self.n_z}")


NO_SETTING = Setting()

_MIXTURE = Setting(n_z=4, gmm_lambda=0.001)

PAPER_SETTINGS: dict[tuple[str, str], tuple[Setting, Setting, Setting]] = {
    ("gmm", "outlier_posterior"): (_MIXTURE, _MIXTURE, _MIXTURE),
    ("ae", "squared_error"): (Setting(16, 8), Setting(16, 256), Setting(16, 16)),
    ("dae", "squared_error"): (Setting(16, 8), Setting(16, 256), Setting(16, 16)),
    ("vae", "squared_error"): (Setting(32, 8), Setting(16, 256), Setting(32, 16)),
    ("vae", "nll"): (Setting(32, 8), Setting(16, 256), Setting(32, 16)),
    ("vae", "log_variance"): (Setting(32, 8), Setting(16, 128), Setting(16, 16)),
    ("vae", "normalized_error"): (Setting(32, 8), Setting(16, 256), Setting(32, 16)),
}
"""The cells of its grid that it chose, in the order of ``PAPER_COLUMNS``; the baseline has none."""


def paper_auc(model: str, score: str, cohort: str, modality: str) -> float | None:
    """The paper's figure for a cell of table 1, or None where it has none."""
    values = PAPER_AUC.get((model, score))
    column = (cohort, modality)
    return values[PAPER_COLUMNS.index(column)] if values and column in PAPER_COLUMNS else None


def paper_setting(model: str, score: str, cohort: str, modality: str) -> Setting:
    """The setting behind the paper's figure; an empty one where it has none."""
    settings = PAPER_SETTINGS.get((model, score))
    column = (cohort, modality)
    known = settings and column in PAPER_COLUMNS
    return settings[PAPER_COLUMNS.index(column)] if settings and known else NO_SETTING
