"""What is claimed about speed and memory, measured: one file a claim, none of them a test."""
