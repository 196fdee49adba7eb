"""What becomes of every file of a cohort, and of subjects with several images."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import SourceError
from datasets.manifest import FileCounts, manifest_path, read_manifest
from datasets.reviews import Review, Reviews, change_reviews
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.prepare.accounts import NAMED_PER_REASON
from study.prepare.cohorts import read_cohorts
from study.prepare.command import print_summary
from study.prepare.listing import survey
from study.prepare.page import write_reports
from study.terminal import PlainConsole
from tests.heads import write_head
from tests.listings import put


def cohorts_file(folder: Path, **tables: str) -> Path:
    """Cohorts by name; ``role`` train unless the text says otherwise."""
    lines = []
    for name, text in tables.items():
        role = "" if "role" in text else '\nrole = "train"'
        lines.append(f'[cohorts.{name}]\nroot = "{name}"{role}\n{text}\n')
    path = folder / "cohorts.toml"
    path.write_text("".join(lines))
    return path


def move(head: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(head, to)


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    """A cohort in each layout: scans that are used, one that is set aside, and other files."""
    heads = tmp_path / "heads"

    def pair(subject: str) -> tuple[Path, Path]:
        image = write_head(heads, subject, lesion=True)
        return image, image.with_name(image.name.replace("_T1w.", "_T1w_label-lesion_mask."))

    image, mask = pair("b")
    move(image, tmp_path / "bids/sub-1/anat/sub-1_T1w.nii.gz")
    move(mask, tmp_path / "bids/derivatives/x/sub-1/anat/sub-1_T1w_lesion-manual.nii.gz")
    put(tmp_path / "bids", "sub-2/anat/sub-2_T1w.nii.gz", "sub-2/anat/sub-2_label-L_mask.nii.gz")
    put(tmp_path / "bids", "README", "sourcedata/a.dcm", "sourcedata/b.dcm", "sub-1/func/x.nii.gz")
    image, mask = pair("a")
    case = tmp_path / "atlas/c0001/c0001s0004t01/c0001s0004t01"
    move(image, case.with_name(case.name + "_t1w_deface_stx.nii.gz"))
    move(mask, case.with_name(case.name + "_LesionSmooth_stx.nii.gz"))
    name = "c0001/c0001s0005t01/c0001s0005t01_t1w_stx.nii.gz"
    put(tmp_path / "atlas", name, "ATLAS.csv")
    image, mask = pair("t")
    case = tmp_path / "brats/BraTS20_Training_001"
    move(image, case / "BraTS20_Training_001_t1.nii.gz")
    move(mask, case / "BraTS20_Training_001_seg.nii.gz")
    put(case, "BraTS20_Training_001_t1ce.nii.gz", "BraTS20_Training_001_flair.nii.gz")
    move(write_head(heads, "i"), tmp_path / "ixi/IXI-T1/IXI002-Guys-0828-T1.nii.gz")
    put(tmp_path / "ixi", "IXI-PD/IXI002-Guys-0828-PD.nii.gz", "IXI-T1/IXI003-HH-1-T1.nii.gz")
    (tmp_path / "ixi/IXI-T1/IXI003-HH-1-T1.nii.gz").write_bytes(
        b"no image, and no other file's copy"
    )
    image, mask = pair("m")
    move(image, tmp_path / "apart/sub-9/anat/sub-9_T1w.nii.gz")
    move(mask, tmp_path / "drawn/sub-9.nii.gz")
    put(tmp_path / "drawn", "sub-8.nii.gz", "who.txt")
    test = 'modalities = ["T1w"]\nrole = "test"'
    return cohorts_file(
        tmp_path,
        bids=f'source = "bids"\n{test}',
        atlas=f'source = "atlas"\n{test}',
        brats=f'source = "brats"\n{test}',
        ixi='source = "ixi"',
        apart=f'source = "bids"\nmasks = "drawn"\n{test}',
    )


def test_page_terminal_and_manifest_agree_on_every_file(
    layouts: Path, prepare: Callable[..., Any], store: Storage, tmp_path: Path
) -> None:
    listings = prepare(layouts).listings
    out = StringIO()
    print_summary(listings, 0, PlainConsole(file=out, width=400))
    expected = {
        "bids": FileCounts(below=8, used=2, set_aside=2, left_out=4),
        "atlas": FileCounts(below=4, used=2, set_aside=1, left_out=1),
        "brats": FileCounts(below=4, used=2, set_aside=0, left_out=2),
        "ixi": FileCounts(below=3, used=1, set_aside=1, left_out=1),
        "apart": FileCounts(below=4, used=2, set_aside=0, left_out=2),
    }
    (tmp_path / "pages").mkdir()
    pages = {page.stem: page for page in write_reports(listings, store, tmp_path / "pages")}
    folders = {name: [name, "drawn"] if name == "apart" else [name] for name in expected}
    for listing in listings:
        name, counts = listing.cohort.name, expected[listing.cohort.name]
        manifest = read_manifest(store, listing.key)
        assert manifest is not None
        assert manifest.files == counts
        there = sum(len(f) for x in folders[name] for _, _, f in os.walk(tmp_path / x))
        assert counts.below == counts.used + counts.set_aside + counts.left_out == there
        stand_for = [manifest.stand_for.get(path, 1) for path, _ in manifest.skipped]
        assert sum(stand_for) == counts.left_out
        line = f"{name}: {counts.below} files: {counts.used} used, {counts.set_aside} of scans"
        assert line in out.getvalue()
        tiles = re.findall(r"<b>([\d,]+)</b><span>([^<]+)</span>", pages[name].read_text())
        assert {(str(counts.below), "files"), (str(counts.left_out), "files left out")} < {*tiles}


def test_the_next_image_is_used_where_one_cannot_be_prepared(
    tmp_path: Path, prepare: Callable[..., Any], store: Storage
) -> None:
    first = write_head(tmp_path / "scans", "1", seed=1)
    second = first.with_name("sub-1_run-2_T1w.nii.gz")
    third = first.with_name("sub-1_run-3_T1w.nii.gz")
    shutil.copy(write_head(tmp_path / "more", "2"), third)
    shutil.copy(first, second)
    for path in (first, second):
        path.write_bytes(path.read_bytes()[:20_000])
    path = cohorts_file(tmp_path, scans='source = "bids"')
    prepared = prepare(path)
    (record,) = prepared.records.values()
    assert (record.status, Path(record.image)) == ("ok", third)
    (listing,) = prepared.listings
    assert [note.split(",")[0] for note, _ in listing.notes] == [
        f"used instead of {path}" for path in (first, second)
    ]
    assert "truncated" in listing.notes[0][0]
    assert listing.manifest.files == FileCounts(below=3, used=1, set_aside=0, left_out=2)
    again = prepare(path)
    assert again.count == 0
    assert again.listings[0].key == listing.key
    assert read_manifest(store, listing.key).notes  # type: ignore[union-attr]


def test_where_all_images_of_a_subject_fail_the_best_one_is_set_aside(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    write_head(tmp_path / "scans", "2")
    for name in ("sub-1_run-1_T1w.nii.gz", "sub-1_run-2_T1w.nii.gz"):
        put(tmp_path / "scans", f"sub-1/anat/{name}")
    path = cohorts_file(tmp_path, scans='source = "bids"')
    prepared = prepare(path)
    assert Path(prepared.records["1"].image).name == "sub-1_run-1_T1w.nii.gz"
    assert prepared.records["1"].status == "quarantined"
    again = prepare(path)
    assert again.count == 0
    assert again.listings[0].key == prepared.listings[0].key


def test_no_other_image_of_a_subject_with_a_lesion_trains(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    image = write_head(tmp_path / "a", "1", lesion=True)
    folder = image.parent
    image.rename(folder / "sub-1_run-1_T1w.nii.gz")
    mask = folder / "sub-1_T1w_label-lesion_mask.nii.gz"
    mask.rename(folder / "sub-1_run-1_label-lesion_mask.nii.gz")
    shutil.copy(write_head(tmp_path / "more", "2"), folder / "sub-1_run-2_T1w.nii.gz")
    write_head(tmp_path / "a", "3")
    records = prepare(cohorts_file(tmp_path, a='source = "bids"')).records
    assert (records["1"].status, records["3"].status) == ("quarantined", "ok")
    assert "not healthy" in records["1"].reason


def test_a_scan_with_a_lesion_does_not_train_under_another_name(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    write_head(tmp_path / "a", "1", seed=1)
    write_head(tmp_path / "a", "2", seed=1, lesion=True)
    write_head(tmp_path / "a", "3")
    records = prepare(cohorts_file(tmp_path, a='source = "bids"')).records
    assert {subject: record.status for subject, record in records.items()} == {
        "2": "quarantined",
        "3": "ok",
    }


def test_files_that_two_modalities_share_are_counted_once_where_both_fall_back(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    image = write_head(tmp_path / "a", "1", lesion=True)
    folder = image.parent
    mask = folder / "sub-1_T1w_label-lesion_mask.nii.gz"
    shutil.copy(mask, folder / "sub-1_run-2_label-lesion_mask.nii.gz")
    mask.rename(folder / "sub-1_run-1_label-lesion_mask.nii.gz")
    for modality in ("T1w", "T2w"):
        (folder / f"sub-1_run-1_{modality}.nii.gz").write_bytes(modality.encode())
        head = write_head(tmp_path / "more", modality)
        shutil.copy(head, folder / f"sub-1_run-2_{modality}.nii.gz")
    image.unlink()
    text = 'source = "bids"\nrole = "test"'
    listings = prepare(cohorts_file(tmp_path, a=text)).listings
    for listing in listings:
        counts = listing.manifest.files
        assert counts.below == counts.used + counts.set_aside + counts.left_out == 6


def test_a_scan_of_one_cohort_may_not_be_in_another_of_the_other_role(
    tmp_path: Path, prepare: Callable[..., Any], store: Storage
) -> None:
    write_head(tmp_path / "a", "1", seed=1)
    write_head(tmp_path / "b", "7", seed=1, lesion=True)
    path = cohorts_file(tmp_path, a='source = "bids"', b='source = "bids"\nrole = "test"')
    with pytest.raises(SourceError, match=r"sub-7_T1w.*'b' \(test\).*sub-1_T1w.*'a' \(train\)"):
        prepare(path)
    assert not store.names("shards")


def test_a_scan_that_is_listed_twice_is_used_once_and_told(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    for subject in ("1", "2"):
        write_head(tmp_path / "a", subject, seed=1)
    write_head(tmp_path / "a", "3")
    prepared = prepare(cohorts_file(tmp_path, a='source = "bids"'))
    assert set(prepared.records) == {"1", "3"}
    (note, name) = prepared.listings[0].notes[0]
    assert name == "2"
    assert "the same scan as" in note
    assert prepared.listings[0].manifest.files.left_out == 1


def test_many_files_of_one_reason_are_counted_in_the_manifest_and_not_all_named(
    tmp_path: Path, prepare: Callable[..., Any]
) -> None:
    write_head(tmp_path / "a", "1")
    put(tmp_path / "a", *(f"derivatives/x/sub-1/other{i}.nii" for i in range(300)))
    (listing,) = prepare(cohorts_file(tmp_path, a='source = "bids"')).listings
    assert listing.manifest.files.left_out == 300
    assert len(listing.manifest.skipped) == NAMED_PER_REASON
    assert sum(listing.manifest.stand_for.values()) == 101


def test_a_manifest_follows_its_folder_and_may_lie_in_a_store_that_is_only_read(
    tmp_path: Path,
    prepare: Callable[..., Any],
    store: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_head(tmp_path / "a", "1")
    path = cohorts_file(tmp_path, a='source = "bids"')
    (before,) = prepare(path).listings
    put(tmp_path / "a", "README")
    (after,) = prepare(path).listings
    assert (after.key, after.manifest.records) == (before.key, before.manifest.records)
    assert read_manifest(store, after.key).files.below == 2  # type: ignore[union-attr]
    put(tmp_path / "a", "CHANGES")
    written = store.read(manifest_path(after.key))

    def refuse(*_: object) -> None:
        from datasets.storage import StorageError

        raise StorageError("read-only")

    monkeypatch.setattr("study.prepare.preparation.write_manifest", refuse)
    (third,) = prepare(path).listings
    assert third.manifest.files.below == 3
    assert store.read(manifest_path(after.key)) == written


PARTICIPANTS = "participant_id\tgroup\tage\tsite\nsub-1\tcontrol\t30\tA\nsub-2\tpatient\t40\tB\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('subjects = ["1"]', ["1"]),
        ('subjects = ["sub-2", "3"]', ["2", "3"]),
        ('exclude = ["2"]', ["1", "3"]),
        ("participants = 'group == \"control\"'", ["1"]),
        ("participants = 'age > 20'\nexclude = [\"sub-1\"]", ["2"]),
    ],
)
def test_a_cohort_takes_the_subjects_that_it_asks_for(
    tmp_path: Path, store: Storage, text: str, left: list[str]
) -> None:
    put(tmp_path / "a", *(f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in "123"))
    for s in "123":
        (tmp_path / f"a/sub-{s}/anat/sub-{s}_T1w.nii.gz").write_text(s)
    (tmp_path / "a/participants.tsv").write_text(PARTICIPANTS)
    path = cohorts_file(tmp_path, a=f'source = "bids"\n{text}')
    (listing,) = survey(read_cohorts(path), store, PreprocessSettings())
    assert [task.scan.subject for task in listing.tasks] == left
    assert sum("its subject" in item.reason for item in listing.skipped) == 3 - len(left)
    known = {info.subject: (info.site, info.age) for info in listing.subjects}
    all_known = {"1": ("A", 30.0), "2": ("B", 40.0), "3": ("", None)}
    assert known == {subject: all_known[subject] for subject in left}
    assert not listing.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('subjects = ["7"]', r"subjects names '7', and .* has no scan of such a subject"),
        ('exclude = ["sub-01"]', "exclude names 'sub-01'"),
        ("participants = 'dx == 1'", "has no column 'dx'; it has participant_id, group, age, site"),
        ("participants = 'age > 90'", "none of 3 subjects is left"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_a_sentence(
    tmp_path: Path, store: Storage, text: str, words: str
) -> None:
    put(tmp_path / "a", *(f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in "123"))
    (tmp_path / "a/participants.tsv").write_text(PARTICIPANTS)
    path = cohorts_file(tmp_path, a=f'source = "bids"\n{text}')
    with pytest.raises(SourceError, match=words):
        survey(read_cohorts(path), store, PreprocessSettings())


def test_patients_among_those_who_train_are_said(tmp_path: Path, store: Storage) -> None:
    for s in "12":
        put(tmp_path / "a", f"sub-{s}/anat/sub-{s}_T1w.nii.gz")
        (tmp_path / f"a/sub-{s}/anat/sub-{s}_T1w.nii.gz").write_text(s)
    (tmp_path / "a/participants.tsv").write_text(PARTICIPANTS)
    path = cohorts_file(tmp_path, a='source = "bids"')
    (listing,) = survey(read_cohorts(path), store, PreprocessSettings())
    (note, _) = listing.notes[0]
    assert "'group': control (1), patient (1)" in note


@pytest.mark.parametrize(
    ("name", "source", "fits"),
    [
        ("sub-1/anat/sub-1_T1w.nii.gz", "ixi", "bids"),
        ("HGG/x/x_t1.nii.gz", "atlas", "brats"),
        ("IXI-T1/IXI002-Guys-0828-T1.nii.gz", "bids", "ixi"),
    ],
)
def test_a_layout_that_is_not_recognised_is_answered_with_the_source_that_fits(
    tmp_path: Path, store: Storage, name: str, source: str, fits: str
) -> None:
    put(tmp_path / "a", name)
    path = cohorts_file(tmp_path, a=f'source = "{source}"')
    with pytest.raises(SourceError, match=f"holds {name}; source = '{fits}' would find 1 scan$"):
        survey(read_cohorts(path), store, PreprocessSettings())


def test_a_root_one_folder_too_high_is_answered_with_the_right_one(
    tmp_path: Path, store: Storage
) -> None:
    put(tmp_path / "a", "rawdata/sub-1/anat/sub-1_T1w.nii.gz")
    path = cohorts_file(tmp_path, a='source = "bids"')
    with pytest.raises(SourceError, match=r"root = '.*/a/rawdata' with source = 'bids' would find"):
        survey(read_cohorts(path), store, PreprocessSettings())


def test_what_is_marked_in_a_file_of_reviews_is_named_as_left_out_and_makes_another_cohort(
    tmp_path: Path, store: Storage
) -> None:
    put(tmp_path / "a", *(f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in "123"))
    for s in "123":
        (tmp_path / f"a/sub-{s}/anat/sub-{s}_T1w.nii.gz").write_text(s)
    out = Review(mark="exclude")
    marked = {"a": {"2": out, "3": Review(mark="unsure"), "gone": out}, "b": {"1": out}}
    change_reviews(tmp_path / "reviews.json", lambda _: Reviews(subjects=marked))
    settings = PreprocessSettings()
    (every,) = survey(read_cohorts(cohorts_file(tmp_path, a='source = "bids"')), store, settings)
    text = 'source = "bids"\nexclude = "reviews.json"'
    (listing,) = survey(read_cohorts(cohorts_file(tmp_path, a=text)), store, settings)
    assert [task.scan.subject for task in listing.tasks] == ["1", "3"]
    assert listing.key != every.key
    left_out = [item for item in listing.skipped if "reviews.json" in item.reason]
    assert [item.path.name for item in left_out] == ["sub-2_T1w.nii.gz"]
