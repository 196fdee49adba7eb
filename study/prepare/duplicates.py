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
        volume: Which volume of the image, if it holds several.
    """

    cohort: str
    role: Role
    modality: str
    image: str
    image_sha256: str
    masks: tuple[str, ...]
    volume: int | None = None


@dataclass(frozen=True)
class Repeat:
    """A scan of which there is another one before it.

    Attributes:
        sentence: Says so.
        is_left_out: Whether the other one is used for both.
    """

    sentence: str
    is_left_out: bool


def repeated(
    contents: Sequence[Content], is_image: Callable[[str], bool] = lambda path: True
) -> dict[int, Repeat]:
    """Scans that are the same as one before them, by their indices.

    The same image with other lesion masks is used in both places if it is of the role ``test``. Of
    the others one with a lesion mask stays, if there is any, which then sets it aside.
    A file that cannot be read is like no other.

    Args:
        contents: Of all scans of all cohorts, in listing order.
        is_image: Whether a file can be read as an image. Downloads that failed in one way hold the
            same, and are no scan.

    Raises:
        SourceError: If an image is in cohorts of different roles: what is measured on data that
            were trained on says nothing, nor do false alarms on lesions.
    """
    seen: dict[tuple[str, int | None], list[Content]] = {}
    found = {}
    # Those with masks come first: without its mask a lesion would train as healthy tissue.
    order = sorted(
        range(len(contents)),
        key=lambda index: contents[index].role != "test" and not contents[index].masks,
    )
    for index, content in ((index, contents[index]) for index in order):
        if content.image_sha256.startswith("unreadable"):
            continue
        before = seen.setdefault((content.image_sha256, content.volume), [])
        if before and not is_image(content.image):
            continue
        for other in before:
            if other.role != content.role:
                raise SourceError(
                    f"{other.image} of cohort {other.cohort!r} ({other.role}) and {content.image} "
                    f"of cohort {content.cohort!r} ({content.role}) are the same image; a scan has "
                    "one role: it may train, test or be healthy and measured"
                )
        alike = [other for other in before if other.modality == content.modality]
        same = [o for o in alike if content.role != "test" or o.masks == content.masks]
        if same:
            words = f"the same scan as {_place(same[0])}, which is taken for both"
            found[index] = Repeat(words, is_left_out=True)
        elif before:
            other, words = before[0], "the same image as"
            more = "with other lesion masks" if alike else f"which is listed as {other.modality}"
            found[index] = Repeat(f"{words} {_place(other)}, {more}", is_left_out=False)
        before.append(content)
    return found


def _place(content: Content) -> str:
    return f"{content.image} of cohort {content.cohort!r}"
