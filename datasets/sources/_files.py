"""What sources share: finding files by their names, making scans of them, closing a listing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from datasets.errors import NothingFoundError
from datasets.scan import FURTHER, Listing, Modality, Scan, Skipped, not_used
from datasets.sources._names import image_stem
from datasets.sources._ranks import ranked
from datasets.sources._walk import Entry, Tree, walk

__all__ = ["Entry", "Tree", "close", "image_stem", "make_scan", "nothing_found", "walk"]


HEADER_OF_NOTHING = "the header of an image that is not used or not there"


def nothing_found(tree: Tree, layout: str) -> NothingFoundError:
    """The error for a folder in which nothing is named as the layout says."""
    images = [entry.path for entry in tree.entries if entry.problem is None]
    others = [skipped for skipped in tree.skipped if skipped.n_files]
    if images:
        more = f" and {len(images) - 1} more images" if len(images) > 1 else ""
        found = f"; it holds {images[0].relative_to(tree.root)}{more}"
    elif tree.skipped:
        first = next(iter(others or tree.skipped))
        found = f" ({first.path}: {first.reason})"
    else:
        found = "; it is empty"
    return NothingFoundError(f"{tree.root} holds no scan of this layout: expected {layout}{found}")


def make_scan(
    image: Entry,
    *,
    subject: str,
    session: str,
    modality: Modality,
    lesions: Iterable[Entry] = (),
    brain_mask: Path | None = None,
    stripped: bool | None = None,
    labels: Iterable[tuple[Path, tuple[int, ...]]] = (),
    site: str = "",
    volume: int | None = None,
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
    return Scan(
        subject,
        session,
        modality,
        image.path,
        masks,
        brain_mask,
        stripped,
        lesion_labels=tuple(sorted(pair for pair in labels if pair[0] in masks)),
        site=site,
        volume=volume,
    )


def _by_name(entry: Entry) -> str:
    return "by its name no image or mask of this layout"


def close(
    tree: Tree,
    found: Iterable[Scan | Skipped],
    skipped: Iterable[Skipped],
    modalities: tuple[Modality, ...],
    why: Callable[[Entry], str] = _by_name,
) -> Listing:
    """Sort, keep one scan for each subject, session and modality, and account for every file.

    Args:
        tree: All that is below the folder.
        found: What ``make_scan`` returned.
        skipped: What else was left out, one by one.
        modalities: Those that are wanted.
        why: Why an image or mask is left out that is in none of these.
    """
    candidates: dict[str, list[Scan]] = defaultdict(list)
    left_out = [*skipped]
    unwanted = []
    for item in found:
        if isinstance(item, Skipped):
            left_out.append(item)
        elif item.modality in modalities:
            candidates[item.scan_id].append(item)
        else:
            unwanted.append(item)
    scans = []
    for group in candidates.values():
        first, *others = ranked(group)
        scans.append(replace(first, alternatives=tuple(others)))
    used = frozenset(path for scan in scans for path in scan.files)
    for scan in scans:
        for other in scan.alternatives:
            left_out += not_used(other, FURTHER, used)
    for scan in unwanted:
        left_out += not_used(scan, f"{scan.modality}, which the cohort does not ask for", used)
    named = {item.path: item for item in reversed(left_out) if item.path not in used}
    rest = [
        Skipped(entry.path, entry.problem or why(entry))
        for entry in tree.entries
        if entry.path not in used and entry.path not in named
    ]
    rest += [
        Skipped(path, HEADER_OF_NOTHING)
        for path in tree.headers
        if path not in used and path not in named
    ]
    scans.sort(key=lambda s: (s.subject, s.session, s.modality))
    all_skipped = sorted({*tree.skipped, *named.values(), *rest})
    return Listing(tuple(scans), tuple(all_skipped), tree.n_files)
