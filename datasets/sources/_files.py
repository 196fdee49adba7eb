"""What sources share: finding files by their names, making scans of them, closing a listing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datasets.errors import SourceError
from datasets.scan import Listing, Modality, Scan, Skipped
from datasets.sources._walk import Entry, Tree, nifti_stem, walk

__all__ = ["Entry", "Tree", "close", "make_scan", "nifti_stem", "nothing_found", "walk"]


def nothing_found(tree: Tree, layout: str) -> SourceError:
    """The error for a folder in which nothing is named as the layout says."""
    more = f" ({tree.skipped[0].path}: {tree.skipped[0].reason})" if tree.skipped else ""
    return SourceError(f"{tree.root} holds no scan of this layout: expected {layout}{more}")


def make_scan(
    image: Entry,
    *,
    subject: str,
    session: str,
    modality: Modality,
    lesions: Iterable[Entry] = (),
    brain_mask: Path | None = None,
    stripped: bool | None = None,
) -> Scan | Skipped:
    """A scan, or why there is none.

    A scan whose lesion mask is there but cannot be read is left out: without that mask its lesion
    would count as healthy tissue.
    """
    lesions = tuple(lesions)
    if image.problem is not None:
        return Skipped(image.path, image.problem)
    for lesion in lesions:
        if lesion.problem is not None:
            reason = f"its lesion mask {lesion.path.name} is unusable: {lesion.problem}"
            return Skipped(image.path, reason)
    masks = tuple(sorted(lesion.path for lesion in lesions))
    return Scan(subject, session, modality, image.path, masks, brain_mask, stripped)


def close(
    found: Iterable[Scan | Skipped],
    skipped: Iterable[Skipped],
    modalities: tuple[Modality, ...],
) -> Listing:
    """Sort, and keep one scan for each subject, session and modality: the first by path.

    Args:
        found: What ``make_scan`` returned.
        skipped: What else was left out.
        modalities: Other modalities are dropped without a word: nobody asked for them.
    """
    left_out = list(skipped)
    scans: dict[str, Scan] = {}
    candidates = [item for item in found if isinstance(item, Scan)]
    left_out.extend(item for item in found if isinstance(item, Skipped))
    for scan in sorted(candidates, key=lambda s: s.image):
        if scan.modality not in modalities:
            continue
        first = scans.setdefault(scan.scan_id, scan)
        if first is not scan:
            reason = f"a second {scan.modality} image of the same subject and session as "
            left_out.append(Skipped(scan.image, reason + str(first.image)))
    ordered = sorted(scans.values(), key=lambda s: (s.subject, s.session, s.modality))
    return Listing(tuple(ordered), tuple(sorted(set(left_out))))
