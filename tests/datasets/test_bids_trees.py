"""Folders built as public BIDS data sets are: every image of a modality is used or named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.scan import USUAL_MODALITIES
from datasets.sources import bids
from tests.listings import put
from tests.volumes import save

SUBJECTS = ("01", "02")

# What a subject has, {s} for its label; the first number is how many images are used of each.
TREES: dict[str, tuple[int, str]] = {
    "a task, with an in-plane T2": (
        1,
        "sub-{s}/anat/sub-{s}_T1w.nii.gz sub-{s}/anat/sub-{s}_inplaneT2.nii.gz "
        "sub-{s}/func/sub-{s}_task-balloon_run-01_bold.nii.gz "
        "sub-{s}/func/sub-{s}_task-balloon_run-01_events.tsv participants.tsv "
        "dataset_description.json task-balloon_bold.json README CHANGES",
    ),
    "7 tesla, two sessions, maps": (
        2,
        "sub-{s}/ses-1/anat/sub-{s}_ses-1_T1map.nii.gz sub-{s}/ses-1/anat/sub-{s}_ses-1_T1w.nii.gz "
        "sub-{s}/ses-2/anat/sub-{s}_ses-2_T1w.nii.gz "
        "sub-{s}/ses-1/fmap/sub-{s}_ses-1_run-1_phasediff.nii.gz sub-{s}/sub-{s}_scans.tsv",
    ),
    "test and retest with diffusion": (
        2,
        "sub-{s}/ses-test/anat/sub-{s}_ses-test_T1w.nii.gz "
        "sub-{s}/ses-retest/anat/sub-{s}_ses-retest_T1w.nii.gz "
        "sub-{s}/ses-test/dwi/sub-{s}_ses-test_dwi.nii.gz dwi.bval dwi.bvec",
    ),
    "faces, with MEG and echoes": (
        1,
        "sub-{s}/ses-mri/anat/sub-{s}_ses-mri_acq-mprage_T1w.nii.gz "
        "sub-{s}/ses-mri/anat/sub-{s}_ses-mri_run-1_echo-1_FLASH.nii.gz "
        "sub-{s}/ses-meg/meg/sub-{s}_ses-meg_task-facerecognition_run-01_meg.fif",
    ),
    "connectome, both modalities, several runs": (
        2,
        "sub-{s}/anat/sub-{s}_run-01_T1w.nii.gz sub-{s}/anat/sub-{s}_run-02_T1w.nii.gz "
        "sub-{s}/anat/sub-{s}_run-01_T2w.nii.gz sub-{s}/anat/sub-{s}_run-02_T2w.nii.gz "
        "sub-{s}/func/sub-{s}_task-rest_acq-LR_sbref.nii.gz",
    ),
    "electrodes, before and after": (
        1,
        "sub-{s}/ses-preimp/anat/sub-{s}_ses-preimp_acq-render_T1w.nii.gz "
        "sub-{s}/ses-postimp/anat/sub-{s}_ses-postimp_ct.nii.gz "
        "sub-{s}/ses-postimp/ieeg/sub-{s}_ses-postimp_electrodes.tsv",
    ),
    "quantitative, two inversions": (
        1,
        "sub-{s}/anat/sub-{s}_inv-1_MP2RAGE.nii.gz sub-{s}/anat/sub-{s}_inv-2_MP2RAGE.nii.gz "
        "sub-{s}/anat/sub-{s}_UNIT1.nii.gz sub-{s}/anat/sub-{s}_T1w.nii.gz "
        "derivatives/maps/sub-{s}/anat/sub-{s}_T1map.nii.gz",
    ),
    "positrons, a baseline": (
        1,
        "sub-{s}/ses-baseline/anat/sub-{s}_ses-baseline_T1w.nii "
        "sub-{s}/ses-baseline/pet/sub-{s}_ses-baseline_pet.nii.gz "
        "sub-{s}/ses-baseline/pet/sub-{s}_ses-baseline_pet.json",
    ),
    "the output of a pipeline, itself a root": (
        1,
        "sub-{s}/anat/sub-{s}_desc-preproc_T1w.nii.gz sub-{s}/anat/sub-{s}_desc-brain_mask.nii.gz "
        "sub-{s}/anat/sub-{s}_label-GM_probseg.nii.gz sub-{s}/anat/sub-{s}_dseg.nii.gz "
        "sub-{s}/anat/sub-{s}_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz "
        "sub-{s}/anat/sub-{s}_hemi-L_pial.surf.gii sub-{s}.html",
    ),
    "lesions, raw and derived, with source data": (
        1,
        "sub-{s}/anat/sub-{s}_T1w.nii.gz sub-{s}/anat/sub-{s}_rec-defaced_T1w.nii.gz "
        "derivatives/lesions/sub-{s}/anat/sub-{s}_label-lesion_roi.nii.gz "
        "derivatives/other/sub-{s}/anat/sub-{s}_space-MNI152_T1w.nii.gz "
        "sourcedata/sub-{s}/IM1.dcm sourcedata/sub-{s}/IM2.dcm code/run.sh .bidsignore "
        "sub-{s}/anat/sub-{s}_ce-gadolinium_T1w.nii.gz",
    ),
}


@pytest.mark.parametrize("tree", TREES)
def test_every_image_of_a_modality_is_used_or_named(tmp_path: Path, tree: str) -> None:
    per_subject, text = TREES[tree]
    names = {name.format(s=subject) for subject in SUBJECTS for name in text.split()}
    images = [name for name in names if name.endswith((".nii", ".nii.gz"))]
    put(tmp_path, *names.difference(images))
    for name in images:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, np.ones((4, 4, 4), dtype=np.uint8))
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert len(listing.scans) == per_subject * len(SUBJECTS)
    used = {path for scan in listing.scans for path in scan.files}
    named = {item.path for item in listing.skipped}
    ours = [name for name in images if name.split(".")[0].endswith(USUAL_MODALITIES)]
    assert all((tmp_path / name in used) != (tmp_path / name in named) for name in ours)
    assert len(used) + sum(item.n_files for item in listing.skipped) == len(names)
    assert listing.n_files == len(names)
