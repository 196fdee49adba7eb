"""Claim: other code gets the same ROC-AUC from the same shards and weights.

Reads Parquet and safetensors files and JSON manifests alone, rebuilds the networks with plain torch
and measures with scikit-learn; nothing of the project is imported. One trial of each model is
checked on each of its test cohorts, every score, both regions. Models without code of their own
here are left out:

    python -m study.run --grid small
    python -m benchmarks.rebuild --store runs --study small-phantom
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import torch
import typer
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import nn

WANTED = 1e-5

MODELS = ("ae", "aeu", "dae", "gmm", "intensity", "vae")

HALVED = ("vae",)
"""Networks whose code is mean and variance of the latent vector."""

WITH_VARIANCE = ("aeu", "vae")
"""Networks that predict a variance for each pixel."""


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def slices(store: Path, key: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Images, brain masks and lesion masks of a cohort, (N, 128, 128) each."""
    images, brains, lesions = [], [], []
    for record in read(store / "shards" / key / "manifest.json")["records"]:
        if record["status"] != "ok":
            continue
        table = pq.read_table(store / record["part"])
        n = table.num_rows
        column = {name: b"".join(table[name].to_pylist()) for name in ("image", "brain", "lesion")}
        images.append(np.frombuffer(column["image"], "<f2").reshape(n, 128, 128))
        for found, name in ((brains, "brain"), (lesions, "lesion")):
            bits = np.frombuffer(column[name], np.uint8).reshape(n, 2048)
            found.append(np.unpackbits(bits, axis=1).reshape(n, 128, 128).astype(bool))
    return (
        np.concatenate(images).astype(np.float32),
        np.concatenate(brains),
        np.concatenate(lesions),
    )


