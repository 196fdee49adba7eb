"""Small heads as NIfTI files in BIDS folders, one Ray for all, and a stand-in for BET."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from datasets.manifest import ScanRecord
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.cluster import connection
from study.prepare.cohorts import read_cohorts
from study.prepare.limits import Limits
from study.prepare.listing import CohortListing
from study.prepare.preparation import Preparation
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker
from tests.heads import SHAPE, SPACING_MM, brain_mask, write_cohorts, write_head


@pytest.fixture
def head() -> Callable[..., Path]:
    return write_head


@pytest.fixture
def make_cohorts(tmp_path: Path) -> Callable[[int, int], Path]:
    """Writes that many healthy and stroke heads; gives the cohorts file."""
    return lambda n_train, n_test: write_cohorts(tmp_path / "scans", n_train, n_test)


BET = """#!/bin/sh
# Does as BET's documentation says, except on heads of odd widths (bytes 42 and 43 of the header).
here=$(dirname "$0")
width=$(gzip -dc "$1" | od -A n -t d2 -j 42 -N 2 | tr -d " ")
echo "$width" >> "$here/calls"
case $width in
  41) kill -9 $PPID ;;
  42) echo $$ > "$here/hanging"; exec sleep 600 ;;
  43) if ! [ -e "$here/broken" ]; then touch "$here/broken"; kill -9 $PPID; fi ;;
esac
cp "$here/$width.nii.gz" "$2_mask.nii.gz"
"""


@pytest.fixture(scope="session")
def bet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a program that stands in for FSL's BET: it knows the brain by the head's width.

    A head 41 voxels wide makes it kill its caller; 42, hang; 43, kill its caller once.
    """
    folder = tmp_path_factory.mktemp("fsl")
    (folder / "bet").write_text(BET)
    (folder / "bet").chmod(0o755)
    for width in range(40, 46):
        mask = brain_mask((width, *SHAPE[1:])).astype(np.uint8)
        affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{width}.nii.gz")
    return folder


@pytest.fixture(scope="package")
def ray(bet: Path) -> Iterator[Any]:
    """One Ray of two cores for all tests here; its workers find the stand-in for BET.

    It ends with these tests: commands of others would inherit where its token is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{bet}{os.pathsep}{os.environ['PATH']}")
        connection.configure(verbose=False)
        with connection.connected("local", verbose=False) as connected:
            yield connected


class Prepared:
    """What a preparation did: its listings, what it said, and how many scans it prepared."""

    def __init__(self, preparation: Preparation, said: list[str]) -> None:
        self.preparation = preparation
        self.said = said
        self.listings: Sequence[CohortListing] = preparation.run()

    @property
    def records(self) -> dict[str, ScanRecord]:
        """Records by subject."""
        return {r.subject: r for listing in self.listings for r in listing.records}

    @property
    def count(self) -> int:
        return self.preparation.prepared


class Listener(View):
    """Keeps the sentences that are said, and prints nothing."""

    def __init__(self, tracker: Tracker, said: list[str]) -> None:
        super().__init__(tracker, Console(quiet=True))
        self._said = said

    def say(self, text: str) -> None:
        self._said.append(text)

    def milestone(self) -> None:
        """No line of progress is a sentence."""


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "store"))


@pytest.fixture
def prepare(ray: Any, store: Storage) -> Callable[..., Prepared]:
    """Prepares the cohorts of a file into the store, with deepbet or the stand-in for BET."""

    def run(cohorts: Path, tool: str = "deepbet", limits: Limits | None = None) -> Prepared:
        said: list[str] = []
        tracker = Tracker()
        settings = PreprocessSettings.model_validate({"brain_extractor": tool})
        preparation = Preparation(
            read_cohorts(cohorts),
            store,
            settings,
            lambda: ray,
            Monitor(tracker, Listener(tracker, said)),
            limits or Limits(),
        )
        return Prepared(preparation, said)

    return run
