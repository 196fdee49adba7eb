"""The folder of maps: BIDS derivatives, one scan's files beside another's.

Names say what a file is (``sub-01_space-orig_label-lesion_desc-vaeNll_probseg.nii.gz``), and a JSON
file beside each of them what it was made of. BIDS has no suffix for a raw score and none for a
table of pieces; those are named in ``.bidsignore``.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets.derived import GENERATED_BY, TOOL, is_predicted
from datasets.files import read_regular, write_whole
from datasets.storage import StorageError
from study.errors import UsageError

WORK = ".work"
"""What is kept to go on with: prepared slices and the model."""

BIDS_VERSION = "1.10.0"

_MOST_BYTES = 1 << 20
_IGNORED = (
    "*_score.nii.gz",
    "*_score.json",
    "*_lesions.tsv",
    "*_lesions.json",
    "*_page.html",
    f"{WORK}/",
)

_README = """# Anomaly maps

Made by {tool} {version}: `python -m study.apply`. For research, no medical device.

For each scan, in its own voxels (shape, order of the axes and affine of its file):

- `_probseg.nii.gz`: the share of the brain pixels of healthy subjects, kept out of training, that
  have a lower score: 0 to 1, to be compared between scores. It is no probability of a lesion.
- `_score.nii.gz`: the score itself; 0 where there is none.
- `label-lesion_..._mask.nii.gz`: where the score reaches the threshold.
- `desc-scored_mask.nii.gz`: where there is a score at all: the brain, but for slices with little of
  it.
- `_lesions.tsv`: a row for each connected piece of the mask: its volume in ml, its highest score,
  and where that and its centre of mass are, in mm.
- `_page.html`, if it was asked for: the scan with its map, to look at in a browser.

A JSON file beside each says of which scan, by which model and with which threshold it was made.

Slices are scored at 128 x 128 pixels of the brain's box, and maps are put back from there. What
that alone costs was measured on the truth of 17 scans, sent there and back: lesions of 7 ml and
more keep a Dice of .96 to .98, many small ones of 50 ml together .93, and 1.3 ml .81.

The folder `{work}` has the prepared slices, so that the same command goes on where it was; it may
be deleted.
"""


@dataclass(frozen=True)
class Names:
    """The names of a scan's files.

    Attributes:
        subject: Label of the subject.
        session: Label of the session, or empty.
        model: What the maps are called: model and score, letters and digits.
    """

    subject: str
    session: str
    model: str

    @property
    def folder(self) -> Path:
        """Where they lie, below the folder of all."""
        session = (f"ses-{self.session}",) if self.session else ()
        return Path(f"sub-{self.subject}", *session, "anat")

    def path(self, end: str) -> Path:
        """A file by the end of its name, below the folder of all."""
        session = f"_ses-{self.session}" if self.session else ""
        return self.folder / f"sub-{self.subject}{session}_space-orig_{end}"

    @property
    def share(self) -> Path:
        """The share of healthy pixels with a lower score."""
        return self.path(f"label-lesion_desc-{self.model}_probseg.nii.gz")

    @property
    def lesion(self) -> Path:
        """What reaches the threshold."""
        return self.path(f"label-lesion_desc-{self.model}_mask.nii.gz")

    @property
    def scored(self) -> Path:
        """Where there is a score."""
        return self.path("desc-scored_mask.nii.gz")

    @property
    def score(self) -> Path:
        """The score."""
        return self.path(f"desc-{self.model}_score.nii.gz")

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.path(f"desc-{self.model}_page.html")

    @property
    def pieces(self) -> Path:
        """The table of pieces."""
        return self.path(f"label-lesion_desc-{self.model}_lesions.tsv")


def label(text: str) -> str:
    """A text as BIDS allows it in a name: letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "unnamed"


def model_label(model: str, score: str) -> str:
    """A model and its score as one word: ``vaeNormalizedError``."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", f"{model}_{score}") if word]
    return words[0] + "".join(word[0].upper() + word[1:] for word in words[1:])


def sidecar(path: Path) -> Path:
    """The JSON file beside a file."""
    return path.with_name(path.name.removesuffix(".nii.gz").removesuffix(".tsv") + ".json")


def tool() -> dict[str, str]:
    """What made a file, as BIDS wants to be told."""
    return {"Name": TOOL, "Version": version(TOOL)}


def open_folder(out: Path, scans: Path) -> None:
    """Make the folder, or go on in one that was made before.

    Args:
        out: The folder.
        scans: Where the scans lie.

    Raises:
        UsageError: If something else lies there, or it cannot be made.
    """
    description = out / "dataset_description.json"
    try:
        if description.exists():
            if not is_predicted(json.loads(read_regular(description, _MOST_BYTES))):
                raise UsageError(
                    f"{out} holds a data set that study.apply has not made; name another folder"
                )
        elif out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty; name another folder, or one that is not there")
        out.mkdir(parents=True, exist_ok=True)
        write_json(description, _description(out, scans))
        write_whole(out / ".bidsignore", "".join(f"{line}\n" for line in _IGNORED).encode())
        readme = _README.format(tool=TOOL, version=version(TOOL), work=WORK)
        write_whole(out / "README.md", readme.encode())
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{description} is no JSON: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot write to the folder {out}: {error.strerror}") from error


def _description(out: Path, scans: Path) -> dict[str, Any]:
    return {
        "Name": "Anomaly maps",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        GENERATED_BY: [tool()],
        "DatasetLinks": {"raw": os.path.relpath(scans, out)},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file as a whole.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of ours holds; nothing if it is missing or damaged."""
    try:
        content = json.loads(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def unwritable(path: Path, error: OSError) -> StorageError:
    """What to raise where a map cannot be written."""
    return StorageError(f"cannot write {path}: {error.strerror or error}")
