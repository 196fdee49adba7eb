"""``study.apply`` as a user runs it: sound and broken scans, a model that travels, wrong use."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from datasets.sources import bids
from study.apply import command
from study.apply.model import read_model
from study.errors import UsageError
from tests.commands import Command
from tests.heads import SHAPE, brain_mask, write_head

Run = Callable[..., Command]

BEST = ("--best", "atlas")


def _broken(root: Path) -> dict[str, str]:
    """Scans that cannot be used, by subject, each with what the sentence about it says."""

    def place(subject: str) -> Path:
        path = root / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        return path

    def volume(subject: str, data: Any) -> None:
        nib.Nifti1Image(data, np.diag([4.5, 4.5, 4.5, 1])).to_filename(place(subject))

    whole = write_head(root / ".." / "spare", "00").read_bytes()
    place("empty").write_bytes(b"")
    place("text").write_bytes(b"no image at all")
    place("cut").write_bytes(whole[: len(whole) // 2])
    place("flipped").write_bytes(whole[:-6] + bytes([whole[-6] ^ 255]) + whole[-5:])
    raw = bytearray(gzip.decompress(whole))
    raw[42:48] = np.array([30000] * 3, "<i2").tobytes()
    place("huge").write_bytes(gzip.compress(bytes(raw)))
    volume("constant", np.full(SHAPE, 7, np.float32))
    volume("nan", np.full(SHAPE, np.nan, np.float32))
    volume("several", np.random.default_rng(0).random((*SHAPE, 2), np.float32))
    volume("complex", np.ones(SHAPE, np.complex64))
    volume("mask", brain_mask().astype(np.uint8))
    return {
        "empty": "is empty",
        "text": "",
        "cut": "",
        "flipped": "",
        "huge": "",
        "constant": "in every voxel",
        "nan": "not finite",
        "several": "volumes",
        "complex": "",
        "mask": "different values",
    }


@pytest.fixture(scope="module")
def applied(
    run: Run, smoke_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[str, str], Command]:
    """A BIDS folder of two sound and ten broken scans, its maps, and the command that made them."""
    folder = tmp_path_factory.mktemp("apply")
    scans, out = folder / "bids", folder / "maps"
    for subject in ("a", "b"):
        write_head(scans, subject, lesion=subject == "b")
    broken = _broken(scans)
    words = ("--store", smoke_store, *BEST, "--page")
    ended = run("study.apply", scans, out, *words, status=3)
    return scans, out, broken, ended


def _files(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(out.glob("sub-*/**/*.*"))}


def test_broken_scans_get_a_sentence_each_and_the_others_their_maps(applied: Any) -> None:
    scans, out, broken, ended = applied
    said = ended.out.splitlines()
    for subject, words in broken.items():
        (line,) = [one for one in said if one.startswith(f"no map of {subject} T1w: ")]
        assert words in line
    assert f"2 of {2 + len(broken)} scans have maps in {out}." in said
    assert "Traceback" not in ended.out + ended.err
    assert {path.name for path in out.glob("sub-*")} == {"sub-a", "sub-b"}
    for subject in ("a", "b"):
        own = nib.load(scans / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
        start = f"sub-{subject}/anat/sub-{subject}_space-orig_"
        (share,) = out.glob(f"{start}label-lesion_desc-*_probseg.nii.gz")
        (mask,) = out.glob(f"{start}label-lesion_desc-*_mask.nii.gz")
        (score,) = out.glob(f"{start}desc-*_score.nii.gz")
        scored = out / f"{start}desc-scored_mask.nii.gz"
        values = {}
        for path in (share, mask, score, scored):
            image = nib.load(path)
            assert image.shape == own.shape
            np.testing.assert_allclose(image.affine, own.affine, atol=1e-5)
            values[path] = np.asarray(image.dataobj)
        assert 0 <= values[share].min() <= values[share].max() <= 1
        assert (values[mask] <= values[scored]).all()
        assert not values[score][values[scored] == 0].any()
        told = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
        assert told["Threshold"] == "healthy:5%"
        reached = (values[score] >= told["ThresholdScore"]) & (values[scored] > 0)
        assert np.array_equal(values[mask] > 0, reached)
        assert told["Sources"] == [f"bids:raw:sub-{subject}/anat/sub-{subject}_T1w.nii.gz"]
        table = mask.with_name(mask.name.replace("_mask.nii.gz", "_lesions.tsv")).read_text()
        assert len(table.splitlines()) == told["Pieces"] + 1


def test_the_folder_is_a_data_set_of_bids_derivatives(applied: Any) -> None:
    _, out, _, _ = applied
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([validator, out, "--json"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    errors = [one for one in found["issues"]["issues"] if one["severity"] == "error"]
    assert errors == []
    assert sorted(found["summary"]["subjects"]) == ["a", "b"]
    ignored = (out / ".bidsignore").read_text().split()
    assert {"*_score.nii.gz", "*_lesions.tsv", "*_page.html"} <= set(ignored)


def test_the_page_shows_three_planes_and_needs_nothing_beside_it(applied: Any) -> None:
    _, out, _, _ = applied
    (page,) = out.glob("sub-b/anat/*_page.html")
    text = page.read_text()
    for plane in ("axial", "coronal", "sagittal"):
        assert f'alt="{plane} plane of the scan"' in text
    assert text.count("data:image/jpeg;base64,") == text.count("data:image/png;base64,") == 3
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|https?://|@import", text)
    table = next(out.glob("sub-b/anat/*_lesions.tsv")).read_text().splitlines()
    listed = re.findall(r"<tr><td>(\d+)</td>", text)
    assert [int(number) for number in listed] == list(range(1, min(len(table) - 1, 30) + 1))


def test_a_second_run_makes_nothing_and_another_threshold_only_what_it_changes(
    applied: Any, run: Run, smoke_store: Path
) -> None:
    scans, out, broken, _ = applied
    before = _files(out)
    again = run("study.apply", scans, out, "--store", smoke_store, *BEST, status=3)
    assert f"2 of {2 + len(broken)} scans have maps in {out}, 2 of them from an earlier run." in (
        again.out
    )
    assert _files(out) == before
    other = ("--threshold", "healthy:20%")
    run("study.apply", scans, out, "--store", smoke_store, *BEST, *other, status=3)
    (told,) = (json.loads(p.read_text()) for p in out.glob("sub-a/anat/*label-lesion*_mask.json"))
    assert told["Threshold"] == "healthy:20%"


def test_predicted_masks_are_no_truth_for_those_who_list_the_folder_later(applied: Any) -> None:
    scans, out, _, _ = applied
    derived = scans / "derivatives" / "maps"
    shutil.copytree(out, derived)
    listing = bids.list_scans(scans, ("T1w",))
    by_subject = {scan.subject: scan for scan in listing.scans}
    assert by_subject["a"].lesion_masks == ()
    (drawn,) = by_subject["b"].lesion_masks
    assert drawn.parent == scans / "sub-b" / "anat"
    predicted = [item for item in listing.skipped if "predicted" in item.reason]
    assert len(predicted) == 4  # the shares and what reaches the threshold, of both
    shutil.rmtree(scans / "derivatives")


def test_an_exported_model_makes_the_same_maps_of_a_single_scan_without_a_store(
    applied: Any, run: Run, smoke_store: Path, tmp_path: Path
) -> None:
    scans, out, _, _ = applied
    model = tmp_path / "model.zip"
    run("study.apply", "--store", smoke_store, *BEST, "--export", model)
    one = scans / "sub-b" / "anat" / "sub-b_T1w.nii.gz"
    ended = run("study.apply", one, tmp_path / "maps", "--model", model)
    assert "1 of 1 scans have maps" in ended.out
    for path in sorted((tmp_path / "maps").glob("sub-b/anat/*.nii.gz")):
        if "label-lesion" not in path.name or "probseg" in path.name:  # the threshold is another
            assert path.read_bytes() == (out / "sub-b" / "anat" / path.name).read_bytes()


@pytest.fixture(scope="module")
def model(run: Run, smoke_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("model") / "model.zip"
    run("study.apply", "--store", smoke_store, *BEST, "--export", path)
    return path


def _rewritten(path: Path, name: str, change: Callable[[bytes], bytes] | None) -> None:
    """Pack the archive anew, with one of its files changed or left out."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in parts.items():
            if entry != name:
                archive.writestr(entry, data)
            elif change is not None:
                archive.writestr(entry, change(data))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("weights.safetensors", lambda data: data + b" ", "weights.safetensors"),
        ("healthy.parquet", lambda data: data[:-1], "healthy.parquet"),
        ("model.json", lambda data: data.replace(b'"T1w"', b'"T2w"'), "model.json"),
        ("model.json", lambda data: data.replace(b'"format": 1', b'"format": 9'), "format is 9"),
        ("model.json", lambda data: data[:40], "damaged"),
        ("model.json", lambda data: b"[]", "format is None"),
        ("model.json", None, "model.json"),
        ("weights.safetensors", None, "weights.safetensors"),
    ],
)
def test_a_changed_model_is_refused_in_a_sentence(
    model: Path, tmp_path: Path, name: str, change: Any, words: str
) -> None:
    path = tmp_path / "changed.zip"
    shutil.copy(model, path)
    _rewritten(path, name, change)
    with pytest.raises(UsageError) as found:
        read_model(path)
    assert str(path) in str(found.value)
    assert words in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("at", [0.02, 0.3, 0.5, 0.7, 0.97])
