"""What became of every file below a cohort's folders."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datasets.manifest import FileCounts, ScanRecord, as_text
from datasets.scan import Skipped
from study.prepare.listing import CohortListing

NAMED_PER_REASON = 200
"""So many files of one reason are named in a manifest, the others counted."""


def count_files(
    listings: Sequence[CohortListing], records: Sequence[Sequence[ScanRecord]]
) -> FileCounts | None:
    """How many files of a cohort are used, set aside and left out; ``None`` if nobody has counted.

    Args:
        listings: Of one cohort, in all its modalities.
        records: Of the scans of each of these.
    """
    n_files = listings[0].n_files
    if n_files is None:
        return None
    by_status: dict[str, set[str]] = defaultdict(set)
    for listing, some in zip(listings, records, strict=True):
        for task, record in zip(listing.tasks, some, strict=True):
            by_status[record.status].update(str(path) for path in task.scan.files)
    return FileCounts(
        below=n_files,
        used=len(by_status["ok"]),
        set_aside=len(by_status["quarantined"] - by_status["ok"]),
        left_out=sum(item.n_files for item in listings[0].skipped),
    )


def named(
    skipped: Iterable[Skipped], root: Path
) -> tuple[tuple[tuple[str, str], ...], dict[str, int]]:
    """What a manifest says of left out files: paths with reasons, and how many files a path means.

    Of each reason the first files are named; the last of them stands for the others too. Paths
    below the cohort's folder are told from there on, so that a store says the same wherever the
    scans lie.

    Args:
        skipped: What was left out.
        root: The cohort's folder.
    """
    by_reason: dict[str, list[Skipped]] = defaultdict(list)
    for item in skipped:
        by_reason[item.reason].append(item)
    pairs: list[tuple[str, str]] = []
    stand_for: dict[str, int] = {}
    for reason, items in by_reason.items():
        for item in items[:NAMED_PER_REASON]:
            is_below = item.path.is_relative_to(root)
            path = as_text(str(item.path.relative_to(root) if is_below else item.path))
            pairs.append((path, as_text(reason)))
            if item.n_files != 1:
                stand_for[path] = item.n_files
        more = sum(item.n_files for item in items[NAMED_PER_REASON:])
        if more:
            last = pairs[-1][0]
            stand_for[last] = stand_for.get(last, 1) + more
    return tuple(sorted(pairs)), stand_for


def by_reason(skipped: Iterable[Skipped]) -> Mapping[str, int]:
    """How many files were left out for each reason, the most first; folders count as none."""
    counts: Counter[str] = Counter()
    for item in skipped:
        counts[item.reason] += item.n_files
    return dict(counts.most_common())
