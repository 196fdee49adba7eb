"""The pages of ``docs/`` say what is so: they are compared with the code."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import BaseModel

from datasets import shards
from datasets.checksums import ChecksumCache
from datasets.manifest import CohortManifest, FileCounts, ScanRecord, SubjectInfo
from datasets.retries import write_retries
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.records import halving, heartbeats, index, statistics, types
from study.trials.checkpoints import HISTORY_SCHEMA
from tests.markdown import Section, sections
from trainables import tables
from trainables.description import DetectorInfo, Score, Setting
from trainables.detector import Detector, StepMetrics, score_names
from trainables.models import intensity
from trainables.network_detector import AnyNetworkDetector
from trainables.postprocess import Postprocessing
from trainables.registry import detector_class, model_names
from trainables.showcase import Showcase
from trainables.spec import TrialSpec
from trainables.testing import healthy_slices

ROOT = Path(__file__).parents[2]
STORE = (ROOT / "docs/store.md").read_text(encoding="utf-8")

TRIAL = "studies/STUDY/trials/TRIAL_ID"
MODELS: dict[str, type[BaseModel]] = {
    "`shards/scans/SCAN_KEY/record.json`": ScanRecord,
    "`shards/COHORT_KEY/manifest.json`": CohortManifest,
    "`settings` of a manifest": PreprocessSettings,
    "`files` of a manifest": FileCounts,
    "`subjects` of a manifest": SubjectInfo,
    "`studies/STUDY/study.json`": types.StudyRecord,
    "An entry of `cohorts`": types.CohortInfo,
    "An entry of `trials`": types.PlannedTrial,
    "An entry of `evals`": types.PlannedEval,
    "An entry of `searches`": types.PlannedSearch,
    "`spec`": TrialSpec,
    "`provenance`": types.Provenance,
    "`studies/STUDY/progress.json`": heartbeats.Progress,
    "`studies/STUDY/copies/COPY.json`": types.CopyRecord,
    "An entry of `running`": heartbeats.RunningTrial,
    f"`{TRIAL}/manifest.json`": types.FitRecord,
    f"`{TRIAL}/checkpoint.json`": types.Checkpoint,
    f"`{TRIAL}/eval/EVAL_ID/manifest.json`": types.EvalRecord,
    "An entry of `parts`": types.Part,
    "`failure`": types.Failure,
    "`postprocessing`": Postprocessing,
    "`stopped`": halving.Stop,
    "`halving`": halving.Halving,
}
CLASSES: dict[str, type[Any]] = {
    "An entry of `detectors`": DetectorInfo,
    "An entry of `scores`": Score,
    "An entry of `settings`": Setting,
}
SCHEMAS: dict[str, pa.Schema] = {
    "`shards/scans/SCAN_KEY/slices-DIGEST.parquet`": shards.SCHEMA,
    "`studies/STUDY/index.parquet`": index.SCHEMA,
    "`studies/STUDY/statistics.parquet`": statistics.SCHEMA,
    "Part `history.parquet`": HISTORY_SCHEMA,
    "Part `metrics.parquet`": tables.METRICS_SCHEMA,
    "Part `roc.parquet`": tables.ROC_SCHEMA,
    "Part `subjects.parquet`": tables.SUBJECTS_SCHEMA,
    "Part `slices.parquet`": tables.SLICES_SCHEMA,
    "Part `lesions.parquet`": tables.LESIONS_SCHEMA,
}
HEATMAPS = "Part `heatmaps.parquet`"
FILES = ("`shards/retries.json`", "`shards/checksums.json`")
STATES = {
    "Part `state.safetensors` of a network": [
        name for name in model_names() if issubclass(detector_class(name), AnyNetworkDetector)
    ],
    "Part `state.safetensors` of `gmm`": ["gmm"],
    "Part `state.safetensors` of `intensity`": [
        name for name in model_names() if issubclass(detector_class(name), intensity.Model)
    ],
}


def _study_packages() -> set[str]:
    folders = (path.parent for path in (ROOT / "study").glob("*/__init__.py"))
    return {f"study/{folder.name}" for folder in folders}


def _pages() -> list[str]:
    return sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))


def tree_paths(text: str) -> Iterator[str]:
    """The paths of a drawn tree: names stand two spaces to the right of their folder's."""
    folders: list[tuple[int, str]] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        names = re.match(r"(\S+(?: \S+)*?)(?:  |$)", line.strip())
        assert names, line
        folders = [(d, folder) for d, folder in folders if d < depth]
        above = folders[-1][1] if folders else ""
        for name in names[1].split(" "):
            yield above + name
            if name.endswith("/"):
                folders.append((depth, above + name))


def tables() -> dict[str, Section]:
    return {section.title: section for section in sections(STORE) if section.table}