def paper_network(c: int, z: int, model: str) -> nn.Module:
    """The paper's network: an ``encoder`` and a ``decoder``, each a ``trunk`` and a ``last``."""

    def block(layer: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

    widths = [1] + [c * 2**n for n in range(5)]
    encoder = nn.Module()
    encoder.trunk = nn.Sequential(
        *(block(nn.Conv2d(i, o, 4, 2, 1, bias=False), o) for i, o in pairwise(widths))
    )
    encoder.last = nn.Conv2d(widths[-1], z // 4, 3)
    up = widths[:0:-1]
    decoder = nn.Module()
    decoder.trunk = nn.Sequential(
        block(nn.ConvTranspose2d(z // (8 if model in HALVED else 4), up[0], 3, bias=False), up[0]),
        *(block(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), o) for i, o in pairwise(up)),
    )
    decoder.last = nn.ConvTranspose2d(c, 2 if model in WITH_VARIANCE else 1, 4, 2, 1)
    whole = nn.Module()
    whole.encoder, whole.decoder = encoder, decoder
    return whole


def network(params: dict[str, Any], weights: dict[str, torch.Tensor], model: str) -> nn.Module:
    """A trained network in evaluation mode."""
    whole = paper_network(params["n_c"], params["n_z"], model)
    whole.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
    return whole.eval()


@torch.no_grad()
def network_scores(
    params: dict[str, Any], weights: dict[str, torch.Tensor], model: str, images: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Score maps of all images by name."""
    net = network(params, weights, model)
    found: dict[str, list[torch.Tensor]] = {}
    precision = torch.autocast("cpu", torch.bfloat16, enabled=params["precision"] == "bfloat16")
    for batch in torch.from_numpy(images).unsqueeze(1).split(params["batch_size"]):
        with precision:
            hidden = net.encoder.trunk(batch)
        code = net.encoder.last(hidden.float()).flatten(1)
        latent = code.chunk(2, dim=1)[0] if model in HALVED else code
        start = latent.reshape(len(batch), -1, 2, 2)
        with precision:
            hidden = net.decoder.trunk(start)
        output = net.decoder.last(hidden.float())
        error = (output[:, :1] - batch) ** 2
        maps = {"squared_error": error}
        if model in WITH_VARIANCE:
            floor = params["log_variance_floor"]
            log_variance = floor + nn.functional.softplus(output[:, 1:] - floor)
            maps["log_variance"] = 0.5 * (np.log(2 * np.pi) + log_variance)
            maps["normalized_error"] = error / (2 * log_variance.exp())
            maps["nll"] = maps["log_variance"] + maps["normalized_error"]
        for name, value in maps.items():
            found.setdefault(name, []).append(value[:, 0])
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def mixture_scores(
    params: dict[str, Any], weights: dict[str, torch.Tensor], images: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """The scores of the mixture, from its densities at the images' distinct intensities."""
    values, where = np.unique(images, return_inverse=True)
    means, variances, shares = (
        weights[f"model.{n}"].double().numpy()[:, None] for n in ("means", "variances", "weights")
    )
    x = values.astype(np.float64)
    f = np.exp(-((x - means) ** 2) / (2 * variances)) / np.sqrt(2 * np.pi * variances)
    lam = params["gmm_lambda"]
    maps = {
        "outlier_sum": (lam / (f + lam)).sum(axis=0),
        "outlier_posterior": lam / ((shares * f).sum(axis=0) + lam),
    }
    return {name: v.astype(np.float32)[where].reshape(images.shape) for name, v in maps.items()}


def scores_of(spec: dict[str, Any], part: Path, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Every score of a fit."""
    model, params = spec["model"], spec["params"]
    if model == "intensity":
        return {"intensity": images, "negative_intensity": -images}
    weights = load_file(part)
    if model == "gmm":
        return mixture_scores(params, weights, images)
    return network_scores(params, weights, model, images)


def chosen(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """One finished fit of each model and modality: the first by identity."""
    seen = set()
    for path in sorted(folder.glob("trials/*/manifest.json")):
        fit = read(path)
        mark = (fit["spec"]["model"], fit["spec"]["modality"])
        if fit["status"] == "done" and mark[0] in MODELS and mark not in seen:
            seen.add(mark)
            yield path.parent, fit


def newest(folder: Path) -> int:
    """The newest version among the evaluations of a fit; older ones lie beside them."""
    return max(read(path)["eval_version"] for path in folder.glob("eval/*/manifest.json"))


def main(
    store: Annotated[Path, typer.Option()] = Path("runs"),
    study: Annotated[str, typer.Option()] = "small-phantom",
) -> None:
    """Print the recorded and the rebuilt AUC of a cell of each model; fail where they differ."""
    worst = 0.0
    for folder, fit in chosen(store / "studies" / study):
        spec = fit["spec"]
        part = folder / fit["parts"].get("model.safetensors", {"path": ""})["path"]
        for path in sorted(folder.glob("eval/*/manifest.json")):
            evaluation = read(path)
            if evaluation.get("role", "test") != "test" or evaluation["eval_version"] != newest(
                folder
            ):
                continue
            images, brain, lesion = slices(store, evaluation["test_key"])
            maps = scores_of(spec, part, images)
            metrics = path.parent / evaluation["parts"]["metrics.parquet"]["path"]
            for row in pq.read_table(metrics).to_pylist():
                pixels = brain if row["region"] == "brain" else np.ones_like(brain)
                auc = roc_auc_score(lesion[pixels], maps[row["score"]][pixels])
                worst = max(worst, abs(auc - row["auc"]))
                print(
                    f"{spec['model']:9} {spec['modality']} {evaluation['cohort']:8} "
                    f"{row['region']:5} {row['score']:18} recorded {row['auc']:.6f} "
                    f"rebuilt {auc:.6f} difference {abs(auc - row['auc']):.1e}"
                )
    print(f"largest difference: {worst:.1e} (wanted: at most {WANTED:.0e})")
    raise typer.Exit(int(worst > WANTED))


if __name__ == "__main__":
    typer.run(main)
