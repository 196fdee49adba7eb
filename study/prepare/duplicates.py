"""The same image more than once: refused across roles, used once within a role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datasets.errors import SourceError
from datasets.scan import Role


@dataclass(frozen=True)
class Content:
    """What the files of a listed scan hold.

    Attributes:
        cohort: Name of its cohort.
        role: Of the cohort.
        modality: Of the scan.
        image: Path of the image, for messages.
        image_sha256: Checksum of the image.
        masks: Checksums of its lesion masks, sorted.
    """

    cohort: str
    role: Role
    modality: str
    image: str
    image_sha256: str
    masks: tuple[str, ...]


def repeated(contents: Sequence[Content], say: Callable[[str], None]) -> frozenset[int]:
    """Indices of the scans that are left out because one before them is the same.

    The same image with other lesion masks is used in both places if it is of the role ``test``.
    A file that cannot be read is like no other.

    Args:
        contents: Of all scans of all cohorts, in listing order.
        say: Told in a sentence of each scan that is there more than once.

    Raises:
        SourceError: If an image is in cohorts of different roles, which would train on test data.
    """
    seen: dict[str, list[Content]] = {}
    left_out = []
    for index, content in enumerate(contents):
        if content.image_sha256.startswith("unreadable"):
            continue
        before = seen.setdefault(content.image_sha256, [])
        for other in before:
            if other.role != content.role:
                raise SourceError(
                    f"{other.image} of cohort {other.cohort!r} ({other.role}) and {content.image} "
                    f"of cohort {content.cohort!r} ({content.role}) are the same image; a scan may "
                    "train or test, not both"
                )
        alike = [other for other in before if other.modality == content.modality]
        same = [o for o in alike if content.role == "train" or o.masks == content.masks]
        if same:
            left_out.append(index)
            say(f"{_pair(same[0], content)} are the same scan; the first is used")
        elif alike:
            say(f"{_pair(alike[0], content)} are the same image with other lesion masks")
        before.append(content)
    return frozenset(left_out)


def _pair(first: Content, second: Content) -> str:
    return (
        f"note: {first.image} of cohort {first.cohort!r} and {second.image} of cohort "
        f"{second.cohort!r}"
    )
