"""Plan, run, keep and report hyperparameter studies."""
