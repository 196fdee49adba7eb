"""What people have marked: scans to use or to leave out, and notes on scans and trials.

A file of its own beside a store, never in it: the dashboard writes it, and a cohorts file may name
it to leave out what is marked so. It is written whole, and changes of several sessions and
processes follow each other, so that none is lost.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from datasets.files import read_regular
from datasets.local_tree import put_file

MOST_BYTES = 16 << 20
"""A review has some hundred bytes, and a study some thousand scans."""

VERSION = 1

Mark = Literal["use", "exclude", "unsure"]
"""What is thought of a scan."""

MARKS: tuple[Mark, ...] = ("use", "exclude", "unsure")

Note = Annotated[str, StringConstraints(max_length=2000)]


class ReviewsError(OSError):
    """A file of reviews that cannot be read or written; the message says why."""


class Review(BaseModel):
    """What somebody thinks of a scan or a trial.

    Attributes:
        mark: What is thought of a scan; None of a trial, or where nobody has said.
        note: Words about it.
        changed: UTC time of the latest change, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    mark: Mark | None = None
    note: Note = ""
    changed: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return self.mark is None and not self.note


class Reviews(BaseModel):
    """The content of a file of reviews.

    Attributes:
        version: Of its layout.
        subjects: By name of the cohort, then by label of the subject, whose scans all are meant.
        trials: By identity of the trial.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Annotated[int, Field(ge=1, le=VERSION)] = VERSION
    subjects: dict[str, dict[str, Review]] = Field(default_factory=dict)
    trials: dict[str, Review] = Field(default_factory=dict)

    def of_subject(self, cohort: str, subject: str) -> Review:
        """The review of a subject; an empty one if there is none."""
        return self.subjects.get(cohort, {}).get(subject, Review())

    def of_trial(self, trial_id: str) -> Review:
        """The review of a trial; an empty one if there is none."""
        return self.trials.get(trial_id, Review())

    def marked(self, cohort: str, mark: Mark) -> tuple[str, ...]:
        """The subjects of a cohort that have a mark, sorted."""
        known = self.subjects.get(cohort, {})
        return tuple(sorted(subject for subject, one in known.items() if one.mark == mark))

    def with_subject(self, cohort: str, subject: str, review: Review) -> Reviews:
        """These with another review of a subject; an empty one is taken out."""
        of_cohort = _changed(self.subjects.get(cohort, {}), subject, review)
        rest = {name: some for name, some in self.subjects.items() if name != cohort}
        subjects = {**rest, cohort: of_cohort} if of_cohort else rest
        return self.model_copy(update={"subjects": subjects})

    def with_trial(self, trial_id: str, review: Review) -> Reviews:
        """These with another review of a trial; an empty one is taken out."""
        return self.model_copy(update={"trials": _changed(self.trials, trial_id, review)})


def _changed(known: dict[str, Review], name: str, review: Review) -> dict[str, Review]:
    rest = {key: one for key, one in known.items() if key != name}
    return rest if review.is_empty else {**rest, name: review}


def read_reviews(path: Path) -> Reviews:
    """The content of a file of reviews; nothing where there is no file yet.

    Raises:
        ReviewsError: If it cannot be read, or is no such file or one of a newer version.
    """
    try:
        return Reviews.model_validate_json(read_regular(path, MOST_BYTES))
    except FileNotFoundError:
        return Reviews()
    except OSError as error:
        raise ReviewsError(f"cannot read the reviews {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        raise ReviewsError(f"{path} is no file of reviews: {field}: {first['msg']}") from error


def change_reviews(path: Path, change: Callable[[Reviews], Reviews]) -> Reviews:
    """Change a file of reviews; whoever changes it meanwhile waits, so that no change is lost.

    Args:
        path: The file; made if there is none.
        change: Gives the content as it shall be from the content as it is.

    Returns:
        The content as it is now.

    Raises:
        ReviewsError: If it cannot be read or written.
    """
    try:
        with _alone(path):
            changed = change(read_reviews(path))
            content = changed.model_dump(mode="json", exclude_none=True)
            text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
            put_file(path, f"{text}\n".encode())
    except ReviewsError:
        raise
    except OSError as error:
        raise ReviewsError(f"cannot write the reviews {path}: {error.strerror}") from error
    return changed


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is replaced when it changes: that of a file beside it."""
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
