"""``study.export``: the report's figures in every place, once, and replaced when they change."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from datasets.storage import Storage
from study.errors import UsageError
from study.export import command
from study.export.runs import METRICS, ExportedStudy
from study.records.studies import StudyStore
from study.report.report import as_json, make_report


@pytest.fixture(scope="module")
def synthetic() -> ModuleType:
    return importlib.import_module("benchmarks.synthetic_store")


@pytest.fixture
def store(synthetic: ModuleType, tmp_path: Path) -> Path:
    """A study of thirty trials: one has failed, two have not ended."""
    wanted = synthetic.Wanted(trials=30, unfinished=2, failed=1, full=False)
    synthetic.write_store(tmp_path / "store", "made", wanted)
    path: Path = tmp_path / "store"
    return path


def exported(store: Path, to: str, **words: Any) -> None:
    command.main(str(store), to, **words)


def opened(store: Path) -> ExportedStudy:
    study = StudyStore.open(Storage.open(str(store)), "made")
    record = study.study()
    assert record is not None
    return ExportedStudy.of(study, record)


def figures(store: Path) -> dict[tuple[str, str], float]:
    """Every figure of ``report --format json`` by trial and name."""
    study = opened(store)
    rows = json.loads(as_json(make_report(study.store, study.record)))["rows"]
    return {
        (row["trial_id"], f"{row['cohort']}/{row['score']}/{row['region']}/{name}"): row[name]
        for row in rows
        for name in METRICS
        if row[name] is not None
    }


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_have_the_reports_figures_and_every_trial_that_has_ended(
    store: Path, tmp_path: Path, kind: str
) -> None:
    exported(store, f"{kind}:{tmp_path / 'out'}")
    read = pyarrow.csv.read_csv if kind == "csv" else pq.read_table
    trials, losses, metrics = (
        read(tmp_path / "out" / f"{name}.{kind}").to_pylist()
        for name in ("trials", "losses", "metrics")
    )
    assert len(trials) == 28
    assert sorted(t["status"] for t in trials).count("failed") == 1
    assert any("NonFiniteLossError" in t["failure"] for t in trials if t["failure"])
    found = {
        (r["trial_id"], f"{r['cohort']}/{r['score']}/{r['region']}/{r['metric']}"): r["value"]
        for r in metrics
    }
    assert found == pytest.approx(figures(store), rel=1e-12)
    learnt = {t["trial_id"] for t in trials if t["model"] in ("ae", "dae", "vae")}
    assert {row["trial_id"] for row in losses} <= learnt
    before = (tmp_path / "out" / f"metrics.{kind}").read_bytes()
    exported(store, f"{kind}:{tmp_path / 'out'}")
    assert (tmp_path / "out" / f"metrics.{kind}").read_bytes() == before


def _events(path: Path) -> Iterator[Any]:
    """The events of a file of TensorBoard: length, its checksum, the event, its checksum."""
    events = importlib.import_module("tensorboardX.proto.event_pb2")
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield events.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for path in folder.glob("events.*"):
        for event in _events(path):
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_has_a_folder_a_trial_with_losses_by_epoch_and_the_figures(
    store: Path, tmp_path: Path
) -> None:
    exported(store, f"tensorboard:{tmp_path / 'tb'}")
    folders = sorted((tmp_path / "tb" / "made").iterdir())
    assert len(folders) == 28
    runs = {run.trial_id[:12]: run for run in opened(store).runs}
    known = figures(store)
    for folder in folders:
        run = runs[folder.name.rpartition("-")[2]]
        found = _scalars(folder)
        for name, value in run.metrics.items():
            assert found[name][0][1] == pytest.approx(value, rel=1e-6)
            assert known[run.trial_id, name] == value
        assert [step for step, _ in found.get("train_loss", [])] == [x.epoch for x in run.losses]


def test_a_second_export_adds_nothing_and_a_change_replaces_its_run_alone(
    store: Path, tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    to = f"tensorboard:{tmp_path / 'tb'}"
    exported(store, to)

    def stamps() -> dict[str, int]:
        paths = (tmp_path / "tb").rglob("events.*")
        return {str(path): path.stat().st_mtime_ns for path in paths}

    before = stamps()
    exported(store, to)
    assert stamps() == before
    assert "0 runs written, 28 already there" in capsys.readouterr().out
    study = opened(store)
    trial = next(t for t in study.record.trials if t.spec.model == "ae")
    rng = np.random.default_rng(99)
    synthetic.write_evaluation(study.store, trial, trial.evals[0], rng, None)
    exported(store, to)
    assert "1 run written, 27 already there" in capsys.readouterr().out
    kept = set(before.items()) & set(stamps().items())
    assert len(kept) == len(stamps()) - 1 == len(before) - 1


def test_only_what_was_written_since_is_exported(store: Path, tmp_path: Path) -> None:
    exported(store, f"csv:{tmp_path / 'none'}", since="2199-01-01T00:00")
    assert pyarrow.csv.read_csv(tmp_path / "none" / "trials.csv").num_rows == 0
    exported(store, f"csv:{tmp_path / 'all'}", since="2001-01-01T00:00+02:00")
    assert pyarrow.csv.read_csv(tmp_path / "all" / "trials.csv").num_rows == 28


def test_an_optuna_storage_has_a_study_a_test_cohort_with_every_trial(
    store: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    for _ in range(2):
        exported(store, f"optuna:{url}")
    known = figures(store)
    names = optuna.get_all_study_names(url)
    assert names
    for name in names:
        _, cohort, modality = name.split()
        study = optuna.load_study(study_name=name, storage=url)
        runs = {run.trial_id: run for run in opened(store).runs if run.modality == modality}
        assert {trial.user_attrs["trial_id"] for trial in study.trials} == set(runs)
        assert len(study.trials) == len(runs)
        for trial in study.trials:
            run = runs[trial.user_attrs["trial_id"]]
            assert trial.params["model"] == run.model
            if run.status == "done":
                place = f"{cohort}/{trial.params['score']}/brain/auc"
                assert trial.value == known[run.trial_id, place]
            else:
                assert trial.state == optuna.trial.TrialState.FAIL


def test_an_optuna_storage_follows_a_trial_that_changes_and_a_grid_that_grows(
    store: Path,
    tmp_path: Path,
    synthetic: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"

    def check(wanted: str) -> None:
        exported(store, f"optuna:{url}")
        assert wanted in capsys.readouterr().out
        runs = opened(store).runs
        for name in optuna.get_all_study_names(url):
            study = optuna.load_study(study_name=name, storage=url)
            modality = name.split()[2]
            marks = sorted(trial.user_attrs["fingerprint"] for trial in study.trials)
            assert marks == sorted(run.fingerprint for run in runs if run.modality == modality)

    exported(store, f"optuna:{url}")
    capsys.readouterr()
    study = opened(store)
    trial = next(t for t in study.record.trials if t.spec.model == "ae")
    rng = np.random.default_rng(99)
    synthetic.write_evaluation(study.store, trial, trial.evals[0], rng, None)
    check("2 runs written")  # one for each of its test cohorts
    wanted = synthetic.Wanted(trials=60, failed=1, full=False)  # with settings that were not there
    synthetic.write_store(store, "made", wanted)
    check("written")
    check("0 runs written")


def test_mlflow_has_a_run_a_trial_below_that_of_the_study(store: Path, tmp_path: Path) -> None:
    mlflow = importlib.import_module("mlflow")
    uri = (tmp_path / "mlruns").as_uri()
    for _ in range(2):
        exported(store, f"mlflow:{uri}")
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("made")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if "anomaly_study.study" in run.data.tags]
    below = [run for run in runs if "anomaly_study.trial_id" in run.data.tags]
    assert len(below) == 28
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent.info.run_id}
    ours = {run.trial_id: run for run in opened(store).runs}
    found: dict[tuple[str, str], float] = {}
    for run in below:
        own = ours[run.data.tags["anomaly_study.trial_id"]]
        assert run.data.params["seed"] == str(own.params["seed"])
        named = {name: v for name, v in run.data.metrics.items() if "/" in name}
        found |= {(own.trial_id, name): value for name, value in named.items()}
        if own.losses:
            history = client.get_metric_history(run.info.run_id, "train_loss")
            assert [m.step for m in history] == [loss.epoch for loss in own.losses]
            assert [m.value for m in history] == [loss.train for loss in own.losses]
    assert found == figures(store)
    assert any(run.info.status == "FAILED" for run in below)


def _records(path: Path) -> Iterator[Any]:
    """The records of a file of Weights & Biases: a log of LevelDB behind seven bytes."""
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            yield records.Record.FromString(whole)
            whole = b""


def test_wandb_offline_writes_runs_without_an_account_or_a_network(
    store: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        words = [str(store), "--to", f"wandb-offline:{tmp_path / 'wandb'}"]
        done = subprocess.run(
            [sys.executable, "-m", "study.export", *words, "--since", "2001-01-01T00:00"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "0 runs written, 28 already there" in done.stdout
    folders = sorted((tmp_path / "wandb" / "made").iterdir())
    ours = {run.trial_id: run for run in opened(store).runs}
    assert len(folders) == 28
    for folder in folders:
        (data,) = folder.rglob("*.wandb")
        assert folder.name in data.name
        run, losses, summary = ours[folder.name], {}, {}
        for record in _records(data):
            if record.HasField("history"):
                values = {item.key or item.nested_key[0]: item for item in record.history.item}
                if "train_loss" in values:
                    step = record.history.step.num
                    losses[step] = json.loads(values["train_loss"].value_json)
            for item in record.summary.update if record.HasField("summary") else ():
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
        assert losses == {loss.epoch: loss.train for loss in run.losses}
        assert {name: summary[name] for name in run.metrics} == run.metrics
        assert summary["trial_id"] == run.trial_id


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"to": "excel:x"}, "kinds are: csv, mlflow, optuna, parquet, tensorboard, wandb-offline"),
        ({"to": "csv:"}, "KIND:PLACE"),
        ({"to": "csv"}, "KIND:PLACE"),
        ({"to": "csv:out", "since": "yesterday"}, "not 'yesterday'"),
        ({"to": "csv:out", "study": "other"}, "no study 'other'"),
        ({"to": "optuna:nothing://x"}, "cannot open the Optuna storage"),
    ],
)
def test_wrong_use_is_a_sentence(
    store: Path, words: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as found:
        exported(store, **words)
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_not_there_is_named_with_its_extra(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, kind, extra in (
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb-offline", "wandb"),
        ("tensorboardX", "tensorboard", "tensorboard"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=rf"anomaly-study\[{extra}\]"):
            exported(store, f"{kind}:/nowhere")


def test_the_command_loads_no_tracker_before_it_is_asked_for_one() -> None:
    code = "import sys, study.export.command; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"mlflow", "wandb", "tensorboardX", "ray", "torch"}
