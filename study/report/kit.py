"""Everything that a paper about a study needs, in one folder or one archive.

Table 1, figures 2 to 4, the methods, the flow of scans, the checklist, the bibliography, and a
README that says what each file is.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

from datasets.storage import Storage
from study.records.studies import StudyStore
from study.report.bibliography import Reference
from study.report.claim import answered, claim_table
from study.report.formats import SYNTHETIC
from study.report.markdown import as_markdown
from study.report.methods import Methods, gather
from study.report.methods_text import flow_lines, paragraph
from study.report.references import bibtex, references_of
from study.report.report import Report, as_csv, as_latex, print_report
from study.terminal import WIDE, PlainConsole, counted

README = "README.txt"

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that an archive can tell: the same content gives the same bytes."""

_TOLD = {
    "table1.txt": "table 1 as the command prints it, with what its signs mean",
    "table1.csv": "table 1 of both regions, a line a cell, with full precision",
    "table1.tex": "table 1 over brain pixels as LaTeX, for booktabs and graphicx",
    "table1.md": "table 1 over brain pixels as Markdown",
    "methods.txt": "the methods as a paragraph, and the keys of what to cite with it",
    "methods.json": "the numbers that the paragraph is made of",
    "flow.txt": "what became of the files and scans of each cohort",
    "checklist.txt": "CLAIM 2024: what the records answer, and what the authors have to state",
    "references.bib": "what the methods cite, as BibTeX; compare it with the originals",
}
_FIGURES = {
    "figure2": "how a slice becomes a score",
    "figure3": "ROC curves of the best settings",
    "figure4": "score maps",
}
_ENDINGS = (
    "Each figure is there as .pdf for print, as .svg for editing, as .png of 300 dots an inch, and "
    "as .txt with its caption: what it shows, the number of subjects, and what it was made with."
)


def kit_files(store: Storage, study: StudyStore, report: Report) -> dict[str, bytes]:
    """All files of the kit by name.

    Not for several threads at once, as the style of matplotlib is one for all.

    Args:
        store: The store that the study lies in.
        study: The study.
        report: Its report.

    Raises:
        StorageError: If the store cannot be read.
    """
    from study.report.figures.write import figure_files  # matplotlib takes seconds to import

    methods = gather(store, report)
    references = references_of(report, methods)
    figures = figure_files(store, study, report)
    texts = {
        "table1.txt": _printed(report),
        "table1.csv": as_csv(report),
        "table1.tex": as_latex(report),
        "table1.md": as_markdown(report) + "\n",
        "methods.txt": _methods(methods, references),
        "methods.json": methods.as_json() + "\n",
        "flow.txt": "\n".join(flow_lines(methods)) + "\n",
        "checklist.txt": _checklist(methods),
        "references.bib": bibtex(references),
    }
    files = {name: text.encode() for name, text in texts.items()} | figures.files
    files[README] = _readme(report, methods, files, figures.left_out).encode()
    return files


def zipped(files: dict[str, bytes], folder: str) -> bytes:
    """Files as an archive in which all of them lie in one folder; the same bytes each time.

    Args:
        files: Their content by name.
        folder: Name of the folder in the archive.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return sink.getvalue()


def _printed(report: Report) -> str:
    console, sink = _paper()
    print_report(report, console)
    return sink.getvalue()


def _checklist(methods: Methods) -> str:
    console, sink = _paper(120)
    if methods.synthetic:
        console.print(SYNTHETIC)
    console.print(claim_table(answered(methods)))
    return sink.getvalue()


def _paper(width: int = WIDE) -> tuple[PlainConsole, io.StringIO]:
    """A console that writes plain text, and what it writes to."""
    sink = io.StringIO()
    return PlainConsole(file=sink, width=width, no_color=True, highlight=False), sink


def _methods(methods: Methods, references: Iterable[Reference]) -> str:
    keys = ", ".join(reference.key for reference in references)
    return f"{paragraph(methods)}\n\nTo be cited (references.bib): {keys}.\n"


def _readme(report: Report, methods: Methods, files: Iterable[str], left_out: Iterable[str]) -> str:
    """What each file is, and what all of them were made of."""
    record = report.record
    lines = [f"What a paper about the study {report.study} needs.", ""]
    lines += [SYNTHETIC, ""] if report.synthetic else []
    names = dict.fromkeys(_listed_as(name) for name in sorted(files))
    lines += [f"  {name:<24} {_what(name)}" for name in names]
    lines += ["", _ENDINGS] if any(name.endswith(".*") for name in names) else []
    lines += ["", *left_out] if left_out else []
    lines += ["", "Made from"]
    trials = report.trials
    facts = {
        "study": f"{report.study}, grid {report.grid}",
        "first and last run": f"{record.created[:10]}, {record.updated[:10]}",
        "trials": f"{trials.done:,} of {trials.planned:,} done, {trials.failed:,} failed",
        "revision": methods.revision or "not told",
        "Python": methods.python or "not told",
        **methods.packages,
    }
    lines += [f"  {name:<24} {value}" for name, value in facts.items()]
    for flow in methods.cohorts:
        n = f"{counted(flow.n_subjects, 'subject')}, {counted(flow.n_scans, 'scan')}"
        lines.append(f"  {flow.name:<24} {flow.role}, n = {n}")
    return "\n".join([*lines, ""])


def _listed_as(name: str) -> str:
    """How a file is listed: those of one figure together."""
    return name if name in _TOLD else f"{name.rpartition('.')[0]}.*"


def _what(name: str) -> str:
    """What a file of the kit is, or the files of a figure."""
    if name in _TOLD:
        return _TOLD[name]
    figure, _, column = name.removesuffix(".*").partition("_")
    return f"{_FIGURES[figure]}{f', {column}' if column else ''}"
