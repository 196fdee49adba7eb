"""Claims: training loses nothing beside a plain loop, and one thread a trial is fastest.

The plain loop is what torch's tutorials have: its DataLoader, modules, autograd and Adam, in
float32, on the same heap and the same thread. The usual way to share a machine is one trial at a
time with all threads, in float32; beside it stands what bfloat16 alone gives or takes here. Limits
such as ``ONEDNN_MAX_CPU_ISA`` are honoured.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time

import numpy as np
import torch
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, Dataset

from benchmarks.measurement import Measurement, compared
from benchmarks.rebuild import paper_network
from study.cluster.memory import keep_freed
from trainables.arithmetic import fast_precision
from trainables.slices import Slices
from trainables.spec import TrialSpec

BATCH = 32
N_SLICES = 640


def measure() -> list[Measurement]:
    cores = os.cpu_count() or 1
    keep_freed()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [_against_a_plain_loop(n_c) for n_c in (8, 16, 32)]
    torch.set_num_threads(threads)
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


def _against_a_plain_loop(n_c: int) -> Measurement:
    """An epoch of both, each from new weights."""
    slices = _slices()
    return compared(
        f"training_cpu_nc{n_c}",
        f"an epoch of a VAE, N_c {n_c}, N_z 64, {N_SLICES} slices, float32",
        "plain torch with its DataLoader",
        lambda: list(_spec(n_c, "float32").detector().fit(slices, None, 1)),
        lambda: _plain_epoch(n_c, slices),
    )


class _Images(Dataset[torch.Tensor]):
    """The slices one by one, (1, 128, 128) each, as float32."""

    def __init__(self, slices: Slices) -> None:
        self._images_NHW = slices.images_NHW

    def __len__(self) -> int:
        return len(self._images_NHW)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self._images_NHW[index].astype(np.float32))[None]


def _plain_epoch(n_c: int, slices: Slices) -> None:
    """The paper's VAE, trained as one would write it down."""
    network = paper_network(n_c, 64, "vae")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for x in DataLoader(_Images(slices), batch_size=BATCH, shuffle=True):
        code = network.encoder.last(network.encoder.trunk(x)).flatten(1)
        mean, log_variance = code.chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        output = network.decoder.last(network.decoder.trunk(z.reshape(len(x), -1, 2, 2)))
        image, raw = output.chunk(2, dim=1)
        pixel = -10 + softplus(raw + 10)
        nll = 0.5 * (math.log(2 * math.pi) + pixel + (image - x) ** 2 / pixel.exp())
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        loss = (divergence + nll.sum(dim=(1, 2, 3))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if not math.isfinite(loss.item()):
            raise RuntimeError("the plain loop's loss is not finite")


def _spec(n_c: int, precision: str) -> TrialSpec:
    params = {"n_c": n_c, "n_z": 64, "batch_size": BATCH, "precision": precision}
    params |= {"schedule": "constant", "reestimate_batch_norm": False}
    return TrialSpec(model="vae", modality="T1w", params=params)


def _row(claim: str, ours: float, peer: str, peers: float) -> Measurement:
    return Measurement(claim, ours, "slices/s", peer, peers, ours / peers)


def _in_processes(n_c: int, precision: str, processes: int, threads: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        return pool.starmap(_slices_per_s, [(n_c, precision, threads)] * processes)


def _slices_per_s(n_c: int, precision: str, threads: int) -> float:
    torch.set_num_threads(threads)
    spec = _spec(n_c, precision)
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
