"""Claim: one thread a trial, in the arithmetic that ``--precision auto`` chooses, is fastest.

The usual way is one trial at a time with all threads, in float32; beside it stands what bfloat16
alone gives or takes on this machine. Limits such as ``ONEDNN_MAX_CPU_ISA`` are honoured.
"""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import torch

from benchmarks.measurement import Measurement
from trainables.arithmetic import fast_precision
from trainables.slices import Slices
from trainables.spec import TrialSpec

BATCH = 32
N_SLICES = 640


def measure() -> list[Measurement]:
    cores = os.cpu_count() or 1
    rows = []
    auto = fast_precision("cpu")
    for n_c in (8, 16, 32):
        speeds = {
            precision: sum(_in_processes(n_c, precision, processes=cores, threads=1))
            for precision in ("float32", "bfloat16")
        }
        usual = sum(_in_processes(n_c, "float32", processes=1, threads=cores))
        name = f"VAE training, N_c {n_c}, N_z 64"
        peer = f"one trial, {cores} threads, float32"
        rows += [
            _row(f"{name}: {cores} trials of one thread, {auto}", speeds[auto], peer, usual),
            _row(f"{name}: bfloat16", speeds["bfloat16"], "the same in float32", speeds["float32"]),
        ]
    return rows


def _row(claim: str, ours: float, peer: str, peers: float) -> Measurement:
    return Measurement(claim, ours, "slices/s", peer, peers, ours / peers)


def _in_processes(n_c: int, precision: str, processes: int, threads: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        return pool.starmap(_slices_per_s, [(n_c, precision, threads)] * processes)


def _slices_per_s(n_c: int, precision: str, threads: int) -> float:
    torch.set_num_threads(threads)
    params = {"n_c": n_c, "n_z": 64, "batch_size": BATCH, "precision": precision}
    params |= {"schedule": "constant", "reestimate_batch_norm": False}
    spec = TrialSpec(model="vae", modality="T1w", params=params)
    slices = _slices()
    for _ in spec.detector().fit(slices.between(0, 1), None, 1):
        pass  # warm up on a tenth
    detector = spec.detector()
    started = time.perf_counter()
    for _ in detector.fit(slices, None, 1):
        pass
    return len(slices) / (time.perf_counter() - started)


def _slices() -> Slices:
    rng = np.random.default_rng(0)
    images_NHW = rng.random((N_SLICES, 128, 128), np.float32).astype(np.float16)
    bits_NK = np.full((N_SLICES, 2048), 255, np.uint8)
    return Slices(
        images_NHW=images_NHW,
        brain_bits_NK=bits_NK,
        lesion_bits_NK=np.zeros_like(bits_NK),
        subject_N=np.repeat(np.arange(10, dtype=np.int32), N_SLICES // 10),
        slice_index_N=np.tile(np.arange(N_SLICES // 10, dtype=np.int32), 10),
        subjects=tuple(f"noise/{i:02d}" for i in range(10)),
    )
