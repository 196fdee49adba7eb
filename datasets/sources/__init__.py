"""One module per data set layout; the file name is the name used in ``cohorts.toml``."""
