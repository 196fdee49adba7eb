"""The modified GMM beyond the paper's four lambdas: a search by TPE from 1e-6 to 1, log scale.

24 trials a modality. Its objective is a test cohort, as choosing the best cell in the paper is:
optimistic, and said so in the report.
"""

from study.plan import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(GridTrial("intensity"),),
    searches=(
        GridSearch("gmm", "gmm_lambda", "outlier_posterior", low=1e-6, high=1.0, n_trials=24),
    ),
    phantom_subjects={"ixi": 20, "atlas": 8, "brats": 8},
)
