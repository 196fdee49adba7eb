"""What a paper about a study has to cite, as BibTeX: the paper, its data, methods and software.

Which of them a study needs follows from its records: a reference is there if the methods name it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from study.report.bibliography import ENTRIES, Reference
from study.report.methods import Methods
from study.report.report import Report


@dataclass(frozen=True)
class _Used:
    """What of a study tells which references it needs.

    Attributes:
        models: Names of its models.
        sources: Layouts of its cohorts that are no phantom.
        tools: What told the brain, without versions.
        methods: Its methods.
    """

    models: frozenset[str]
    sources: frozenset[str]
    tools: frozenset[str]
    methods: Methods = field(repr=False)


def references_of(report: Report, methods: Methods) -> tuple[Reference, ...]:
    """The references that a study needs, the paper first.

    Args:
        report: The study's report.
        methods: From :func:`study.report.methods.gather`.
    """
    tools = {tool.split()[0] for flow in methods.cohorts for tool in flow.brain_tools if tool}
    used = _Used(
        frozenset(trial.spec.model for trial in report.record.trials)
        | frozenset(search.spec.model for search in report.searches),
        frozenset(c.source for c in report.record.cohorts if not c.synthetic),
        frozenset(tools),
        methods,
    )
    return tuple(reference for reference in ENTRIES if _NEEDED[reference.key](used))


def bibtex(references: tuple[Reference, ...]) -> str:
    """The content of a ``references.bib``."""
    return "\n\n".join(reference.as_bibtex() for reference in references) + "\n"


def _always(_: _Used) -> bool:
    return True


def _model(*names: str) -> Callable[[_Used], bool]:
    return lambda used: bool(used.models & set(names))


def _source(name: str) -> Callable[[_Used], bool]:
    return lambda used: name in used.sources


def _tool(name: str) -> Callable[[_Used], bool]:
    return lambda used: name in used.tools


def _package(name: str) -> Callable[[_Used], bool]:
    return lambda used: name in used.methods.packages


def _is_trained(used: _Used) -> bool:
    return any(training.optimiser for training in used.methods.trainings)


_NEEDED: dict[str, Callable[[_Used], bool]] = {
    "sato2019": _always,
    "ixi": _source("ixi"),
    "liew2018": _source("atlas"),
    "menze2015": _source("brats"),
    "bakas2017": _source("brats"),
    "fisch2024": _tool("deepbet"),
    "smith2002": _tool("bet"),
    "kingma2014": _model("vae", "vae_fixed"),
    "vanleemput2001": _model("gmm"),
    "mao2020": _model("aeu"),
    "kascenas2022": _model("dae_coarse"),
    "meissen2021": _model("equalized"),
    "kingma2015": _is_trained,
    "li2020": lambda used: bool(used.methods.halving or used.methods.stopped),
    "baur2021": lambda used: bool(used.methods.postprocessings),
    "tsamardinos2018": lambda used: used.methods.n_draws is not None,
    "holm1979": lambda used: used.methods.level_percent is not None,
    "paszke2019": _package("torch"),
    "moritz2018": _package("ray"),
    "liaw2018": _package("ray"),
    "akiba2019": lambda used: any(training.search for training in used.methods.trainings),
    "pedregosa2011": _package("scikit-learn"),
    "harris2020": _package("numpy"),
    "nibabel": _package("nibabel"),
    "tejani2024": _always,
}
"""When each entry is needed."""
