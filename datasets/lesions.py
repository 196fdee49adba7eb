"""Lesion masks that cannot be right: their volume and place held against the brain's.

A mask that is turned inside out, or lies beside the brain, gives figures that look like any other.
"""

from __future__ import annotations

from datasets.manifest import ScanRecord

MAX_BRAIN_SHARE = 0.7
"""Lesion over brain volume above which a mask is no lesion's. The largest strokes have 500 ml; with
a small brain of 1000 ml, of whose mask the lesion takes 40 % away with it, that is .63. A brain
mask or its complement has 1 or more."""

ODD_BRAIN_SHARE = 0.45
"""From here a mask is only odd: 500 ml in a brain of 1100 ml."""

MAX_OUTSIDE_SHARE = 0.9
"""Share of a lesion outside the brain mask above which the two don't belong together. Brain
extraction leaves out up to 40 % of large dark strokes."""

ODD_OUTSIDE_SHARE = 0.5
"""From here a mask is only odd."""

MIN_JUDGED_ML = 1.0
"""A smaller lesion may lie wholly outside a brain mask that is a little tight, as at the brain
stem: that is odd, and no fault of the lesion mask."""


def lesion_fault(lesion_ml: float, brain_ml: float, outside_share: float) -> str:
    """Why a lesion mask cannot be right, in words; empty if it can.

    Args:
        lesion_ml: Volume of the lesion mask.
        brain_ml: Volume of the brain mask, above 0.
        outside_share: Share of the lesion outside the brain mask, 0 to 1.
    """
    if lesion_ml > MAX_BRAIN_SHARE * brain_ml:
        return (
            f"the lesion mask marks {lesion_ml:.0f} ml and the brain has {brain_ml:.0f} ml; "
            f"no lesion has more than {MAX_BRAIN_SHARE:.0%} of it: it may be inverted, or a mask "
            "of the brain"
        )
    if outside_share > MAX_OUTSIDE_SHARE and lesion_ml >= MIN_JUDGED_ML:
        return (
            f"{outside_share:.0%} of the lesion mask's {lesion_ml:.1f} ml lie outside the brain; "
            f"at most {MAX_OUTSIDE_SHARE:.0%} may: it may be of another scan or on another grid"
        )
    return ""


def lesion_note(record: ScanRecord) -> str:
    """What is odd about the lesion mask of a scan that was prepared, in words; empty if nothing.

    It is told from the record's own figures, so also of scans that were prepared before masks were
    judged.
    """
    lesion_ml, brain_ml = record.lesion_volume_ml, record.brain_volume_ml
    if not lesion_ml or not brain_ml:
        return ""
    outside_share = record.lesion_outside_brain_share or 0.0
    if fault := lesion_fault(lesion_ml, brain_ml, outside_share):
        return fault
    if lesion_ml > ODD_BRAIN_SHARE * brain_ml:
        return (
            f"the lesion mask marks {lesion_ml:.0f} ml, {lesion_ml / brain_ml:.0%} of the brain's "
            "volume"
        )
    if outside_share > ODD_OUTSIDE_SHARE:
        return f"{outside_share:.0%} of the lesion mask lie outside the brain"
    return ""


def record_notes(record: ScanRecord) -> tuple[str, ...]:
    """The notes of a scan, with what is odd about its lesion mask first."""
    note = lesion_note(record)
    return (note, *record.notes) if note else record.notes
