"""The sentences that captions share, made of the records."""

from __future__ import annotations

from study.report.figures.material import Column, Line, Material, ShownSubject
from study.report.figures.style import SYNTHETIC
from study.terminal import one_line

ORIENTATION = "The patient's left is on the left."


def caption(title: str, sentences: list[str], material: Material) -> str:
    """A caption as it is written beside its figure."""
    marked = [f"{SYNTHETIC}."] if material.report.synthetic else []
    return one_line(" ".join([f"{title}.", *marked, *sentences, made_with(material)])) + "\n"


def made_with(material: Material) -> str:
    """Study, grid, day, code and packages."""
    report = material.report
    provenance = report.record.provenance
    revision = provenance.git_revision
    told = [f"Study {report.study}, grid {report.grid}, last run {report.record.updated[:10]}"]
    told += [f"revision {revision}"] if revision else []
    wanted = ("torch", "numpy", "scikit-learn")
    packages = provenance.packages
    told += [f"{name} {packages[name]}" for name in wanted if name in packages]
    return f"{', '.join(told)}."


def row_name(material: Material, line: Line, column: Column) -> str:
    """A row of table 1 with its best setting: ``VAE E (8, 64)``."""
    setting = material.cell(line, column).setting.table_text
    return f"{material.table.names.short_line(*line)} {setting}".strip()


def seeds_sentence(material: Material, lines: list[Line], column: Column) -> list[str]:
    """That maps are those of one seed, where there are several."""
    n = max(len(material.seeds(line, column)) for line in lines)
    return ["Of several seeds the first is shown."] if n > 1 else []


def subject_words(shown: ShownSubject) -> str:
    """A subject with its lesion volume and its own AUC, as far as they are known."""
    told = [f"{shown.volume_ml:.1f} ml"] if shown.volume_ml is not None else []
    told += [f"AUC {shown.auc:.3f}"] if shown.auc is not None else []
    return f"{shown.subject} ({', '.join(told)})" if told else shown.subject


def choice_sentence(material: Material, column: Column, n_kept: int) -> str:
    """By what the subject in the middle is chosen."""
    by = "lesion volume" if material.volumes_ml(column) else "number of lesion pixels"
    return (
        f"the median by {by} of the {n_kept} subjects whose maps are kept, which are spread evenly "
        "over the test set (of an even number, the smaller of the two in the middle)"
    )


def bar_sentence(pixel_mm: float | None) -> str:
    """What the scale bar is, or why there is none."""
    if pixel_mm is None:
        return "No scale bar: the prepared scans, which tell the size of a pixel, are not there."
    return f"Scale bar: 20 mm; a pixel is {pixel_mm:.2f} mm wide."
