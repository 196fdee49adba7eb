"""The tables that an evaluation is stored as; reading them needs no torch."""

from __future__ import annotations

import pyarrow as pa

REGIONS = ("brain", "slice")

_KEY = [("score", pa.string()), ("region", pa.string())]

METRICS_SCHEMA = pa.schema(
    [
        *_KEY,
        ("n_subjects", pa.int64()),
        ("n_slices", pa.int64()),
        ("n_pixels", pa.int64()),
        ("n_positive", pa.int64()),
        ("auc", pa.float64()),
        ("auc_bound", pa.float64()),
        ("average_precision", pa.float64()),
        ("chance_average_precision", pa.float64()),
        ("best_dice", pa.float64()),
        ("best_dice_threshold", pa.float64()),
        ("mean_subject_auc", pa.float64()),
        ("lesion_outside_brain_share", pa.float64()),
    ]
)

ROC_SCHEMA = pa.schema(
    [
        *_KEY,
        ("threshold", pa.float64()),
        ("true_positives", pa.int64()),
        ("false_positives", pa.int64()),
    ]
)

SUBJECTS_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        *_KEY,
        ("n_scans", pa.int64()),
        ("voxel_ml", pa.float64()),
        ("n_pixels", pa.int64()),
        ("n_positive", pa.int64()),
        ("auc", pa.float64()),
        ("average_precision", pa.float64()),
        ("top_mean", pa.float64()),
        ("thresholds", pa.list_(pa.float32())),
        ("positives", pa.list_(pa.int64())),
        ("negatives", pa.list_(pa.int64())),
    ]
)

SLICES_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("slice_index", pa.int64()),
        ("score", pa.string()),
        ("n_pixels", pa.int64()),
        ("n_positive", pa.int64()),
        ("top_mean", pa.float64()),
    ]
)

LESIONS_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("lesion", pa.int64()),
        ("score", pa.string()),
        ("n_pixels", pa.int64()),
        ("volume_ml", pa.float64()),
        ("highest", pa.float64()),
        ("tenth", pa.float64()),
        ("half", pa.float64()),
    ]
)
