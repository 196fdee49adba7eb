"""A study's results as rows, and as the paper's table 1."""
