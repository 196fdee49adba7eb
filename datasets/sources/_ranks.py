"""Which of several images of a subject, session and modality is the one to use.

In this order: one whose header can be read before one whose header cannot; one that has a lesion
mask; no localiser by its name; one that covers the head, and with voxels that are not much larger
than another's; the plainest name; the first name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from datasets.errors import ScanError
from datasets.nifti_header import check_header
from datasets.scan import Scan

_COVERED = 0.5
"""An image with less than this share of the field of view of another one is part of a head."""

_COARSE = 2.5
"""An image whose voxels have more than this many times the volume of another's is a worse one."""

_LOCALISER = re.compile(r"locali[sz]er|scout|survey|-loc(?![a-z])|aahead", re.I)


def ranked(scans: Sequence[Scan]) -> list[Scan]:
    """Scans of one subject, session and modality, the best first.

    Reads headers, and those only where there is a choice.
    """
    if len(scans) < 2:
        return list(scans)
    sizes = {scan.image: _size(scan) for scan in scans}
    fields = [field for field, _ in filter(None, sizes.values())]
    whole = _COVERED * max(fields, default=0.0)
    voxels = [voxel for field, voxel in filter(None, sizes.values()) if field >= whole]
    coarse = _COARSE * min(voxels, default=0.0)

    def rank(scan: Scan) -> tuple[object, ...]:
        size = sizes[scan.image]
        name = scan.image.name
        return (
            size is None,
            not scan.lesion_masks,
            _LOCALISER.search(name) is not None,
            size is not None and size[0] < whole,
            size is not None and size[1] > coarse,
            name.count("-"),
            scan.image,
        )

    return sorted(scans, key=rank)


def _size(scan: Scan) -> tuple[float, float] | None:
    """The volumes of an image's field of view and of a voxel in mm³; ``None`` if unreadable."""
    try:
        facts = check_header(scan.image, scan.volume)
    except (ScanError, OSError):
        return None
    voxel = float(np.prod(facts.spacing_mm))
    return voxel * float(np.prod(facts.shape)), voxel
