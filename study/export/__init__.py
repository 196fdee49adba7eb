"""A study's trials where people keep their figures: trackers, tables, an Optuna storage."""
