"""Which subjects of a data set a cohort takes, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from datasets.errors import SourceError
from datasets.manifest import SubjectInfo
from datasets.participants import FILE, Participants, condition, read_participants
from datasets.scan import Listing, Scan, not_used
from study.prepare.cohorts import Cohort

_GROUPS_SHOWN = 6


@dataclass(frozen=True)
class Selection:
    """The scans of a cohort's subjects.

    Attributes:
        listing: The scans, and what was left out.
        subjects: What is known of each subject with a scan, sorted.
        notes: What a person should know of the choice, a sentence each.
    """

    listing: Listing
    subjects: tuple[SubjectInfo, ...]
    notes: tuple[str, ...]


def select(cohort: Cohort, listing: Listing) -> Selection:
    """Keep the scans of those subjects that a cohort asks for.

    Raises:
        SourceError: If it names a subject that there is no scan of, if a condition needs a table
            that is missing or a column that is not in it, or if no subject is left.
    """
    table, unread = _table(cohort)
    there = frozenset(scan.subject for scan in listing.scans)
    reasons = _reasons(cohort, table, there)
    kept = [scan for scan in listing.scans if scan.subject not in reasons]
    if there and not kept:
        subject, reason = min(reasons.items())
        raise SourceError(
            f"cohort {cohort.name!r}: none of {len(there)} subjects is left: {subject}: {reason}"
        )
    used = frozenset(path for scan in kept for path in scan.files)
    skipped = {item.path: item for item in listing.skipped}
    for scan in listing.scans:
        for candidate in (scan, *scan.alternatives):
            if scan.subject in reasons:
                for item in not_used(candidate, reasons[scan.subject], used):
                    skipped[item.path] = item
    return Selection(
        replace(listing, scans=tuple(kept), skipped=tuple(sorted(skipped.values()))),
        _known(kept, table),
        (*unread, *_mixed(cohort, table, frozenset(scan.subject for scan in kept))),
    )


def _table(cohort: Cohort) -> tuple[Participants | None, tuple[str, ...]]:
    """The table of participants, and why it cannot be read where nobody needs it.

    Raises:
        SourceError: If it cannot be read, and a condition is about it.
    """
    if cohort.synthetic:
        return None, ()
    try:
        return read_participants(cohort.root), ()
    except SourceError as error:
        if cohort.participants:
            raise SourceError(f"cohort {cohort.name!r}: {error}") from error
        return None, (str(error),)


def _reasons(cohort: Cohort, table: Participants | None, there: frozenset[str]) -> dict[str, str]:
    """Why subjects are left out, by subject."""
    reasons: dict[str, str] = {}
    if cohort.subjects is not None:
        wanted = _named(cohort, "subjects", cohort.subjects, there)
        reasons |= dict.fromkeys(there - wanted, "its subject is not among the cohort's 'subjects'")
    if cohort.exclude:
        excluded = _named(cohort, "exclude", cohort.exclude, there)
        reasons |= dict.fromkeys(excluded, "its subject is among the cohort's 'exclude'")
    if cohort.reviews is not None:  # a subject may be gone since it was reviewed
        text = f"its subject is marked to be left out in {cohort.reviews.name}"
        marked = {subject.removeprefix("sub-") for subject in cohort.reviewed}
        reasons |= {s: text for s in there if s in cohort.reviewed or s in marked}
    if cohort.participants:
        fulfils = _condition(cohort, cohort.participants, table)
        text = f"its subject does not fulfil the cohort's condition {cohort.participants}"
        reasons |= {s: text for s in there if not fulfils(s)}
    return reasons


def _named(
    cohort: Cohort, entry: str, names: tuple[str, ...], there: frozenset[str]
) -> frozenset[str]:
    subjects = {name: name if name in there else name.removeprefix("sub-") for name in names}
    unknown = [name for name, subject in subjects.items() if subject not in there]
    if unknown:
        some = ", ".join(sorted(there)[:_GROUPS_SHOWN])
        raise SourceError(
            f"cohort {cohort.name!r}: {entry} names {unknown[0]!r}, and {cohort.root} has no scan "
            f"of such a subject that could be used; it has {some}"
            f"{' and others' if len(there) > _GROUPS_SHOWN else ''}"
        )
    return frozenset(subjects.values())


def _condition(cohort: Cohort, text: str, table: Participants | None) -> Callable[[str], bool]:
    fulfils, columns = condition(text)
    if table is None:
        raise SourceError(
            f"cohort {cohort.name!r}: the condition {text} needs {cohort.root / FILE}, and there "
            "is none"
        )
    unknown = sorted(columns - set(table.columns))
    if unknown:
        raise SourceError(
            f"cohort {cohort.name!r}: {table.path} has no column {unknown[0]!r}; it has "
            f"{', '.join(table.columns)}"
        )
    return lambda subject: subject in table.rows and fulfils(table.rows[subject])


def _known(scans: list[Scan], table: Participants | None) -> tuple[SubjectInfo, ...]:
    sites = {scan.subject: scan.site for scan in scans}
    return tuple(
        SubjectInfo(
            subject=subject,
            site=(table.site(subject) if table else "") or site,
            age=table.age(subject) if table else None,
        )
        for subject, site in sorted(sites.items())
    )


def _mixed(cohort: Cohort, table: Participants | None, used: frozenset[str]) -> tuple[str, ...]:
    """Says that a cohort taken for healthy may hold patients, where nobody has chosen."""
    by_name = cohort.subjects is not None or cohort.exclude or cohort.reviews is not None
    has_chosen = by_name or cohort.participants
    if cohort.role == "test" or table is None or has_chosen:
        return ()
    does = "train" if cohort.role == "train" else "count"
    notes = []
    for column, counts in table.groups(used).items():
        if len(counts) > 1:
            shown = [f"{name} ({count})" for name, count in [*counts.items()][:_GROUPS_SHOWN]]
            notes.append(
                f"all subjects {does} as healthy, and {FILE} has in its column {column!r}: "
                f"{', '.join(shown)}; participants = '{column} == \"...\"' in the cohorts file "
                "chooses among them"
            )
    return tuple(notes)
