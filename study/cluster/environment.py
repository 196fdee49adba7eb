"""Variables that a user has sent along with a job, for its driver and its workers.

They travel as a file beside the code. Ray has a field for them too, but writes it to the logs of
every machine and shows it with the job, where keys do not belong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import study
from study.cluster.code import SUBMITTED

FILE = "environment.json"
"""Its name in the folder :data:`~study.cluster.code.SUBMITTED`."""


def packed(variables: Mapping[str, str]) -> dict[str, bytes]:
    """The file that is to travel, by its name; none without any variable."""
    return {FILE: json.dumps(dict(variables)).encode()} if variables else {}


def load_sent() -> None:
    """Set the variables that were sent with the code of this process, if any were.

    To be called before a store is opened: filesystems read their keys when they are made.
    """
    path = Path(study.__file__).resolve().parents[1] / SUBMITTED / FILE
    try:
        variables = json.loads(path.read_bytes())
    except OSError:
        return  # there is none, or it lies where this user sees nothing
    os.environ.update(variables)
    with suppress(OSError):
        path.chmod(0o600)  # whoever unpacked it has made it as readable as all files
