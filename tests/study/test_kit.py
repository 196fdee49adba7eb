"""What a paper needs, in a folder and in an archive."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest

from datasets.storage import Storage
from study.records.studies import StudyStore
from study.report.bibliography import ENTRIES
from study.report.formats import SYNTHETIC
from study.report.kit import README, kit_files, zipped
from study.report.methods import gather
from study.report.references import _NEEDED, bibtex, references_of
from study.report.report import Report, as_csv, as_latex, make_report
from tests.calls import Call
from tests.study.figures import written_study
from tests.study.test_latex import faults_of_latex


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kit")


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyStore:
    return written_study(folder)


@pytest.fixture(scope="module")
def files(folder: Path, study: StudyStore) -> dict[str, bytes]:
    return kit_files(Storage.open(str(folder)), study, _report(study))


def _report(study: StudyStore, **change: object) -> Report:
    record = study.study()
    assert record is not None
    return make_report(study, record.model_copy(update=change))


def test_the_command_writes_the_kit_whole_and_leaves_the_store_as_it_was(
    call: Call, folder: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    out = tmp_path / "a paper" / "kit"
    out.mkdir(parents=True)
    (out / "table1.csv").write_text("older")  # what is there is replaced
    outcome = call("report", "--store", folder, "--out", out)
    assert outcome.status == 0, outcome.err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == files
    assert f"{len(files)} files in" in outcome.out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_the_readme_tells_of_every_file_and_of_what_it_was_made(
    files: dict[str, bytes], study: StudyStore
) -> None:
    readme = files[README].decode()
    for name in set(files) - {README}:
        assert f"  {name} " in readme or f"  {name.rpartition('.')[0]}.* " in readme, name
    listed = re.findall(r"(?m)^  (\S+\.\S+) ", readme.split("Made from")[0])
    assert len(listed) == len(set(listed))
    for name in listed:
        stem = name.removesuffix("*")
        assert any(known.startswith(stem) for known in files), name
    assert SYNTHETIC in readme
    record = study.study()
    assert record is not None
    for fact in (record.study, record.updated[:10], record.provenance.python):
        assert fact in readme
    for cohort in record.cohorts:
        assert f"{cohort.name} {cohort.modality}" in readme


def test_each_file_is_what_the_command_prints(files: dict[str, bytes], study: StudyStore) -> None:
    report = _report(study)
    assert files["table1.csv"].decode() == as_csv(report)
    assert files["table1.tex"].decode() == as_latex(report)
    assert faults_of_latex(files["table1.tex"].decode()) == []
    assert "ROC-AUC over brain pixels" in files["table1.txt"].decode()
    assert "CLAIM 2024" in files["checklist.txt"].decode()
    assert "subjects:" in files["flow.txt"].decode()
    for name in ("table1.txt", "methods.txt", "checklist.txt"):
        assert "ynthetic phantom" in files[name].decode()
    for name in ("figure2", "figure3", "figure4"):
        assert files[f"{name}.pdf"].startswith(b"%PDF-")
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert b"<svg" in files[f"{name}.svg"]
        assert "n = " in files[f"{name}.txt"].decode()


def test_what_the_methods_cite_is_in_the_bibliography_and_nothing_else(
    files: dict[str, bytes],
) -> None:
    (told,) = re.findall(r"To be cited \(references.bib\): (.*)\.", files["methods.txt"].decode())
    keys = re.findall(r"(?m)^@\w+\{(\w+),$", files["references.bib"].decode())
    assert told.split(", ") == keys
    assert {"sato2019", "vanleemput2001", "kingma2014", "tejani2024"} <= set(keys)
    assert not {"ixi", "liew2018", "menze2015", "mao2020", "li2020"} & set(keys)


def test_references_follow_the_data_and_the_models(study: StudyStore, folder: Path) -> None:
    record = study.study()
    assert record is not None
    sources = ("ixi", "atlas", "brats", "bids", "bids")
    real = tuple(
        cohort.model_copy(update={"source": source, "synthetic": False})
        for cohort, source in zip(record.cohorts, sources, strict=False)
    )
    trials = tuple(t for t in record.trials if t.spec.model in ("ae", "intensity"))
    report = _report(study, cohorts=real, trials=trials, searches=(), synthetic=False)
    methods = gather(Storage.open(str(folder)), report)
    keys = {reference.key for reference in references_of(report, methods)}
    assert {"ixi", "liew2018", "menze2015", "bakas2017", "kingma2015"} <= keys
    assert not {"vanleemput2001", "kingma2014", "akiba2019"} & keys


def test_every_entry_is_sound_bibtex() -> None:
    assert len({reference.key for reference in ENTRIES}) == len(ENTRIES) == len(_NEEDED)
    text = bibtex(ENTRIES)
    assert text.isascii()
    for entry in text.strip().split("\n\n"):
        assert entry.count("{") == entry.count("}")
        assert re.match(r"@(article|inproceedings|misc)\{\w+,\n", entry)
        fields = dict(re.findall(r"(?m)^  (\w+) = \{(.*)\},$", entry))
        assert {"author", "title"} <= set(fields)
        assert ("journal" in fields) == entry.startswith("@article")
        assert not re.search(r"(?<!\\)[&%$#_]", fields["title"] + fields["author"])
        if "doi" in fields:
            assert re.fullmatch(r"10\.\d{4,}/\S+", fields["doi"])


def test_an_archive_has_one_folder_and_the_same_bytes_each_time(files: dict[str, bytes]) -> None:
    data = zipped(files, "a-study")
    assert data == zipped(dict(reversed(files.items())), "a-study")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {f"a-study/{name}": content for name, content in files.items()}


def test_a_folder_that_cannot_be_made_and_options_that_do_not_fit_are_told(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    outcome = call("report", "--store", folder, "--out", tmp_path / "file")
    assert outcome.status == 2
    assert "cannot write what a paper needs to" in outcome.err.replace("\n", " ")
    for more in (["--figures", str(tmp_path)], ["--methods"], ["--format", "csv"]):
        outcome = call("report", "--store", folder, "--out", tmp_path / "new", *more)
        assert outcome.status == 2
        assert "--out" in outcome.err
    assert not (tmp_path / "new").exists()


def test_a_study_without_results_has_a_kit_without_figures(
    local_study: StudyStore, study: StudyStore
) -> None:
    record = study.study()
    assert record is not None
    local_study.write_study(record)
    report = make_report(local_study, record)
    store = Storage.open(local_study.storage.uri.removesuffix(f"/studies/{local_study.name}"))
    files = kit_files(store, local_study, report)
    assert not any(name.startswith("figure") for name in files)
    assert "No figure can be drawn" in files[README].decode()
    assert "Each figure is there" not in files[README].decode()
