"""The benchmark of a card runs without one, with little installed, and adds up."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gpu import Case, Result, paper_hours
from benchmarks.paper_grid import n_flops, n_steps, networks
from tests.commands import ROOT

LACKING = "ray optuna scipy sklearn nibabel deepbet cc3d typer rich psutil safetensors streamlit"
"""What a machine that is borrowed may not have."""


def test_it_measures_a_cpu_and_writes_what_it_found(tmp_path):
    out = tmp_path / "gpu.json"
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({LACKING.split()}))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words = "--device cpu --steps 2 --slices 2 --trials 1 --n-c 8 --n-z 8 --precision float32"
    command = [sys.executable, "-m", "benchmarks.gpu", *words.split(), "--out", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    report = json.loads(out.read_text())
    kinds = [(r["case"]["kind"], r["case"]["model"]) for r in report["results"]]
    assert kinds == [("training", "vae"), ("evaluation", "ae"), ("evaluation", "vae")]
    assert all(r["per_s"] > 0 and not r["error"] for r in report["results"])
    (row,) = report["paper"]
    assert row["training_h"] == pytest.approx(report["grid"]["flops"] / row["flops_per_s"] / 3600)
    assert "the paper's grid in float32, 1 at once" in done.stdout


def test_it_loads_nothing_that_a_borrowed_machine_may_lack():
    code = "import sys, benchmarks.gpu; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"torch", "pyarrow", "pydantic"} <= loaded
    assert not loaded & set(LACKING.split())


def test_the_papers_grid_has_126_networks_and_two_million_steps():
    assert len(networks()) == 2 * 3 * 3 * 7
    assert n_steps() == 126 * 16_290
    assert n_flops() == pytest.approx(47.7e15, rel=1e-3)


def result(kind: str, model: str, n_c: int, per_s: float | None, flops: float) -> Result:
    case = Case(kind, model, n_c, 64, "float32", "cpu", 1)
    return Result(case, 4, per_s, flops, 1.0, 0.0, "" if per_s else "OutOfMemoryError: too little")


def test_the_hours_of_the_grid_follow_from_what_was_measured():
    """A card that takes as long for every step, and one whose steps take as long as operations."""
    evaluations = [result("evaluation", "ae", 8, 100, 0), result("evaluation", "vae", 8, 50, 0)]
    same = [result("training", "vae", n_c, 500, f) for n_c, f in ((8, 1e9), (32, 1e12))]
    (row,) = paper_hours(same + evaluations)
    assert row["training_h"] == pytest.approx(n_steps() / 500 / 3600)
    slices = [(t.n_evaluated, 50 if t.model == "vae" else 100) for t in networks()]
    assert row["evaluation_h"] == pytest.approx(sum(n / per_s for n, per_s in slices) / 3600)
    (row,) = paper_hours([result("training", "vae", 16, 1000, 2e10), *evaluations])
    assert row["flops_per_s"] == pytest.approx(1000 * 2e10)


def test_a_size_that_failed_is_left_out():
    failed = result("training", "vae", 32, None, 1e12)
    assert paper_hours([failed]) == []
