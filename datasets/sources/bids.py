"""Any BIDS folder: ``sub-*/[ses-*/]anat/*_T1w.nii.gz``, ``*_T2w`` and, if asked for, ``*_FLAIR``.

Lesion masks and brain masks lie beside the image or below ``derivatives``; which mask belongs to
which image is told in ``datasets.sources._bids``. https://bids-specification.readthedocs.io
"""

from __future__ import annotations

from pathlib import Path

from datasets.scan import Listing, Modality
from datasets.sources._bids import bids_scans, why
from datasets.sources._files import close, nothing_found, walk

LAYOUT = "files such as sub-01/anat/sub-01_T1w.nii.gz or sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz"
_OTHER_FOLDERS = frozenset({"sourcedata", "code", "func", "dwi", "fmap", "perf", "eeg", "meg"})


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List the anatomical scans of a BIDS folder, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` does not exist or holds no image of a modality where BIDS puts it.
    """
    tree = walk(root, LAYOUT, leave_out=_OTHER_FOLDERS)
    found, skipped, any_image = bids_scans(tree, modalities)
    if not any_image:
        raise nothing_found(tree, LAYOUT)
    return close(tree, found, skipped, modalities, why)