def described(title: str, kind: str) -> list[str]:
    """The first column of a section's table, without its marks."""
    section = tables()[title]
    assert section.table[0][0] == kind, f"{title}: the first column is called {kind!r}"
    return [row[0].strip("`") for row in section.table[1:]]


def assert_same_names(title: str, page: Iterable[str], code: Iterable[str]) -> None:
    found, real = sorted(page), sorted(code)
    assert len(set(found)) == len(found), f"docs/store.md, {title}: a name stands there twice"
    missing, made_up = sorted(set(real) - set(found)), sorted(set(found) - set(real))
    assert not missing, f"docs/store.md, {title} lacks {', '.join(missing)}"
    assert not made_up, f"docs/store.md, {title} names {', '.join(made_up)}, which is not there"


class TestStore:
    """``docs/store.md`` names every file, field and column, and no other."""

    def test_every_table_is_compared(self) -> None:
        known = {*MODELS, *CLASSES, *SCHEMAS, *FILES, *STATES, HEATMAPS}
        assert set(tables()) == known

    def test_every_record_is_described(self) -> None:
        written = {*types.Record.__subclasses__(), *_parts_of(types.Record.__subclasses__())}
        assert written <= {*MODELS.values(), *CLASSES.values()}

    @pytest.mark.parametrize("title", MODELS)
    def test_fields_of_records(self, title: str) -> None:
        assert_same_names(title, described(title, "field"), MODELS[title].model_fields)

    @pytest.mark.parametrize("title", CLASSES)
    def test_fields_of_descriptions(self, title: str) -> None:
        assert_same_names(
            title, described(title, "field"), [field.name for field in fields(CLASSES[title])]
        )

    @pytest.mark.parametrize("title", SCHEMAS)
    def test_columns_and_their_types(self, title: str) -> None:
        page = [f"{row[0].strip('`')} ({row[1]})" for row in tables()[title].table[1:]]
        assert described(title, "column")
        assert_same_names(title, page, [f"{field.name} ({field.type})" for field in SCHEMAS[title]])

    def test_columns_of_heatmaps(self) -> None:
        table = _heatmaps(detector_class("ae"))
        real = {re.sub(r"\..*", ".NAME", f.name): str(f.type) for f in table.schema}
        page = {row[0].strip("`"): row[1] for row in tables()[HEATMAPS].table[1:]}
        assert page == real

    def test_fields_of_the_files_without_a_record(self, tmp_path: Path) -> None:
        store = Storage.open(str(tmp_path))
        write_retries(store, {"key": 1})
        ChecksumCache({"path": ((1, 2, 3), "sha256")}).save(store)
        for title in FILES:
            content = json.loads((tmp_path / title.strip("`")).read_text(encoding="utf-8"))
            assert_same_names(title, described(title, "field"), content)

    @pytest.mark.parametrize("title", STATES)
    def test_arrays_of_states(self, title: str) -> None:
        for name in STATES[title]:
            arrays = {_without_names(key, name) for key in _fitted_state(detector_class(name))}
            assert_same_names(f"{title}: {name}", described(title, "array"), arrays)

    def test_the_files_of_a_store_are_on_the_page(self) -> None:
        """Of a store that an earlier version wrote, and that is read still."""
        store = ROOT / "tests/study/stores/earlier"
        titles = [section.title for section in sections(STORE)]
        patterns = [
            _pattern(t.strip("`")) for t in titles if t.startswith(("`shards/", "`studies/"))
        ]
        parts = {m[1] for t in titles if (m := re.match(r"Part `([\w.]+)`", t))}
        files = [p for p in store.rglob("*") if p.is_file() and p.parent != store]
        assert len(files) > 10
        for path in files:
            place = path.relative_to(store).as_posix()
            is_part = "attempts" in path.parts and path.name in parts
            assert is_part or any(p.fullmatch(place) for p in patterns), place


class TestCommands:
    """``docs/commands.md`` is what the commands' ``--help`` says."""

    def test_the_page_is_what_the_script_makes(self) -> None:
        made = runpy.run_path(str(ROOT / "docs/make_commands.py"))
        page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
        assert page == made["page"](), "run: python docs/make_commands.py"

    def test_every_command_is_on_the_page(self) -> None:
        page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
        for folder in (path.parent for path in (ROOT / "study").glob("*/__main__.py")):
            assert f"## `python -m study.{folder.name}`" in page
            app = importlib.import_module(f"study.{folder.name}.command").app
            names = [found.callback.__name__ for found in app.registered_commands]
            for name in names if len(names) > 1 else []:
                assert f"## `python -m study.{folder.name} {name}`" in page


