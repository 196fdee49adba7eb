"""The methods of a study as a paragraph, and what became of its scans as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from study.report.formats import SYNTHETIC
from study.report.methods import CohortFlow, Methods, Training
from study.report.stopped import cut_by_asha
from study.terminal import counted
from trainables.description import value_text

NO_SHARDS = (
    "The prepared scans are not in the store, so how they were prepared has to be stated by hand."
)


def paragraph(methods: Methods) -> str:
    """The methods as plain text; every number in it is one of ``methods``."""
    sentences = [
        *([SYNTHETIC] if methods.synthetic else []),
        *_data(methods),
        *prepared(methods),
        *trained(methods),
        *_withheld(methods),
        *_stopped(methods),
        *_measured(methods),
        *_made(methods),
    ]
    return " ".join(sentences)


def flow_lines(methods: Methods) -> list[str]:
    """What became of the files and scans of each cohort."""
    lines = []
    for flow in methods.cohorts:
        lines.append(f"{flow.name} ({flow.role}, read as {flow.source})")
        if flow.files is not None:
            files = flow.files
            lines.append(
                f"  files, of all modalities: {files.below:,} found, {files.used:,} used, "
                f"{files.set_aside:,} set aside, {files.left_out:,} left out"
            )
        lines += [f"    left out: {n:,}: {reason}" for reason, n in flow.left_out.items()]
        n_aside = sum(flow.set_aside.values())
        lines.append(
            f"  scans: {flow.n_scans:,} found, {flow.n_used:,} used, {n_aside:,} set aside"
        )
        lines += [f"    set aside: {n:,}: {reason}" for reason, n in flow.set_aside.items()]
        ill = flow.n_lesion_subjects
        with_lesion = f" ({ill:,} with a lesion)" if ill is not None else ""
        lines.append(f"  subjects: {flow.n_subjects:,}{with_lesion}; slices: {flow.n_slices:,}")
    return lines


def as_text(methods: Methods) -> str:
    """The paragraph, and below it the flow of scans."""
    return "\n".join([paragraph(methods), "", "What became of the scans", *flow_lines(methods)])


def _data(methods: Methods) -> list[str]:
    healthy = sizes(methods, "healthy")
    sentences = [
        f"Models were trained on healthy scans alone ({sizes(methods, 'train')}), one for each "
        f"modality, and tested on every test set of that modality ({sizes(methods, 'test')})."
    ]
    if healthy:
        sentences.append(f"Scans without lesions that were not trained on: {healthy}.")
    sentences += [
        f"Lesions of {flow.name} have {flow.lesion_ml[0]} to {flow.lesion_ml[2]} ml, "
        f"{flow.lesion_ml[1]} on the median."
        for flow in methods.of_role("test")
        if flow.lesion_ml
    ]
    return sentences


def sizes(methods: Methods, role: str) -> str:
    """The cohorts of a role with their numbers of subjects and slices."""
    return _listed(_size(flow) for flow in methods.of_role(role))


def _size(flow: CohortFlow) -> str:
    return f"{flow.name}: {counted(flow.n_subjects, 'subject')}, {counted(flow.n_slices, 'slice')}"


def prepared(methods: Methods) -> list[str]:
    """How scans became slices."""
    done = methods.preprocessing
    if done is None:
        return [NO_SHARDS]
    tools: dict[str, int] = {}
    for flow in methods.cohorts:
        for tool, n in flow.brain_tools.items():
            tools[tool] = tools.get(tool, 0) + n
    by_tool = _listed(f"{tool}: {counted(n, 'scan')}" for tool, n in tools.items())
    versions = _listed(str(v) for v in done.versions)
    mask = f", and the tool's mask is {done.brain_mask}"
    mask += " beside lesions that are far darker than the other side" * (
        done.brain_mask == "widened"
    )
    return [
        f"In each scan the brain was told ({by_tool}; {done.brain_extractor} for whole heads"
        f"{mask}), cropped to a square and resized to {done.size_px} x {done.size_px} pixels; each "
        f"{done.normalisation} was divided by the median intensity of its brain, and axial slices "
        f"whose brain covers less than {done.least_brain_percent:g} % of the image were left out "
        f"(version {versions} of the preprocessing)."
    ]


def trained(methods: Methods) -> list[str]:
    """How the models were trained, a sentence for those that were trained alike."""
    return [_trained(alike) for alike in _alike(methods.trainings)]


def _alike(trainings: Iterable[Training]) -> list[list[Training]]:
    """Trainings that differ in nothing but their model, together."""
    groups: dict[str, list[Training]] = {}
    for training in trainings:
        groups.setdefault(repr(replace(training, model="")), []).append(training)
    return list(groups.values())


def _trained(alike: Sequence[Training]) -> str:
    training = alike[0]
    each = " each" if len(alike) > 1 else ""
    models = ", ".join(some.model for some in alike)
    words = [f"{models}: {counted(training.n_trials, 'trial')}{each}"]
    words += [f"{name} {_values(values)}" for name, values in training.varied.items()]
    if training.search:
        words.append(f"chosen by {training.search} for each test set")
    if training.optimiser:
        words.append(_optimised(training))
    words.append(f"{counted(training.seeds, 'seed')} a setting")
    return f"{', '.join(words)}."


def _optimised(training: Training) -> str:
    told = training.optimiser
    rate = f"Adam with a learning rate of {_values(told.get('learning_rate', ()))}"
    schedules = told.get("schedule", ())
    if schedules == ("decay",):
        rate += ", which decays linearly to zero over the last third of the steps"
    elif schedules:
        rate += f" (schedule {_values(schedules)})"
    words = [
        f"{_values(training.epochs)} epochs in batches of {_values(told['batch_size'])} slices"
    ]
    words.append(rate)
    if "weight_decay" in told:
        words.append(f"L2 weight decay {_values(told['weight_decay'])}")
    return ", ".join(words)


def _withheld(methods: Methods) -> list[str]:
    if not methods.validation_percent:
        return []
    use = "decides nothing"
    if methods.stopped or methods.halving:
        use = "decides on nothing but which networks are stopped early"
    return [
        f"Of the healthy subjects {methods.validation_percent:g} % were withheld for a validation "
        f"loss that {use}."
    ]


def _stopped(methods: Methods) -> list[str]:
    """That the grid was cut, which changes what was chosen from."""
    if not methods.stopped and methods.halving is None:
        return []
    rule = ""
    if methods.halving is not None:
        rule = f", by which one of {methods.halving.reduction_factor} goes on from each rung"
    told = cut_by_asha(methods.stopped) or ["No network was stopped."]
    return [
        "Networks were stopped early by asynchronous successive halving (ASHA; Li et al., MLSys "
        f"2020) on the validation loss within a model and modality{rule}.",
        *told[:1],
    ]


def _measured(methods: Methods) -> list[str]:
    counts = methods.trials
    chosen = _listed(f"{name}: {n:,}" for name, n in methods.n_settings.items())
    sentences = [
        f"Of {counted(counts.planned, 'trial')} {counts.done:,} are done and "
        f"{counts.failed:,} failed.",
        f"The estimand is the {methods.estimand}.",
        "For each row and test set the setting with the highest mean over its seeds was chosen on "
        f"the test set itself, out of at most as many settings as these: {chosen}. Choice and "
        "figure are of the same subjects, so the figures are too high on the average.",
    ]
    if methods.level_percent is None:
        sentences.append("No confidence intervals were computed.")
    else:
        sentences.append(
            f"Intervals of {methods.level_percent} % are of the subjects: each is left out once "
            "(jackknife), on the logit scale, with Student's t."
        )
        sentences += _tests(methods)
    if methods.n_draws is not None:
        sentences.append(
            "Beside each figure stands what the choice is worth on subjects that did not make it: "
            f"the mean over {methods.n_draws} draws of subjects with repetition (bootstrap bias "
            f"correction), and over {methods.n_splits} splits into halves."
        )
    if methods.postprocessings:
        sentences.append(
            "The settings chosen were evaluated on post-processed score maps as well, each scan as "
            f"a volume and within its brain ({_listed(methods.postprocessings)}): a median filter, "
            "and at every threshold only components of voxels that touch by a face, edge or corner "
            "and are large enough."
        )
    return sentences


def _tests(methods: Methods) -> list[str]:
    """The families of tests, of which intervals are a condition."""
    said = (
        "Rows of a test set were compared on the same subjects by leaving each out once, on the "
        "difference of their logits: the highest with every other, with Holm's correction"
    )
    if any(training.model == "VAE" for training in methods.trainings):
        said += (
            "; as the primary family, the order U < SE < L < E of the VAE's scores in fixed "
            "sequence, at the same level"
        )
    return [f"{said}. The tests know nothing of the choice of the settings."]


def _made(methods: Methods) -> list[str]:
    told = [f"revision {methods.revision} of the code"] if methods.revision else []
    told += [f"Python {methods.python}"] if methods.python else []
    told += [f"{name} {version}" for name, version in methods.packages.items()]
    arithmetic = f"Networks computed in {methods.precision}." if methods.precision else ""
    made = f"Made with {_listed(told)}." if told else ""
    return [sentence for sentence in (arithmetic, made) if sentence]


def _values(values: Iterable[Any]) -> str:
    return " or ".join(value_text(value) for value in values)


def _listed(words: Iterable[str]) -> str:
    return "; ".join(words)
