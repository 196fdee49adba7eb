"""``python -m study.prepare`` as a user runs it: killed, interrupted, asked wrongly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from datasets.manifest import CohortManifest, ScanRecord
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.shards import process_scan
from datasets.storage import Storage
from study.prepare.cohorts import read_cohorts
from study.prepare.command import print_summary
from study.prepare.listing import ScanTask, survey


def _start(cohorts: Path, store: Storage, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study.prepare", "--cohorts", str(cohorts)]
    return subprocess.Popen(
        [*command, "--store", store.uri, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A group of its own, as a shell gives a command, so that Ctrl-C reaches Ray as well.
        start_new_session=True,
    )


def _run(cohorts: Path, store: Storage, *options: str) -> tuple[int, str]:
    process = _start(cohorts, store, *options)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def _finished(store: Storage) -> dict[str, tuple[int, int]]:
    """Inode and time of every scan's record."""
    found = {}
    for path in Path(store.full("shards")).glob("scans/*/record.json"):
        status = path.stat()
        found[path.parent.name] = (status.st_ino, status.st_mtime_ns)
    return found


def _wait_for(process: subprocess.Popen[str], store: Storage, count: int) -> None:
    """Until so many scans are finished; the process must still be at it then."""
    while len(_finished(store)) < count:
        try:
            process.wait(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"it ended before {count} scans were finished:\n{process.communicate()[0]}")


def _undisturbed(cohorts: Path, folder: Path) -> tuple[list[ScanTask], dict[str, ScanRecord]]:
    store = Storage.open(str(folder))
    settings = PreprocessSettings()
    tasks = [t for x in survey(read_cohorts(cohorts), store, settings) for t in x.tasks]
    records = [process_scan(t.scan, t.cohort, t.role, settings, t.key, store) for t in tasks]
    return tasks, {record.key: record for record in records}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(
    make_cohorts: Callable[[int, int], Path], store: Storage, number: signal.Signals
) -> None:
    process = _start(make_cohorts(150, 1), store)
    _wait_for(process, store, 1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)  # as a scheduler does
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "The same command goes on from here" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_the_command_mends_reports_and_names_what_it_set_aside(
    make_cohorts: Callable[[int, int], Path], store: Storage, tmp_path: Path
) -> None:
    cohorts = make_cohorts(3, 2)
    scan = tmp_path / "scans" / "stroke" / "sub-s001" / "anat" / "sub-s001_T1w.nii.gz"
    scan.write_bytes(b"no gzip")
    _, records = _undisturbed(cohorts, Path(store.full("x")).parent)
    part = Path(store.full(next(r.part for r in records.values() if r.subject == "h001")))
    part.write_bytes(part.read_bytes()[:-5] + b"wrong")
    status, output = _run(cohorts, store, "--report", str(tmp_path / "pages"))
    assert status == 3, output
    assert f"{part.name}' in the store" in output
    assert "preparing healthy h001 T1w again" in output
    assert f"set aside: stroke s001 T1w: {scan}" in output
    assert "1 of 5 scans were prepared now" in output
    assert sorted(p.name for p in (tmp_path / "pages").iterdir()) == ["healthy.html", "stroke.html"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[cohorts.x]\nsource = 'nope'\nroot = '.'\nrole = 'train'\n", "unknown source 'nope'"),
        ("[cohorts.x]\nsource = 'ixi'\nroot = 'gone'\nrole = 'train'\n", "gone does not exist"),
        ("cohorts", "is no valid TOML"),
    ],
)
def test_wrong_use_ends_with_2_and_one_sentence(
    content: str, words: str, tmp_path: Path, store: Storage
) -> None:
    path = tmp_path / "cohorts.toml"
    path.write_text(content)
    status, output = _run(path, store)
    assert status == 2
    assert words in output
    assert len([line for line in output.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--brain-extractor", "skalpell", "unknown brain extractor 'skalpell'; .*: deepbet, bet"),
        ("--normalisation", "image", "unknown normalisation 'image'; .*: slice, volume"),
        ("--brain-mask", "wide", "unknown brain mask 'wide'; .*: plain, widened"),
    ],
)
def test_a_setting_that_does_not_exist_is_named_with_its_choices_before_any_work(
    make_cohorts: Callable[[int, int], Path], store: Storage, option: str, value: str, words: str
) -> None:
    status, output = _run(make_cohorts(1, 1), store, option, value)
    assert status == 2
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.search(words, errors[0])
    assert not _finished(store)


def test_the_summary_tells_what_slices_lose_of_the_lesions(
    make_cohorts: Callable[[int, int], Path], store: Storage
) -> None:
    cohorts = read_cohorts(make_cohorts(1, 2))
    records = []
    listings = []
    for listing in survey(cohorts, store, PreprocessSettings()):
        done = [
            process_scan(t.scan, t.cohort, t.role, PreprocessSettings(), t.key, store)
            for t in listing.tasks
        ]
        records += done
        manifest = CohortManifest(
            key=listing.key,
            cohort=listing.cohort.name,
            modality=listing.modality,
            role=listing.cohort.role,
            source=listing.cohort.source,
            synthetic=False,
            settings=PreprocessSettings(),
            preprocess_version=PREPROCESS_VERSION,
            records=tuple(done),
        )
        listings.append(replace(listing, manifest=manifest))
    shares = {r.lesion_lost_by_resizing_share for r in records if r.lesion_volume_ml}
    assert len(shares) == 1, "both lesions lie in the same place"
    console = Console(record=True, width=160, file=StringIO())
    print_summary(listings, 3, console)
    table = console.export_text().partition("look at it")[0]  # these heads have no contrast
    (stroke,) = [line for line in table.splitlines() if "stroke" in line]
    assert f"{shares.pop():.1%} + 0.0%" in stroke


def test_a_report_folder_that_cannot_be_made_is_said_before_any_work(
    make_cohorts: Callable[[int, int], Path], store: Storage, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    status, output = _run(make_cohorts(1, 1), store, "--report", str(tmp_path / "file" / "pages"))
    assert status == 2
    assert "cannot make the folder" in output
    assert not _finished(store)
