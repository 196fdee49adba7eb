"""What the report says of the paper, beside its own figures."""

from __future__ import annotations

from study.records.names import Names
from study.report.paper import (
    PAPER_AUC,
    PAPER_SETTINGS,
    paper_auc,
)


def test_the_papers_figures_stand_in_their_cells_alone() -> None:
    assert len(PAPER_AUC) == 8
    assert paper_auc("vae", "normalized_error", "atlas", "T1w") == 0.672
    assert paper_auc("vae", "normalized_error", "brats", "T2w") == 0.788
    assert paper_auc("vae", "log_variance", "brats", "T1w") == 0.436
    assert paper_auc("gmm", "outlier_sum", "atlas", "T1w") is None
    assert paper_auc("vae", "nll", "own", "T1w") is None
    assert paper_auc("vae", "nll", "atlas", "T2w") is None


def test_the_papers_settings_are_those_of_its_table() -> None:
    assert set(PAPER_SETTINGS) == set(PAPER_AUC) - {("intensity", "intensity")}
    texts = {line: [s.table_text for s in settings] for line, settings in PAPER_SETTINGS.items()}
    assert texts["gmm", "outlier_posterior"] == ["λ 0.001, N_z 4"] * 3
    assert texts["vae", "normalized_error"] == ["(32, 8)", "(16, 256)", "(32, 16)"]
    assert texts["vae", "log_variance"] == ["(32, 8)", "(16, 128)", "(16, 16)"]
    assert texts["ae", "squared_error"] == ["(16, 8)", "(16, 256)", "(16, 16)"]


def test_within_the_paper_u_is_below_se_below_l_below_e() -> None:
    order = ("log_variance", "squared_error", "nll", "normalized_error")
    for column in range(3):
        figures = [PAPER_AUC["vae", score][column] for score in order]
        assert figures == sorted(figures)


def test_a_setting_is_said_as_the_paper_says_it() -> None:
    names = Names()
    assert names.chosen("intensity", {}).text == ""
    assert names.chosen("vae", {"n_c": 16, "n_z": 256, "batch_size": 8}).text == "(16, 256)"
    mixture = names.chosen("gmm", {"gmm_lambda": 0.001, "n_gaussians": 4})
    assert (mixture.text, mixture.table_text) == ("λ 0.001", "λ 0.001, N_z 4")


def test_a_setting_of_a_model_that_is_not_installed_is_told_by_its_names() -> None:
    gone = Names().chosen("gone", {"blur": 2.0, "mode": "edge", "betas": [0.9, 0.99]})
    assert gone.text == "blur 2, mode edge"
    assert Names().line("gone", "edges") == "gone · edges"
