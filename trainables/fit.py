"""The one training loop of all networks, and the state it resumes from.

Randomness needs no state besides the seed: what shuffles an epoch is drawn from a generator keyed
by (seed, epoch), and what a step draws from one keyed by (seed, step). A continued training
therefore draws what an uninterrupted one would have.

Shape legend: B images of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.adam import Adam, Moments
from trainables.arithmetic import reproducible
from trainables.batches import Batches
from trainables.batchnorm import batch_norm_buffers, reestimated
from trainables.detector import EpochMetrics, NonFiniteLossError, State, StepMetrics
from trainables.schedule import Schedule, learning_rate, steps_before_decay
from trainables.slices import Slices
from trainables.states import check, count, from_numpy, to_numpy

CHECK_EVERY = 50
"""Steps between two looks at the loss: each look makes a GPU wait for itself."""

_SHUFFLE, _STEP, _REESTIMATE = 1, 2, 3


class Objective(Protocol):
    """What is minimised: a mean over the images of a batch, as a float32 scalar."""

    def __call__(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        """Compute the loss.

        Args:
            x_B1HW: Images.
            generator: Source of noise while training; without one, nothing is random.
        """


@dataclass(frozen=True)
class Settings:
    """How to optimise.

    Attributes:
        batch_size: Most images a step; the batches of an epoch differ by at most one image.
        learning_rate: Adam's step size.
        betas: Adam's decay rates.
        weight_decay: L2 penalty inside Adam, not AdamW.
        schedule: What becomes of the learning rate.
        reestimate_batch_norm: Whether a complete training ends with a pass over its images that
            takes the statistics of batch norm anew.
    """

    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    schedule: Schedule = "decay"
    reestimate_batch_norm: bool = True


class Training:
    """A network on its way: weights, optimiser, and how far it has come.

    Not thread-safe. Uses as many threads as torch is set to.

    Args:
        network: What is trained, already on its device.
        settings: How.
        seed: Seed of shuffling and noise.

    Attributes:
        epoch: Epochs complete.
        steps: Optimiser steps taken, those of an epoch under way included.
    """

    def __init__(self, network: nn.Module, settings: Settings, *, seed: int) -> None:
        self.network = network
        self.settings = settings
        self.seed = seed
        self.epoch = 0
        self.steps = 0
        self._loss_sum = 0.0
        self._decays_to = 0
        self._before_decay: State | None = None
        self._running: dict[str, Tensor] | None = None
        self._parameters = dict(network.named_parameters())
        self._device = next(network.parameters()).device
        self._optimiser = Adam(
            self._parameters, betas=settings.betas, weight_decay=settings.weight_decay
        )

    def run(
        self,
        objective: Objective,
        train: Slices,
        validation: Slices | None,
        epochs: int,
        *,
        every_s: float | None = None,
    ) -> Iterator[EpochMetrics | StepMetrics]:
        """Train until ``epochs`` epochs are complete, yielding after each.

        A training that is complete for fewer epochs goes on from where its learning rate began to
        decay. The validation loss is computed without noise, with the running statistics of batch
        norm and, after the last epoch, the re-estimated ones; it changes nothing in the training.

        Args:
            objective: What is minimised.
            train: The training slices.
            validation: Slices of held-out subjects, or None.
            epochs: Epochs in all.
            every_s: Also yield about every so many seconds within an epoch, and at its end.

        Raises:
            NonFiniteLossError: If the training or validation loss is NaN or infinite.
            ValueError: If there are fewer than two slices to train on, or this training has
                decayed towards another number of epochs and no longer knows where that began.
        """
        if len(train) < 2 and self.epoch < epochs:
            raise ValueError(f"a network needs at least 2 slices to train on, not {len(train)}")
        self._head_for(epochs)
        total = epochs * n_batches(len(train), self.settings.batch_size)
        training = Batches(train, self._device)
        held_out = Batches(validation, self._device) if validation else None
        while self.epoch < epochs:
            yield from self._train_epoch(objective, training, total, epochs, every_s)
            mean_loss = self._loss_sum / len(train)
            # flags are set anew for each piece of work, so that the caller never runs under them
            with reproducible():
                if self.epoch + 1 == epochs:
                    self._reestimate(objective, training)
                validation_loss = self._mean_loss(objective, held_out) if held_out else None
            self.epoch, self._loss_sum = self.epoch + 1, 0.0
            yield EpochMetrics(self.epoch, self.steps, len(train), mean_loss, validation_loss)
        if self._running is None and len(train) > 1 and self.epoch == epochs:
            with reproducible():  # a complete state that was loaded
                self._reestimate(objective, training)

    def _head_for(self, epochs: int) -> None:
        """Go back to where the learning rate began to decay, if that was towards other epochs."""
        if self._decays_to not in (0, epochs) and epochs > self.epoch:
            if self._before_decay is None:
                raise ValueError(
                    f"this training's learning rate has decayed towards {self._decays_to} epochs; "
                    f"one of {epochs} goes on from the state where that began"
                )
            self.load_state(self._before_decay)
        elif self.epoch < epochs:
            self._restore_running()

    def _train_epoch(
        self,
        objective: Objective,
        train: Batches,
        total: int,
        epochs: int,
        every_s: float | None,
    ) -> Iterator[StepMetrics]:
        """Take the steps of an epoch that are left of it."""
        order = np.random.default_rng([self.seed, _SHUFFLE, self.epoch]).permutation(len(train))
        batches = split_evenly(order, self.settings.batch_size)
        sizes = np.cumsum([0, *(len(b) for b in batches)])
        first = told = self.steps - self.epoch * len(batches)
        clock = time.monotonic()
        decay_from = steps_before_decay(total, self.settings.schedule)
        while first < len(batches):
            if self.steps == decay_from and not self._decays_to:
                self._before_decay = self.state()
                self._decays_to = epochs
            last = min(first + CHECK_EVERY, len(batches))
            if self.steps < decay_from:
                last = min(last, first + decay_from - self.steps)
            until = math.inf if every_s is None else clock + every_s
            with reproducible():
                first = self._take_steps(objective, train, batches, first, last, total, until)
            is_due = time.monotonic() >= until or first == len(batches)
            if every_s is not None and is_due:
                yield StepMetrics(
                    epoch=self.epoch,
                    steps=self.steps,
                    n_slices=int(sizes[first] - sizes[told]),
                    share=first / len(batches),
                    train_loss=self._loss_sum / int(sizes[first]),
                )
                told, clock = first, time.monotonic()

    def _take_steps(
        self,
        objective: Objective,
        train: Batches,
        batches: Sequence[NDArray[np.intp]],
        first: int,
        last: int,
        total: int,
        until: float,
    ) -> int:
        """Take steps ``first`` to ``last`` - 1 of an epoch, or fewer if time is up; where it is."""
        losses = torch.zeros(last - first, device=self._device)
        generator = torch.Generator(self._device)
        self.network.train()
        here = first
        while here < last:
            generator.manual_seed(_step_seed(self.seed, self.steps))
            x_B1HW = train.images(batches[here])
            if here + 1 < len(batches):
                train.prefetch(batches[here + 1])
            loss = objective(x_B1HW, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step(self._learning_rate(total))
            losses[here - first] = loss.detach()
            self.steps += 1
            here += 1
            if time.monotonic() >= until:
                break
        values = losses[: here - first].cpu().double().numpy()
        self._check_finite(values)
        for value, batch in zip(values, batches[first:here], strict=True):
            self._loss_sum += float(value) * len(batch)
        return here

    def _learning_rate(self, total: int) -> float:
        share = learning_rate(self.steps, total, self.settings.schedule)
        return self.settings.learning_rate * share

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            step = self.steps - len(losses) + int(bad[0]) + 1
            raise NonFiniteLossError(
                f"the training loss is {losses[bad[0]]} at step {step} "
                f"of epoch {self.epoch + 1}; a lower learning rate may help, "
                "if the training images are finite"
            )

    def _reestimate(self, objective: Objective, train: Batches) -> None:
        """Take the statistics of batch norm anew, and keep those that training goes on with."""
        if not self.settings.reestimate_batch_norm or self._running is not None:
            return
        order = np.random.default_rng([self.seed, _REESTIMATE]).permutation(len(train))
        batches = split_evenly(order, self.settings.batch_size)
        self._running = {k: v.clone() for k, v in batch_norm_buffers(self.network).items()}
        with reestimated(self.network), torch.no_grad():
            for rows in batches:
                objective(train.images(rows), None)

    def _restore_running(self) -> None:
        """Put back the statistics that training goes on with."""
        if self._running is not None:
            for name, buffer in batch_norm_buffers(self.network).items():
                buffer.copy_(self._running[name])
            self._running = None

    @torch.no_grad()
    def _mean_loss(self, objective: Objective, held_out: Batches) -> float:
        self.network.eval()
        batches = split_evenly(np.arange(len(held_out)), self.settings.batch_size)
        losses = torch.stack([objective(held_out.images(rows), None) for rows in batches])
        values = losses.cpu().double().numpy()  # a card waits for itself here, once
        total = sum(float(v) * len(rows) for v, rows in zip(values, batches, strict=True))
        if not math.isfinite(total):
            raise NonFiniteLossError(
                f"the validation loss is {total} after epoch {self.epoch + 1}; a lower learning "
                "rate may help, if the validation images are finite"
            )
        return total / len(held_out)

    def weights(self) -> State:
        """What scoring needs, as copies; after a complete fit with statistics taken anew."""
        return {f"model.{k}": to_numpy(v) for k, v in self.network.state_dict().items()}

    def before_decay(self) -> State | None:
        """The state where the learning rate began to decay, if this process came by there."""
        return self._before_decay

    def state(self) -> State:
        """Everything that training goes on from, as copies."""
        running = self._running or {}
        weights = self.network.state_dict() | running
        state = {f"model.{k}": to_numpy(v) for k, v in weights.items()}
        for name, moments in self._optimiser.moments.items():
            state[f"optim.exp_avg.{name}"] = to_numpy(moments.exp_avg)
            state[f"optim.exp_avg_sq.{name}"] = to_numpy(moments.exp_avg_sq)
        state["steps"] = np.array(self.steps, dtype=np.int64)
        state["epoch"] = np.array(self.epoch, dtype=np.int64)
        state["epoch.loss_sum"] = np.array(self._loss_sum, dtype=np.float64)
        state["decay.epochs"] = np.array(self._decays_to, dtype=np.int64)
        state["rng.seed"] = np.array(self.seed, dtype=np.int64)
        return state

    def load_state(self, state: State) -> None:
        """Take over what :meth:`state` gave, or its ``model.*`` part alone.

        Raises:
            ValueError: If a name, shape or type does not fit; nothing has been changed then.
        """
        weights = self.network.state_dict()
        expected = {f"model.{k}": v for k, v in weights.items()}
        weights_only = all(name.startswith("model.") for name in state)
        steps = 0 if weights_only else count(state, "steps")
        if not weights_only:
            counts = ("steps", "epoch", "decay.epochs", "rng.seed")
            expected |= dict.fromkeys(counts, torch.zeros((), dtype=torch.int64))
            expected["epoch.loss_sum"] = torch.zeros((), dtype=torch.float64)
        if steps:
            for moment in ("exp_avg", "exp_avg_sq"):
                expected |= {f"optim.{moment}.{k}": v for k, v in self._parameters.items()}
        check(state, expected)

        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(from_numpy(state[f"model.{name}"]))
            self._optimiser.load(steps, _moments(state, self._parameters) if steps else {})
        self.steps = steps
        self.epoch = 0 if weights_only else count(state, "epoch")
        self._loss_sum = 0.0 if weights_only else float(state["epoch.loss_sum"].item())
        self._decays_to = 0 if weights_only else count(state, "decay.epochs")
        self._before_decay = self._running = None
        self.seed = self.seed if weights_only else count(state, "rng.seed")


def _moments(state: State, names: Iterable[str]) -> dict[str, Moments]:
    """Those of some parameters in a full training state."""
    kinds = ("exp_avg", "exp_avg_sq")
    return {k: Moments(*(from_numpy(state[f"optim.{kind}.{k}"]) for kind in kinds)) for k in names}


def leads_to(state: State, n_slices: int, epochs: int, settings: Settings) -> bool:
    """Whether a training of so many epochs passes through a state.

    Args:
        state: A full training state.
        n_slices: Slices it trains on.
        epochs: Epochs in all.
        settings: How it trains.
    """
    decays_to = count(state, "decay.epochs")
    if decays_to:
        return decays_to == epochs
    total = epochs * n_batches(n_slices, settings.batch_size)
    return count(state, "steps") <= steps_before_decay(total, settings.schedule)


def n_batches(n_slices: int, batch_size: int) -> int:
    """Steps of an epoch: as few as a batch size allows, but no batch of a single image."""
    return max(1, min(math.ceil(n_slices / batch_size), n_slices // 2))


def split_evenly(rows: NDArray[np.intp], batch_size: int) -> list[NDArray[np.intp]]:
    """Batches whose sizes differ by at most one: a small last one would move a network by noise."""
    return np.array_split(rows, n_batches(len(rows), batch_size))


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, _STEP, step]).generate_state(1, np.uint64)[0] >> 1)
