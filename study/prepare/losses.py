"""What preparation loses of lesions, as shares of a cohort's lesion volume."""

from __future__ import annotations

from collections.abc import Iterable

from datasets.manifest import CohortManifest


def lesion_outside_brain_share(manifest: CohortManifest) -> float | None:
    """Share of a cohort's lesion volume that lies outside the brain masks, or None."""
    return _mean(
        (r.lesion_volume_ml, r.lesion_outside_brain_share)
        for r in manifest.records
        if r.lesion_volume_ml and r.lesion_outside_brain_share is not None
    )


def lesion_in_dropped_slices_share(manifest: CohortManifest) -> float | None:
    """Share of a cohort's lesion volume in slices that were left out, or None."""
    return _mean(
        (r.lesion_volume_ml, r.lesion_in_dropped_slices_share)
        for r in manifest.records
        if r.lesion_volume_ml and r.lesion_in_dropped_slices_share is not None
    )


def lesion_lost_by_resizing_share(manifest: CohortManifest) -> float | None:
    """Share of a cohort's lesion volume in its slices that resizing took, or None.

    Below 0 if the lesions grew.
    """
    return _mean(
        (
            r.lesion_volume_ml * (1 - (r.lesion_in_dropped_slices_share or 0.0)),
            r.lesion_lost_by_resizing_share,
        )
        for r in manifest.records
        if r.lesion_volume_ml and r.lesion_lost_by_resizing_share is not None
    )


def _mean(weighted: Iterable[tuple[float, float]]) -> float | None:
    """Mean of values after their weights, or None without any."""
    pairs = list(weighted)
    total = sum(weight for weight, _ in pairs)
    return sum(weight * value for weight, value in pairs) / total if total else None
