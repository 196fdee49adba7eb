"""Adam, without what torch's optimiser classes load.

``torch.optim.Adam`` loads torch's compiler when it is made, which takes every worker process as
much CPU time as loading torch itself, and compiles nothing. The arithmetic is torch's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_EPSILON = 1e-8  # as in torch and in Kingma and Ba


@dataclass(frozen=True, eq=False)
class Moments:
    """What Adam knows of a parameter, on its device and laid out as it is.

    Attributes:
        exp_avg: Running mean of its gradient.
        exp_avg_sq: Running mean of the squared gradient.
    """

    exp_avg: Tensor
    exp_avg_sq: Tensor


class Adam:
    """Adam with an L2 penalty (Kingma and Ba 2015), all parameters in one fused step.

    Not thread-safe. On a CPU it equals ``torch.optim.Adam(..., fused=True)`` in every bit.

    Args:
        parameters: What is optimised, by name.
        betas: Decay rates of the running means.
        weight_decay: Factor of the L2 penalty, whose gradient is added to the loss's.

    Attributes:
        moments: By the parameters' names; empty before the first step.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        self.moments: dict[str, Moments] = {}
        self._parameters = dict(parameters)
        self._betas = betas
        self._weight_decay = weight_decay
        self._steps: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Change every parameter that has a gradient, and drop the gradients.

        Args:
            learning_rate: Of this step.
        """
        if not self.moments:
            zero = torch.zeros(())
            self.load(0, dict.fromkeys(self._parameters, Moments(zero, zero)))
        moved = {k: v.grad for k, v in self._parameters.items() if v.grad is not None}
        adam(
            [self._parameters[k] for k in moved],
            list(moved.values()),
            [self.moments[k].exp_avg for k in moved],
            [self.moments[k].exp_avg_sq for k in moved],
            [],
            [self._steps[k] for k in moved],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )
        for parameter in self._parameters.values():
            parameter.grad = None

    def load(self, steps: int, moments: Mapping[str, Moments]) -> None:
        """Go on from elsewhere.

        Args:
            steps: Steps taken so far.
            moments: Of all parameters, by name; they are copied, and spread over a parameter if
                they are single numbers. Empty if no step was taken.
        """
        self.moments, self._steps = {}, {}
        for name, known in moments.items():
            parameter = self._parameters[name]
            # laid out as the parameter is: the fused step walks through both in parallel
            self.moments[name] = Moments(
                _zeros(parameter).copy_(known.exp_avg), _zeros(parameter).copy_(known.exp_avg_sq)
            )
            self._steps[name] = torch.tensor(float(steps), device=parameter.device)


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, requires_grad=False)
