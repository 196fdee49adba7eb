"""The one training loop of all networks, and the state it resumes from.

Randomness needs no state besides the seed: what shuffles an epoch is drawn from a generator keyed
by (seed, epoch), and what a step draws from one keyed by (seed, step). A continued training
therefore draws what an uninterrupted one would have.

Shape legend: B images of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.detector import EpochMetrics, NonFiniteLossError, State
from trainables.slices import Slices

CHECK_EVERY = 50
"""Steps between two looks at the loss: each look makes a GPU wait for itself."""

_SHUFFLE, _STEP = 1, 2


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
        batch_size: Images a step.
        learning_rate: Adam's step size.
        betas: Adam's decay rates.
        weight_decay: L2 penalty inside Adam, not AdamW.
    """

    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float


class Training:
    """A network on its way: weights, optimiser, and how far it has come.

    Not thread-safe. Uses as many threads as torch is set to.

    Args:
        network: What is trained, already on its device.
        settings: How.
        seed: Seed of shuffling and noise.
    """

    def __init__(self, network: nn.Module, settings: Settings, *, seed: int) -> None:
        self.network = network
        self.settings = settings
        self.seed = seed
        self.epoch = 0
        self.steps = 0
        self._parameters = dict(network.named_parameters())
        self._device = next(network.parameters()).device
        self._optimiser = torch.optim.Adam(
            self._parameters.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def run(
        self, objective: Objective, train: Slices, validation: Slices | None, epochs: int
    ) -> Iterator[EpochMetrics]:
        """Train until ``epochs`` epochs are complete, yielding after each.

        The last batch of an epoch may be smaller; a single image left over is skipped, since batch
        norm has no variance to go by. The validation loss is computed with running statistics and
        without noise, and changes nothing in the training.

        Raises:
            NonFiniteLossError: If the training or validation loss is NaN or infinite.
            ValueError: If there are fewer than two slices to train on.
        """
        if len(train) < 2 and self.epoch < epochs:
            raise ValueError(f"a network needs at least 2 slices to train on, not {len(train)}")
        while self.epoch < epochs:
            # entered anew for each epoch, so that the caller never runs under these flags
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                train_loss, n_slices = self._train_epoch(objective, train)
                validation_loss = self._mean_loss(objective, validation) if validation else None
            self.epoch += 1
            yield EpochMetrics(self.epoch, self.steps, n_slices, train_loss, validation_loss)

    def _train_epoch(self, objective: Objective, train: Slices) -> tuple[float, int]:
        order = np.random.default_rng([self.seed, _SHUFFLE, self.epoch]).permutation(len(train))
        batches = [b for b in _split(order, self.settings.batch_size) if len(b) > 1]
        losses = torch.zeros(len(batches), device=self._device)
        generator = torch.Generator(self._device)
        self.network.train()
        for i, rows in enumerate(batches):
            generator.manual_seed(_step_seed(self.seed, self.steps))
            loss = objective(self._images(train, rows), generator)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            losses[i] = loss.detach()
            self.steps += 1
            if self.steps % CHECK_EVERY == 0:
                self._check_finite(losses, done=i + 1)
        self._check_finite(losses, done=len(batches))
        sizes = [len(b) for b in batches]
        return float(np.average(losses.cpu().double().numpy(), weights=sizes)), sum(sizes)

    def _check_finite(self, losses: Tensor, done: int) -> None:
        bad = np.flatnonzero(~np.isfinite(losses[:done].cpu().numpy()))
        if len(bad):
            step = self.steps - done + int(bad[0]) + 1
            raise NonFiniteLossError(
                f"the training loss is {losses[bad[0]].item()} at step {step} "
                f"of epoch {self.epoch + 1}; a lower learning rate may help, "
                "if the training images are finite"
            )

    @torch.no_grad()
    def _mean_loss(self, objective: Objective, slices: Slices) -> float:
        self.network.eval()
        total = 0.0
        for rows in _split(np.arange(len(slices)), self.settings.batch_size):
            total += objective(self._images(slices, rows), None).item() * len(rows)
        if not math.isfinite(total):
            raise NonFiniteLossError(
                f"the validation loss is {total} after epoch {self.epoch + 1}; a lower learning "
                "rate may help, if the validation images are finite"
            )
        return total / len(slices)

    def _images(self, slices: Slices, rows: NDArray[np.intp]) -> Tensor:
        return torch.from_numpy(slices.images(rows)).to(self._device).float().unsqueeze(1)

    def state(self) -> State:
        """Everything that training goes on from, as copies."""
        state = {f"model.{k}": _to_numpy(v) for k, v in self.network.state_dict().items()}
        for name, parameter in self._parameters.items():
            moments = self._optimiser.state.get(parameter)
            if moments:
                state[f"optim.exp_avg.{name}"] = _to_numpy(moments["exp_avg"])
                state[f"optim.exp_avg_sq.{name}"] = _to_numpy(moments["exp_avg_sq"])
        # the optimiser counts the same steps, once for every parameter
        state["steps"] = np.array(self.steps, dtype=np.int64)
        state["epoch"] = np.array(self.epoch, dtype=np.int64)
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
        steps = 0 if weights_only else _count(state, "steps")
        if not weights_only:
            expected |= dict.fromkeys(
                ("steps", "epoch", "rng.seed"), torch.zeros((), dtype=torch.int64)
            )
        if steps:
            for moment in ("exp_avg", "exp_avg_sq"):
                expected |= {f"optim.{moment}.{k}": v for k, v in self._parameters.items()}
        _check(state, expected)

        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(_from_numpy(state[f"model.{name}"]))
        self._optimiser.state.clear()
        self.steps = steps
        self.epoch = 0 if weights_only else _count(state, "epoch")
        self.seed = self.seed if weights_only else _count(state, "rng.seed")
        if steps:
            for name, parameter in self._parameters.items():
                self._optimiser.state[parameter] = {
                    "step": torch.tensor(float(steps), device=parameter.device),
                    # laid out as the parameter is: the fused step walks through both in parallel
                    **{
                        moment: torch.zeros_like(parameter, requires_grad=False).copy_(
                            _from_numpy(state[f"optim.{moment}.{name}"])
                        )
                        for moment in ("exp_avg", "exp_avg_sq")
                    },
                }


def _split(rows: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, _STEP, step]).generate_state(1, np.uint64)[0] >> 1)


def _count(state: State, name: str) -> int:
    if name not in state or state[name].size != 1:
        raise ValueError(f"the training state has no single number {name!r}")
    return int(state[name].item())


def _check(state: State, expected: Mapping[str, Tensor]) -> None:
    missing, unknown = (
        sorted(expected.keys() - state.keys()),
        sorted(state.keys() - expected.keys()),
    )
    if missing or unknown:
        raise ValueError(
            "the state does not fit this network: "
            f"missing {_some(missing)}, not expected {_some(unknown)}"
        )
    for name, tensor in expected.items():
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        if state[name].shape != shape or state[name].dtype != dtype:
            raise ValueError(
                f"the state's {name!r} is {state[name].dtype} of shape {state[name].shape}; "
                f"this network has {dtype} of shape {shape}"
            )


def _some(names: Sequence[str], most: int = 3) -> str:
    listed = ", ".join(repr(n) for n in names[:most]) or "nothing"
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _to_numpy(tensor: Tensor) -> NDArray[np.generic]:
    # C order, whatever the tensor's layout: safetensors stores nothing else
    copy: NDArray[np.generic] = np.array(tensor.detach().cpu().numpy(), order="C")
    return copy


def _from_numpy(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(array))
