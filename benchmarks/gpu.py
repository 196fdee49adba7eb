"""What one card does: training steps and evaluated slices a second, and the paper's grid on it.

    python -m benchmarks.gpu --device cuda --steps 200 --out gpu.json

It needs torch, numpy, pyarrow and pydantic alone, none of Ray and what else a study loads: a
machine with a card that is borrowed for minutes can run it from a checkout. Several trials at once
are processes of their own that start each measurement together, one thread each, as in a study.
``--device cpu`` measures the cores instead. The figures are written after each number of trials, so
that what is cut off keeps the others.

The images are noise in the shape of brains, and the networks hardly trained: neither changes what a
step costs, but the evaluation of a trained network may count its pixels more often, or less.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paper_grid import n_flops, n_steps, networks
from trainables.arithmetic import Precision
from trainables.evaluate import evaluate
from trainables.slices import Slices
from trainables.spec import TrialSpec

BATCH = 32
EPOCH_STEPS = 50
"""Steps of an epoch, at most: as many as lie between two looks at the loss."""

_ready: Barrier | None = None


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        kind: ``training`` or ``evaluation``.
        model: Of the network.
        n_c: N_c.
        n_z: N_z.
        precision: Arithmetic of its inner layers.
        device: ``cpu`` or ``cuda``.
        amount: Steps to take, at least, or slices to evaluate.
    """

    kind: str
    model: str
    n_c: int
    n_z: int
    precision: Precision
    device: str
    amount: int

    def spec(self) -> TrialSpec:
        """A trial of that network."""
        params = {"n_c": self.n_c, "n_z": self.n_z, "batch_size": BATCH}
        plain = {"schedule": "constant", "reestimate_batch_norm": False}
        settings = {**params, **plain, "precision": self.precision}
        return TrialSpec(model=self.model, modality="T1w", params=settings)


@dataclass(frozen=True)
class Result:
    """What came out of a case, with so many trials at once.

    Attributes:
        case: Which.
        trials: How many ran at once.
        per_s: Steps or slices a second, of all of them together.
        flops: Floating-point operations of a training step.
        peak_gib: Most memory of a process: what torch held of the card, or all on a CPU.
        card_gib: Memory of the card in use at the end, CUDA's own and that of others included.
        error: Why there is no figure.
    """

    case: Case
    trials: int
    per_s: float | None
    flops: float
    peak_gib: float
    card_gib: float
    error: str = ""


def measure_together(cases: Sequence[Case], trials: int) -> list[Result]:
    """Measure cases one after another, each with so many trials at once.

    Args:
        cases: Which.
        trials: How many processes.
    """
    context = multiprocessing.get_context("spawn")
    found = []
    with context.Pool(trials, _begin, (context.Barrier(trials),)) as pool:
        for case in cases:
            # each process takes one, since none goes on before all have begun
            parts = pool.map(_measure, [case] * trials, chunksize=1)
            found.append(_result(case, trials, parts))
            print(_words(found[-1]), file=sys.stderr)
    return found


def _begin(ready: Barrier) -> None:
    global _ready
    _ready = ready
    torch.set_num_threads(1)


def _measure(case: Case) -> dict[str, Any]:
    """In one of the processes: what it did, and how long that took."""
    if case.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    work, done, error, seconds = None, 0, "", math.nan
    try:
        work, done = _prepared(case)
    except Exception as why:  # noqa: BLE001 - the others are not to wait for it
        error = f"{type(why).__name__}: {why}".splitlines()[0]
    assert _ready is not None
    _ready.wait()
    if work is not None:
        clock = time.perf_counter()
        try:
            work()
            seconds = time.perf_counter() - clock
        except Exception as why:  # noqa: BLE001
            error = f"{type(why).__name__}: {why}".splitlines()[0]
    peak_gib, card_gib = _memory_gib(case.device)
    return {
        **{"done": done, "seconds": seconds, "error": error},
        **{"peak_gib": peak_gib, "card_gib": card_gib},
    }


def _prepared(case: Case) -> tuple[Callable[[], object], int]:
    """What is to be timed, everything it needs being there, and how much that is."""
    detector = case.spec().detector(case.device)
    if case.kind == "training":
        per_epoch = min(case.amount, EPOCH_STEPS)
        epochs = 1 + math.ceil(case.amount / per_epoch)
        fit = detector.fit(_slices(per_epoch * BATCH), None, epochs)
        next(fit)  # an epoch loads what the others use
        return lambda: deque(fit, maxlen=0), (epochs - 1) * per_epoch
    test = _slices(case.amount)
    evaluate(detector, _slices(8), n_showcase=0)
    return lambda: evaluate(detector, test, n_showcase=0), len(test)


def _memory_gib(device: str) -> tuple[float, float]:
    if device != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 0.0
    free, total = torch.cuda.mem_get_info()
    return torch.cuda.max_memory_reserved() / 2**30, (total - free) / 2**30


def _result(case: Case, trials: int, parts: Sequence[dict[str, Any]]) -> Result:
    error = next((p["error"] for p in parts if p["error"]), "")
    slowest = max(p["seconds"] for p in parts)
    per_s = None if error else sum(p["done"] for p in parts) / slowest
    return Result(
        case=case,
        trials=trials,
        per_s=per_s,
        flops=BATCH * case.spec().detector().flops_per_slice(),
        peak_gib=max(p["peak_gib"] for p in parts),
        card_gib=max(p["card_gib"] for p in parts),
        error=error,
    )


