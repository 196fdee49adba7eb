"""Claim: one thread a trial, bfloat16 inside, trains more slices a second than the usual way.

The usual way is one trial at a time with all threads, in float32.
"""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import torch

from benchmarks.measurement import Measurement
from trainables.slices import Slices
from trainables.spec import TrialSpec

BATCH = 32
N_SLICES = 640


def measure() -> list[Measurement]:
    cores = os.cpu_count() or 1
    rows = []
    for n_c in (8, 16, 32):
        ours = sum(_in_processes(n_c, "bfloat16", processes=cores, threads=1))
        peers = sum(_in_processes(n_c, "float32", processes=1, threads=cores))
        rows.append(
            Measurement(
                claim=f"VAE training, N_c {n_c}, N_z 64: {cores} trials of one thread, bfloat16",
                ours=ours,
                unit="slices/s",
                peer=f"one trial, {cores} threads, float32",
                peers=peers,
                ratio=ours / peers,
            )
        )
    return rows


def _in_processes(n_c: int, precision: str, processes: int, threads: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        return pool.starmap(_slices_per_s, [(n_c, precision, threads)] * processes)


def _slices_per_s(n_c: int, precision: str, threads: int) -> float:
    torch.set_num_threads(threads)
    params = {"n_c": n_c, "n_z": 64, "batch_size": BATCH, "precision": precision}
    detector = TrialSpec(model="vae", modality="T1w", params=params).detector()
    slices = _slices()
    for _ in detector.fit(slices.between(0, 1), None, 1):
        pass  # warm up on a tenth
    started = time.perf_counter()
    for _ in detector.fit(slices, None, 2):
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
