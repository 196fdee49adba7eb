"""IXI: healthy adults, ``IXI-T1/IXI002-Guys-0828-T1.nii.gz`` and ``IXI-T2/...``.

The subject is ``IXI002``, the number that IXI's own table of ages uses. Files of other kinds (PD,
MRA, DTI) are passed over; IXI has no FLAIR, but its phantom may.
https://brain-development.org/ixi-dataset/
"""

from __future__ import annotations

import re
from pathlib import Path

from datasets.scan import MODALITIES, Listing, Modality
from datasets.sources._files import close, make_scan, nothing_found, walk

LAYOUT = "files such as IXI-T1/IXI002-Guys-0828-T1.nii.gz"
_MODALITY: dict[str, Modality] = {m.removesuffix("w"): m for m in MODALITIES}
_KINDS = "|".join(_MODALITY)
_NAME = re.compile(rf"(?P<subject>IXI\d+)-(?P<site>\w+)-(?P<scan>\w+)-(?P<kind>{_KINDS})")


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List IXI's scans at any depth below ``root``, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` does not exist or no file has a name of IXI's.
    """
    tree = walk(root, LAYOUT)
    named = [(entry, _NAME.fullmatch(entry.stem)) for entry in tree.entries]
    found = [
        make_scan(
            entry,
            subject=name["subject"],
            session="",
            modality=_MODALITY[name["kind"]],
            site=name["site"],
        )
        for entry, name in named
        if name is not None
    ]
    if not found:
        raise nothing_found(tree, LAYOUT)
    return close(tree, found, [], modalities)
