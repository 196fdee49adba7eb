"""What of the checklist CLAIM 2024 the records answer, item by item.

The items are told by their numbers and in our own words; the checklist itself is Tejani et al.,
Radiology: Artificial Intelligence 2024. Where the records know nothing, the authors have to say it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from study.report.methods import Methods
from study.report.methods_text import flow_lines, prepared, sizes, trained
from study.report.stopped import cut_by_asha
from study.terminal import counted

YOU_MUST_STATE = "you must state"

Answer = Callable[[Methods], str]


@dataclass(frozen=True)
class Item:
    """An item of the checklist.

    Attributes:
        number: Its number in CLAIM 2024.
        section: Of a paper.
        asks: What it asks for, in our words.
        answer: What the records know of it; nothing if they know nothing.
        is_whole: Whether that is all that is asked; else the authors have to add to it.
    """

    number: int
    section: str
    asks: str
    answer: Answer | None = None
    is_whole: bool = False


@dataclass(frozen=True)
class Answered:
    """An item with what is known of it.

    Attributes:
        number: Its number in CLAIM 2024.
        section: Of a paper.
        asks: What it asks for, in our words.
        known: What the records know; empty if nothing.
        is_open: Whether the authors have to state something.
    """

    number: int
    section: str
    asks: str
    known: str
    is_open: bool

    @property
    def text(self) -> str:
        """What is known, and whether that is not all."""
        if not self.is_open:
            return self.known
        return f"{self.known} And {YOU_MUST_STATE} the rest." if self.known else YOU_MUST_STATE


def answered(methods: Methods) -> list[Answered]:
    """All items, with what the records of a study know of each."""
    found = []
    for item in ITEMS:
        known = item.answer(methods) if item.answer else ""
        is_open = not (item.is_whole and known)
        found.append(Answered(item.number, item.section, item.asks, known, is_open))
    return found


def claim_table(items: list[Answered]) -> Table:
    """The items for a terminal."""
    printed = Table(title="CLAIM 2024, in our own words; compare with the original")
    for head in ("item", "section", "asks for", "what the records say"):
        printed.add_column(head, justify="right" if head == "item" else "left", overflow="fold")
    for item in items:
        printed.add_row(str(item.number), item.section, item.asks, item.text)
    return printed


def _technology(methods: Methods) -> str:
    models = ", ".join(training.model for training in methods.trainings)
    return f"Unsupervised anomaly segmentation of brain MRI by {models}."


def _sources(methods: Methods) -> str:
    names = (f"{f.name} ({f.role}, read as {f.source})" for f in methods.cohorts)
    synthetic = " All or some of it is a synthetic phantom." if methods.synthetic else ""
    return f"{'; '.join(names)}.{synthetic}"


def _flow(methods: Methods) -> str:
    return " ".join(line.strip() + "." for line in flow_lines(methods))


def _partitions(methods: Methods) -> str:
    withheld = methods.validation_percent
    use = "only measure a loss and false alarms"
    share = f", {withheld:g} % of whose subjects {use}" if withheld else ""
    return f"By cohort: {sizes(methods, 'train')} for training{share}; {sizes(methods, 'test')}."


def _disjoint(methods: Methods) -> str:
    return (
        "Subjects, as far as cohorts share none: a cohort trains, tests or tells false alarms, "
        "healthy subjects are withheld whole, and the same image in cohorts of different roles is "
        "refused."
    )


def _missing(methods: Methods) -> str:
    n = sum(sum(flow.set_aside.values()) for flow in methods.cohorts)
    return (
        "A scan that is not sound or has no mask where one is needed is set aside: "
        f"{counted(n, 'scan')}. Nothing is imputed."
    )


def _software(methods: Methods) -> str:
    told = [f"Python {methods.python}"] if methods.python else []
    told += [f"{name} {version}" for name, version in methods.packages.items()]
    told += [f"revision {methods.revision} of this software"] if methods.revision else []
    return f"{', '.join(told)}." if told else ""


def _models(methods: Methods) -> str:
    size = methods.preprocessing.size_px if methods.preprocessing else None
    shape = f"One-channel axial slices of {size} x {size} pixels in, a" if size else "A"
    models = ", ".join(training.model for training in methods.trainings)
    return f"{shape} map of each score out, by {models}."


def _initialised(methods: Methods) -> str:
    seeds = max((training.seeds for training in methods.trainings), default=0)
    return f"By the seed in each trial's record, at most {seeds} a setting."


def _trained(methods: Methods) -> str:
    return " ".join(trained(methods))


def _selected(methods: Methods) -> str:
    told = (
        f"By the {methods.selection}, as in the paper that is reproduced; that is optimistic, and "
        "has to be said where the figures are."
    )
    return " ".join([told, *cut_by_asha(methods.stopped)[:1]])


def _metrics(methods: Methods) -> str:
    return (
        f"{methods.estimand}; average precision and best Dice beside it. At thresholds that mark "
        "1, 5 and 10 % of the brain pixels of healthy subjects: sensitivity, Dice, false volume a "
        "scan and lesions found."
    )


def _uncertainty(methods: Methods) -> str:
    if methods.level_percent is None:
        return ""
    return f"Intervals of {methods.level_percent} % by leaving out one subject at a time."


def _robustness(methods: Methods) -> str:
    seeds = max((training.seeds for training in methods.trainings), default=0)
    spread = f"The spread over {seeds} seeds is in table 1." if seeds > 1 else ""
    return f"Every setting of the grid is in the report's JSON. {spread}".strip()


def _maps(methods: Methods) -> str:
    return "Score maps, reconstructions and predicted deviations: figures 2 and 4."


def _external(methods: Methods) -> str:
    names = [flow.name for flow in methods.of_role("test")]
    return f"The test sets are cohorts that were not trained on: {', '.join(names)}."


def _performance(methods: Methods) -> str:
    return "Table 1 and figure 3."


def _examples(methods: Methods) -> str:
    return "Figure 4 shows the worst subject of those whose maps are kept."


def _available(methods: Methods) -> str:
    return "Specification, record and weights of every trial are in the store."


ITEMS = (
    Item(1, "title", "that it is a study of AI, and of which technology", _technology),
    Item(2, "abstract", "a structured summary of design, methods, results, conclusions"),
    Item(3, "introduction", "the background, and what the method would be used for"),
    Item(4, "introduction", "aims and hypotheses"),
    Item(5, "methods: design", "whether the data were collected beforehand or for the study"),
    Item(6, "methods: design", "the goal, such as exploring, building or comparing"),
    Item(7, "methods: data", "where the data come from", _sources),
    Item(8, "methods: data", "who and what was included and excluded, and why", _flow),
    Item(
        9,
        "methods: data",
        "each step of preprocessing",
        lambda m: " ".join(prepared(m)),
        is_whole=True,
    ),
    Item(10, "methods: data", "how parts of the data were selected, if they were"),
    Item(11, "methods: data", "how the data were de-identified"),
    Item(12, "methods: data", "what was done about missing data", _missing, is_whole=True),
    Item(13, "methods: data", "how the images were acquired"),
    Item(14, "methods: reference", "what counts as the truth and how it was found"),
    Item(15, "methods: reference", "why that was taken"),
    Item(16, "methods: reference", "who or what drew it"),
    Item(17, "methods: reference", "how the test set was annotated"),
    Item(18, "methods: reference", "how far those who drew it agree"),
    Item(19, "methods: partitions", "how the data were divided, with shares", _partitions, True),
    Item(20, "methods: partitions", "at which level the parts share nothing", _disjoint),
    Item(21, "methods: testing", "the intended size of the test set and its reason"),
    Item(22, "methods: model", "the model with its inputs and outputs", _models),
    Item(23, "methods: model", "software, versions, hardware", _software),
    Item(24, "methods: model", "how its parameters began", _initialised),
    Item(25, "methods: training", "how it was trained, and how many were", _trained, True),
    Item(26, "methods: training", "how the final model was chosen", _selected, is_whole=True),
    Item(27, "methods: training", "how models were combined", lambda m: "None were.", True),
    Item(28, "methods: evaluation", "by which figures it is measured", _metrics, is_whole=True),
    Item(29, "methods: evaluation", "significance and uncertainty", _uncertainty),
    Item(30, "methods: evaluation", "robustness and sensitivity", _robustness),
    Item(31, "methods: evaluation", "how its results are explained", _maps),
    Item(
        32,
        "methods: evaluation",
        "evaluation on data of the kind that it was trained on",
        lambda m: "None: the training cohorts have no lesions.",
    ),
    Item(33, "methods: evaluation", "testing on data from elsewhere", _external),
    Item(34, "methods: evaluation", "registration of a clinical trial, if it is one"),
    Item(35, "results: data", "a flow of who was included and excluded", _flow, is_whole=True),
    Item(36, "results: data", "age, sex and disease of the subjects of each part"),
    Item(37, "results: performance", "the figures with their uncertainty", _performance),
    Item(38, "results: performance", "diagnostic performance and its precision"),
    Item(39, "results: performance", "where it fails", _examples),
    Item(40, "discussion", "limitations, bias and how far the results carry"),
    Item(41, "discussion", "what it means for practice"),
    Item(42, "other", "where the full protocol is"),
    Item(43, "other", "whether software, model and data can be had", _available),
    Item(44, "other", "who paid for it, and what their part was"),
)
