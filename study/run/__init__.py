"""The command that runs a study: from scans to table 1, and on from where it was."""
