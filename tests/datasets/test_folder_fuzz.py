"""Folders of any names, duplicates, links and texts: no traceback, and every file accounted for.

``FOLDERS=2000 python -m pytest tests/datasets/test_folder_fuzz.py`` lists as many as one wants.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datasets import sources
from datasets.errors import SourceError
from datasets.mask_folder import with_masks
from datasets.plugins import load_plugin, plugin_names
from datasets.scan import MODALITIES, USUAL_MODALITIES, Listing, Modality
from tests.volumes import save, values

N_FOLDERS = int(os.environ.get("FOLDERS", "100"))
SOURCES = [name for name in plugin_names(sources) if name != "phantom"]


def one_of(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


subjects = one_of("01 1 patient7 x lesion stroke01")
entities = st.lists(
    one_of(
        "ses-1 ses-2 run-1 run-02 acq-mprage acq-localizer acq-postGd ce-gadolinium part-imag "
        "space-T1w space-MNI152 label-lesion label-L desc-lesion desc-brain desc-T1lesion hemi-L "
        "task-rest res-2 mt-on echo-1"
    ),
    max_size=3,
)
words = one_of(
    "T1w T2w FLAIR T1 mask roi dseg probseg lesion lesion-manual brainmask msk wmh seg-manual "
    "T1w_lesion T1map PDw CT bold"
)
endings = one_of(".nii.gz .nii .NII.GZ .json .tsv .mgz .img .hdr .dcm .zip .txt .nii.gz.part")
bids_folders = one_of(
    "sub-{s}/anat sub-{s}/ses-1/anat sub-{s}/func derivatives/x/sub-{s}/anat sub-{s}"
)
cases = one_of(
    "Brats17_2013_2_1 BraTS20_Training_001 BraTS-GLI-00001-000 UPENN-GBM-00001_11 BRATS_001 "
    "c0001s0004t01 IXI002-Guys-0828"
)
ends = one_of(
    "_t1 _T1 -t1n _t2 -t2w _seg -seg _segm _tumor_segmentation _automated_approx_segm _t1ce _flair "
    "_t1w_deface_stx _LesionSmooth_stx _LesionSmooth_1_stx -T1 -T2 -PD"
)
other_folders = one_of(". HGG/{c} {c} imagesTr labelsTr imagesTs {c}/t1")


@st.composite
def names(draw: st.DrawFn) -> str:
    """A path below a data set, mostly of some layout."""
    kind = draw(st.integers(0, 9))
    ending = draw(endings)
    if kind < 5:
        subject = draw(subjects)
        folder = draw(bids_folders).format(s=subject)
        parts = [f"sub-{subject}", *draw(entities), draw(words)]
        return f"{folder}/{'_'.join(parts)}{ending}"
    case = draw(cases)
    folder = draw(other_folders).format(c=case)
    stem = draw(st.sampled_from([case, "t1", "seg"])) if kind == 9 else case + draw(ends)
    return f"{folder}/{stem}{ending}"


contents = one_of("volume noise empty lfs annex lost loop folder same lesion tsv")
TEXTS = {
    "noise": b"\x1f\x8b\x08 no stream of anything",
    "empty": b"",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "annex": b"/annex/objects/MD5E-s1--0.nii.gz\n",
    "lesion": b'{"Type": "Lesion"}',
    "tsv": b"index\tname\n1\twhite matter\n7\tstroke lesion\n",
}


def put(root: Path, name: str, content: str, volume: bytes) -> None:
    path = root / name
    if any(parent.is_file() for parent in path.parents) or os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if content == "lost":
        path.symlink_to("nowhere/.git/annex/objects/x" if len(name) % 2 else "nowhere")
    elif content == "loop":
        path.symlink_to(path.name)
    elif content == "folder":
        path.mkdir()
        (path / "00000057_brain.nii").write_bytes(volume)
    elif content in TEXTS:
        path.write_bytes(TEXTS[content])
    else:
        path.write_bytes(gzip.compress(volume) if name.lower().endswith(".gz") else volume)


def files_below(root: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(root))


def listed(source: str, root: Path, modalities: tuple[Modality, ...]) -> Listing | None:
    """What a source finds; None if it says in a sentence that this is no folder of its layout."""
    try:
        listing: Listing = load_plugin(sources, source, "source").list_scans(root, modalities)
    except SourceError:
        return None
    return listing


def accounted(listing: Listing) -> None:
    used = [path for scan in listing.scans for path in {*scan.files}]
    left_out = Counter(item.path for item in listing.skipped)
    assert not left_out.keys() & set(used), "a file is used and left out"
    assert max(left_out.values(), default=1) == 1, "a file is left out twice"
    assert len(set(used)) + sum(item.n_files for item in listing.skipped) == listing.n_files
    assert all(item.reason for item in listing.skipped)
    ids = [scan.scan_id for scan in listing.scans]
    assert len(set(ids)) == len(ids)


@settings(
    max_examples=N_FOLDERS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(
    [("sub-01/anat/sub-01_T1w.nii.gz", "volume"), (".git/annex/x.nii.gz", "volume")],
    "bids",
    MODALITIES,
)
@given(
    st.lists(st.tuples(names(), contents), min_size=1, max_size=14),
    st.sampled_from(SOURCES),
    st.sampled_from([MODALITIES, USUAL_MODALITIES, ("T1w",)]),
)
def test_every_file_of_any_folder_is_used_or_left_out_with_a_reason(
    files: list[tuple[str, str]], mask_source: str, modalities: tuple[Modality, ...]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        volume = save(root / "v.nii", values()).read_bytes()
        (root / "v.nii").unlink()
        for name, content in files:
            put(root, name, content, volume)
        for source in SOURCES:
            listing = listed(source, root, modalities)
            if listing is not None:
                assert listing.n_files == files_below(root)
                accounted(listing)
                if source == mask_source:
                    below = root / "derivatives" if (root / "derivatives").is_dir() else root
                    accounted(with_masks(listing, root, below))
    finally:
        shutil.rmtree(root)
