"""The odd one of a cohort is named by the command and on its page, and nowhere stored."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from datasets.manifest import CohortManifest, ScanRecord, cohort_key, read_record
from datasets.phantom import writer
from datasets.phantom.anatomy import Anatomy, draw_subject, look_at
from datasets.phantom.layouts import LAYOUTS
from datasets.phantom.settings import PhantomOptions
from datasets.scan import Modality, Scan
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.shards import process_scan
from datasets.storage import Storage
from study.prepare.cohorts import Cohort
from study.prepare.command import print_summary
from study.prepare.contrasts import odd_contrasts, with_contrasts
from study.prepare.listing import CohortListing
from study.prepare.page import write_reports
from study.terminal import PlainConsole

ODD = "no brighter than grey, as on FLAIR or proton density"


@cache
def anatomy(index: int) -> Anatomy:
    one = LAYOUTS["ixi"]
    rng = np.random.default_rng([0, one.number, index, 0])
    return look_at(draw_subject(rng, one.pose), one.views["T1w"].grid(3.0, 4.0))


def prepared(folder: Path, store: Storage, index: int, shown: Modality) -> ScanRecord:
    """A stripped head of the phantom, prepared as T1w, whatever it shows."""
    inside = anatomy(index)
    options = PhantomOptions(layout="ixi", subjects=9, more_modalities=("FLAIR",))
    image = np.where(inside.brain, writer.scan_voxels(options, index, shown, inside, ()), 0)
    path = folder / f"sub-{index}_T1w.nii.gz"
    nib.Nifti1Image(image.astype(np.int16), inside.grid.affine()).to_filename(path)
    scan = Scan(str(index), "", "T1w", path, stripped=True)
    return process_scan(scan, "controls", "train", PreprocessSettings(), f"{index:020d}", store)


def listing_of(records: list[ScanRecord]) -> CohortListing:
    cohort = Cohort(name="controls", source="bids", root=Path("x"), role="train")
    key = cohort_key("controls", "T1w", [record.key for record in records])
    manifest = CohortManifest(
        key=key, cohort="controls", modality="T1w", role="train", source="bids", synthetic=False,
        settings=PreprocessSettings(), preprocess_version=PREPROCESS_VERSION,
        records=tuple(records),
    )  # fmt: skip
    return CohortListing(cohort, "T1w", key, (), (), len(records), manifest)


@pytest.mark.parametrize("is_older", [False, True])
def test_flair_among_t1w_is_named_and_its_record_stays(
    is_older: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Storage.open(str(tmp_path / "store"))
    records = [prepared(tmp_path, store, i, "FLAIR" if i == 2 else "T1w") for i in range(4)]
    assert [record.status for record in records] == ["ok"] * 4
    if is_older:  # from before it was measured
        records = [record.model_copy(update={"contrast": None}) for record in records]
    listing = listing_of(records)
    assert [r.subject for r, _ in odd_contrasts(listing)] == ([] if is_older else ["2"])
    told = with_contrasts(listing, store)
    assert [ODD in " ".join(record.notes) for record in told.records] == [False, False, True, False]
    (tmp_path / "pages").mkdir()
    page = write_reports([listing], store, tmp_path / "pages")[0].read_text(encoding="utf-8")
    assert page.count(ODD) == 3  # beside its picture, and among the notes with their title
    print_summary([listing], 0, PlainConsole())
    assert (f"note: 1 scan of controls T1w: white matter is {ODD}" in capsys.readouterr().out) != (
        is_older
    )
    stored = read_record(store, records[2].key)
    assert stored is not None
    assert ODD not in " ".join(stored.notes)
