"""Claim: ASHA saves most of a grid's epochs, and says how much of the best AUC that costs.

Run a study to its end without ``--asha``, then this on its store; nothing is trained:

    python -m study.run --grid paper
    python -m benchmarks.asha --store runs --study paper-phantom

The recorded validation losses are replayed through the rungs in many random orders. Of the networks
that go on to the end the best is chosen, for each score and test set, and compared with the best of
all; and with what is left to choose from if as many are left out by lot. Seeds count as networks of
their own.
"""

from __future__ import annotations

import heapq
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from datasets.storage import Storage
from study.plan.done import plan_rows
from study.records.halving import Halving
from study.records.index import load_index
from study.records.studies import StudyStore
from study.trials.halving import Group, Rungs, group_of, rungs_of

Place = tuple[str, str]
"""Score and test cohort."""


@dataclass(frozen=True)
class Network:
    """What the store tells of a network that was trained to its end.

    Attributes:
        trial_id: Its trial.
        losses: Validation loss after each epoch, from the first.
        seconds: Seconds that each epoch took.
        rungs: Epochs after which it is compared.
        auc: Brain-region AUC by score and test cohort.
    """

    trial_id: str
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    rungs: tuple[int, ...]
    auc: Mapping[Place, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """What ASHA would have done to a model's networks, for one score and test cohort.

    Attributes:
        group: Model and modality.
        place: Score and test cohort.
        n: Networks.
        n_kept: Those trained to their end, on the mean over the orders.
        epochs_saved: Share of all epochs, on the mean.
        seconds_saved: Share of the seconds of training, on the mean.
        best_kept: Share of the orders in which the best network by AUC was kept.
        lost: AUC lost by choosing among those kept, on the mean.
        lost_at_worst: The same in the worst order.
        lost_by_lot: The same on the mean if as many networks are kept by lot.
        spread: AUC of the best network less that of the median one.
        rank_correlation: Spearman's, of the validation loss at the first rung with 1 - AUC: 1 where
            the loss tells which network is the best.
        rank_correlation_at_end: The same of the loss after the last epoch.
    """

    group: Group
    place: Place
    n: int
    n_kept: float
    epochs_saved: float
    seconds_saved: float
    best_kept: float
    lost: float
    lost_at_worst: float
    lost_by_lot: float
    spread: float
    rank_correlation: float
    rank_correlation_at_end: float


def replay(networks: Sequence[Network], group: Group, factor: int, workers: int) -> dict[str, int]:
    """Epochs that each network is trained if they come in this order.

    Args:
        networks: In the order they start.
        group: Of all of them.
        factor: One of so many goes on beyond a rung.
        workers: How many are trained at once.
    """
    rungs = Rungs(factor)
    reached = {one.trial_id: len(one.losses) for one in networks}
    started = min(workers, len(networks))
    clock = [(_seconds_to(networks[i], 0), i, 0) for i in range(started)]
    heapq.heapify(clock)  # when, which network, how many of its rungs are past
    while clock:
        now, number, passed = heapq.heappop(clock)
        one = networks[number]
        is_over = passed == len(one.rungs)
        if not is_over:
            epoch = one.rungs[passed]
            stop = rungs.compare(group, epoch, one.trial_id, one.losses[epoch - 1])
            if stop is not None:
                reached[one.trial_id], is_over = epoch, True
        if not is_over:
            heapq.heappush(clock, (now + _seconds_to(one, passed + 1), number, passed + 1))
        elif started < len(networks):
            heapq.heappush(clock, (now + _seconds_to(networks[started], 0), started, 0))
            started += 1
    return reached


def _seconds_to(network: Network, passed: int) -> float:
    """Seconds from the rung before to the next one, or to the end."""
    ends = [0, *network.rungs, len(network.losses)]
    return sum(network.seconds[ends[passed] : ends[passed + 1]])


def figures(
    group: Group, networks: Sequence[Network], factor: int, workers: int, n_orders: int
) -> list[Figure]:
    """What ASHA would have done to a model's networks, over random orders."""
    rng = np.random.default_rng(0)
    total = sum(len(one.losses) for one in networks)
    total_s = sum(sum(one.seconds) for one in networks)
    kept = np.zeros((n_orders, len(networks)), bool)
    by_lot = np.zeros_like(kept)
    saved, saved_s = np.zeros(n_orders), np.zeros(n_orders)
    for number in range(n_orders):
        order = [networks[i] for i in rng.permutation(len(networks))]
        reached = replay(order, group, factor, workers)
        kept[number] = [reached[one.trial_id] == len(one.losses) for one in networks]
        by_lot[number, rng.permutation(len(networks))[: kept[number].sum()]] = True
        saved[number] = 1 - sum(reached.values()) / total
        seconds = sum(sum(one.seconds[: reached[one.trial_id]]) for one in networks)
        saved_s[number] = 1 - seconds / total_s
    places = sorted(set.intersection(*(set(one.auc) for one in networks)))
    found = []
    for place in places:
        auc = np.array([one.auc[place] for one in networks])
        lost, lot = _lost(auc, kept), _lost(auc, by_lot)
        first = [one.losses[one.rungs[0] - 1] for one in networks]
        last = [one.losses[-1] for one in networks]
        found.append(
            Figure(
                group=group,
                place=place,
                n=len(networks),
                n_kept=float(kept.sum(1).mean()),
                epochs_saved=float(saved.mean()),
                seconds_saved=float(saved_s.mean()),
                best_kept=float(kept[:, int(auc.argmax())].mean()),
                lost=float(lost.mean()),
                lost_at_worst=float(lost.max()),
                lost_by_lot=float(lot.mean()),
                spread=float(auc.max() - np.median(auc)),
                rank_correlation=float(spearmanr(first, -auc).statistic),
                rank_correlation_at_end=float(spearmanr(last, -auc).statistic),
            )
        )
    return found


def _lost(auc_N: NDArray[np.float64], kept_ON: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUC lost in each order by choosing among those kept."""
    lost: NDArray[np.float64] = auc_N.max() - np.where(kept_ON, auc_N, -np.inf).max(1)
    return lost


def recorded(study: StudyStore, halving: Halving) -> dict[Group, list[Network]]:
    """The networks of a study that were trained to their end, by model and modality."""
    record = study.study()
    assert record is not None, f"no study in {study.storage.uri}"
    index = load_index(study)
    rows = plan_rows(record, index)
    rows = rows.filter(pc.and_(pc.equal(rows["region"], "brain"), pc.is_valid(rows["auc"])))
    auc_of: dict[str, dict[Place, float]] = defaultdict(dict)
    for row in rows.select(["trial_id", "score", "cohort", "auc"]).to_pylist():
        auc_of[row["trial_id"]][row["score"], row["cohort"]] = row["auc"]
    found: dict[Group, list[Network]] = defaultdict(list)
    for planned in record.trials:
        rungs, trial = rungs_of(planned, halving), study.trial(planned.trial_id)
        fit = trial.fit()
        if not rungs or fit is None or fit.status != "done" or not auc_of[planned.trial_id]:
            continue
        told = pq.read_table(io.BytesIO(trial.read_part(fit, "history.parquet")))
        losses, seconds = (told[name].to_pylist() for name in ("validation_loss", "wall_s"))
        aucs = auc_of[planned.trial_id]
        one = Network(planned.trial_id, tuple(losses), tuple(seconds), rungs, aucs)
        found[group_of(planned.spec)].append(one)
    return dict(found)


def _table(rows: Iterable[Figure]) -> Table:
    table = Table(title="what ASHA would have done")
    heads = ("model", "test set", "score", "kept", "epochs saved", "time saved", "best kept")
    for head in (*heads, "AUC lost", "at worst", "by lot", "best - median", "rank corr.", "at end"):
        table.add_column(head, justify="left" if head in heads[:3] else "right")
    for one in rows:
        (model, modality), (score, cohort) = one.group, one.place
        table.add_row(
            model,
            f"{cohort} {modality}",
            score,
            f"{one.n_kept:.1f} of {one.n}",
            *(f"{x:.0%}" for x in (one.epochs_saved, one.seconds_saved, one.best_kept)),
            *(f"{x:.3f}" for x in (one.lost, one.lost_at_worst, one.lost_by_lot, one.spread)),
            f"{one.rank_correlation:.2f}",
            f"{one.rank_correlation_at_end:.2f}",
        )
    return table


def main(
    store: Annotated[str, typer.Option(help="URI of the store.")] = "runs",
    study: Annotated[str, typer.Option(help="A finished study without --asha.")] = "paper-phantom",
    factor: Annotated[int, typer.Option(min=2, help="One of so many goes on.")] = 3,
    grace: Annotated[int | None, typer.Option(min=1, help="Epochs before the first rung.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Networks that are trained at once.")] = 1,
    orders: Annotated[int, typer.Option(min=1, help="Random orders.")] = 1000,
) -> None:
    """Replay ASHA on the recorded validation losses of a finished study."""
    halving = Halving(reduction_factor=factor, grace_epochs=grace)
    groups = recorded(StudyStore.open(Storage.open(store), study), halving)
    rows = [
        row
        for group, networks in sorted(groups.items())
        for row in figures(group, networks, factor, workers, orders)
    ]
    Console(width=180).print(_table(rows))
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    typer.run(main)