class TestArchitecture:
    """``docs/architecture.md`` knows the packages and layers that there are."""

    PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

    def test_layers_are_those_that_import_linter_checks(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        contracts = project["tool"]["importlinter"]["contracts"]
        checked = [c["layers"] for c in contracts if c["type"] == "layers"]
        blocks = [block for section in sections(self.PAGE) for block in section.blocks]
        page = [block.text.splitlines() for block in blocks if block.language == "layers"]
        assert page == checked

    def test_every_package_has_its_paragraph(self) -> None:
        found = re.findall(r"^(?:\*\*|- )`([\w/]+)`", self.PAGE, flags=re.MULTILINE)
        assert found == sorted(set(found), key=found.index)
        assert set(found) == {"datasets", "trainables", "study", "dashboard", *_study_packages()}


class TestReadme:
    """The README's tree and links lead to what is there."""

    PAGE = (ROOT / "README.md").read_text(encoding="utf-8")

    def tree(self) -> list[str]:
        (section,) = [s for s in sections(self.PAGE) if s.title == "The tree"]
        return list(tree_paths(section.blocks[0].text))

    def test_every_path_of_the_tree_exists(self) -> None:
        assert [path for path in self.tree() if not (ROOT / path).exists()] == []

    def test_every_package_is_in_the_tree(self) -> None:
        wanted = {"datasets", "trainables", "study", "dashboard", "benchmarks", "docs", "tests"}
        assert {*wanted, *_study_packages()} <= {path.rstrip("/") for path in self.tree()}

    @pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *_pages()])
    def test_links_and_named_files_exist(self, name: str) -> None:
        text = (ROOT / name).read_text(encoding="utf-8")
        links = set(re.findall(r"\]\(([^)#:]+)\)", text))
        assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
        named = re.findall(
            r"`((?:datasets|trainables|study|dashboard|tests|benchmarks|infra)/[\w/.-]*)`", text
        )
        new = {"dashboard/views/durations.py"}
        assert [path for path in {*named} - new if not (ROOT / path).exists()] == []


class TestProject:
    """What others need to use and cite the project."""

    def test_the_citation_is_a_valid_one(self) -> None:
        content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        assert {"cff-version", "message", "title", "authors"} <= set(content)
        assert content["cff-version"] == "1.2.0"
        for work in (content, *content["references"]):
            assert work["title"]
            assert work["authors"]
            assert all({"name", "family-names"} & set(author) for author in work["authors"])
        assert [work["type"] for work in content["references"]] == ["conference-paper"]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert content["title"] == project["name"]
        assert content["version"] == project["version"]
        assert content["license"] == project["license"] == "MIT"

    def test_the_licence_is_there(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (name,) = project["license-files"]
        assert (ROOT / name).read_text(encoding="utf-8").startswith("MIT License\n")

    def test_continuous_integration_runs_what_the_project_says(self) -> None:
        text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
        (job,) = yaml.safe_load(text)["jobs"].values()
        assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
        assert (ROOT / ".ci/run").stat().st_mode & 0o111
        (version,) = [s["with"]["python-version"] for s in job["steps"] if "with" in s]
        assert version == "3.11"

    def test_the_hook_before_a_commit_runs_the_linters(self) -> None:
        text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
        hooks = [hook for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
        assert [hook["entry"] for hook in hooks] == ["make lint"]
        assert re.search(r"^lint:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def _parts_of(records: Iterable[type[BaseModel]]) -> set[type[Any]]:
    """The models that fields of records hold."""
    found: set[type[Any]] = set()
    for record in records:
        for field in record.model_fields.values():
            found |= {kind for kind in _kinds(field.annotation) if kind not in found}
    nested = [kind for kind in found if issubclass(kind, BaseModel)]
    return found | (_parts_of(nested) if nested else set())


def _kinds(annotation: Any) -> set[type[Any]]:
    kinds = set().union(*(_kinds(a) for a in getattr(annotation, "__args__", ())), set())
    is_ours = isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or annotation is DetectorInfo
    )
    return kinds | ({annotation} if is_ours else set())


def _heatmaps(model: type[Detector]) -> pa.Table:
    detector, slices = model(model.smallest(), seed=0), healthy_slices(4)
    kept = Showcase(detector, slices, [0], score_names(detector))
    batch = slices.batch(slice(0, 4))
    kept.keep(range(4), detector.score(batch.images_BHW, batch.brain_BHW))
    return kept.table()


def _fitted_state(model: type[Detector]) -> Iterable[str]:
    detector = model(model.smallest(), seed=0)
    for metrics in detector.fit(healthy_slices(8), None, 2):
        if not isinstance(metrics, StepMetrics):
            break
    return detector.state()


def _without_names(key: str, model: str) -> str:
    if not detector_class(model).TRAINS_BY_EPOCHS:
        return key
    return re.sub(r"^(model|optim\.exp_avg|optim\.exp_avg_sq)\..+", r"\1.NAME", key)


def _pattern(title: str) -> re.Pattern[str]:
    """Of the paths that a heading stands for: its words in capitals are any name."""
    words = re.split(r"([A-Z_]{4,})", title)
    return re.compile("".join("[^/]+" if word.isupper() else re.escape(word) for word in words))
