"""The generator of the synthetic cohorts: anatomy, contrasts, lesions, files."""