def _words(result: Result) -> str:
    case = result.case
    unit = "steps/s" if case.kind == "training" else "slices/s"
    figure = result.error if result.per_s is None else f"{result.per_s:.4g} {unit}"
    shape = f"{case.model} N_c {case.n_c} N_z {case.n_z} {case.precision}"
    return f"{case.kind} {shape}, {result.trials} at once: {figure}, {result.peak_gib:.2f} GiB"


def paper_hours(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The paper's grid in hours, by arithmetic from what was measured.

    Between two sizes of network the seconds of a step are interpolated on logarithmic scales;
    beyond them they grow as the operations do. A network with one score is evaluated as an AE,
    others as a VAE, of the nearest N_c.

    Args:
        results: Of one device.
    """
    good = [r for r in results if r.per_s is not None]
    rows = []
    for precision, trials in sorted({(r.case.precision, r.trials) for r in good}):
        alike = [r for r in good if (r.case.precision, r.trials) == (precision, trials)]
        steps = {r.flops: 1 / (r.per_s or 1) for r in alike if r.case.kind == "training"}
        slices = {(r.case.model, r.case.n_c): r.per_s for r in alike if r.case.kind == "evaluation"}
        models = {model for model, _ in slices}
        if not steps or models != {"ae", "vae"}:
            continue
        training_s = evaluation_s = 0.0
        for trial in networks():
            training_s += trial.steps * _interpolated(trial.flops, steps)
            model = "ae" if trial.n_scores == 1 else "vae"
            sizes = [n_c for m, n_c in slices if m == model]
            nearest = min(sizes, key=lambda n_c, wanted=trial.n_c: abs(n_c - wanted))
            evaluation_s += trial.n_evaluated / (slices[model, nearest] or 1)
        rows.append(
            {
                "precision": precision,
                "trials": trials,
                "training_h": training_s / 3600,
                "evaluation_h": evaluation_s / 3600,
                "flops_per_s": n_flops() / training_s,
            }
        )
    return rows


def _interpolated(flops: float, seconds_by_flops: dict[float, float]) -> float:
    sizes = sorted(seconds_by_flops)
    inside = min(max(flops, sizes[0]), sizes[-1])
    times = [math.log(seconds_by_flops[f]) for f in sizes]
    return math.exp(np.interp(math.log(inside), np.log(sizes), times)) * flops / inside


def _slices(count: int) -> Slices:
    """Slices like those of brains, a subject of each 64.

    The lesion lies beside the brain: one within is labelled by a library that may not be there.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] - 63.5
    brain_HW = (x / 45) ** 2 + (y / 55) ** 2 < 1
    lesion_HW = (x - 50) ** 2 + (y - 50) ** 2 < 8**2
    few = np.where(brain_HW, rng.normal(1.0, 0.2, (min(count, 64), 128, 128)), 0.0)
    subject_N = np.arange(count, dtype=np.int32) // 64
    return Slices(
        images_NHW=few.astype(np.float16)[np.arange(count) % len(few)],
        brain_bits_NK=np.tile(np.packbits(brain_HW), (count, 1)),
        lesion_bits_NK=np.tile(np.packbits(lesion_HW), (count, 1)),
        subject_N=subject_N,
        slice_index_N=np.arange(count, dtype=np.int32) % 64,
        subjects=tuple(f"measured/{i:05d}" for i in range(int(subject_N[-1]) + 1)),
    )


def _cases(options: argparse.Namespace) -> list[Case]:
    cases = []
    for precision in options.precision:
        for n_c in options.n_c:
            rest = (precision, options.device)
            for n_z in options.n_z:
                cases.append(Case("training", "vae", n_c, n_z, *rest, options.steps))
            middle = options.n_z[len(options.n_z) // 2]
            for model in ("ae", "vae"):
                cases.append(Case("evaluation", model, n_c, middle, *rest, options.slices))
    return cases


def _machine(device: str) -> dict[str, Any]:
    card = None
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        card = {"name": properties.name, "gib": properties.total_memory / 2**30}
    return {
        **{"device": device, "card": card, "cores": os.cpu_count()},
        **{"torch": torch.__version__, "cuda": torch.version.cuda},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=200, help="of each measurement, at least")
    parser.add_argument("--slices", type=int, default=256, help="that an evaluation scores")
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 2, 4, 8], help="at once")
    parser.add_argument("--n-c", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--n-z", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch can use no GPU here; --device cpu measures the cores")
    results: list[Result] = []
    for trials in options.trials:
        results += measure_together(_cases(options), trials)
        report = {
            "machine": _machine(options.device),
            "grid": {"steps": n_steps(), "flops": n_flops()},
            "results": [asdict(r) for r in results],
            "paper": paper_hours(results),
        }
        options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    for row in paper_hours(results):
        print(
            f"the paper's grid in {row['precision']}, {row['trials']} at once: training "
            f"{row['training_h']:.3g} h ({row['flops_per_s'] / 1e12:.3g} TFLOP/s), evaluation "
            f"{row['evaluation_h']:.3g} h"
        )


if __name__ == "__main__":
    main()
