"""From scans on disk to a content-addressed cache of preprocessed slices."""
