"""The command that runs a study as a job on a Ray cluster."""