@pytest.mark.parametrize("kind", ["flip", "cut"])
def test_a_damaged_model_is_refused_in_a_sentence(
    model: Path, tmp_path: Path, at: float, kind: str
) -> None:
    data = bytearray(model.read_bytes())
    place = int(at * len(data))
    if kind == "flip":
        data[place] ^= 255
    else:
        del data[place:]
    path = tmp_path / "damaged.zip"
    path.write_bytes(bytes(data))
    found = None
    with suppress(UsageError):
        found = read_model(path)
    # A byte may say nothing, such as one of a date.
    assert found is None or found.identity == read_model(model).identity
    assert found is None or kind == "flip"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "say which detector is meant"),
        ({"best": "nowhere"}, "no results on nowhere; it has: atlas T1w"),
        ({"best": "brats"}, "brats T2w, brats T1w"),
        ({"best": "atlas", "score": "nothing"}, "'nothing'"),
        ({"trial": "zzz"}, "no trial 'zzz'"),
        ({"best": "atlas", "threshold": "healthy:0%"}, "between 0 and 100 %"),
        ({"best": "atlas", "threshold": "much"}, "not 'much'"),
        ({"best": "atlas", "modality": "PDw"}, "unknown modality 'PDw'"),
        ({"best": "atlas", "source": "nope"}, "unknown source 'nope'"),
        ({"best": "atlas", "model": Path("x.zip")}, "leave --trial and --best out"),
        ({"model": Path("gone.zip")}, "cannot read the model gone.zip"),
    ],
)
def test_wrong_use_is_a_sentence_and_writes_nothing(
    smoke_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: dict[str, Any],
    said: str,
) -> None:
    write_head(tmp_path / "bids", "a")
    out = tmp_path / "maps"
    monkeypatch.setattr(command.connection, "configure", lambda **_: None)
    with pytest.raises(UsageError) as found:
        command.main(tmp_path / "bids", out, str(smoke_store), **words)
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert not out.exists()


def test_a_folder_that_is_not_its_own_is_left_alone(
    run: Run, smoke_store: Path, tmp_path: Path
) -> None:
    write_head(tmp_path / "bids", "a")
    words = (tmp_path / "bids", tmp_path / "bids", "--store", smoke_store, *BEST)
    ended = run("study.apply", *words, status=2)
    assert "is not empty" in ended.err
    assert len(ended.err.splitlines()) == 1
