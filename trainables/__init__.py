"""What a trial does: fit a detector on healthy slices, score and evaluate it."""
