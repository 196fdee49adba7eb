"""What records say of networks that were stopped early by their validation loss."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Halving(BaseModel):
    """How networks are stopped early: asynchronous successive halving, ASHA (Li et al., 2020).

    Attributes:
        reduction_factor: One of so many networks goes on beyond a rung.
        grace_epochs: Epochs that every network is trained; None for those of the whole training
            divided by the square of the factor.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    reduction_factor: int = Field(default=3, ge=2)
    grace_epochs: int | None = Field(default=None, ge=1)

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """The epochs after which networks are compared, ascending.

        None is in the second half of a training: stopping there saves little, and the last third
        has a falling learning rate, so that it ends on other losses with other epochs.

        Args:
            epochs: Of the whole training.
        """
        rung = self.grace_epochs or max(1, epochs // self.reduction_factor**2)
        found = []
        while 2 * rung <= epochs:
            found.append(rung)
            rung *= self.reduction_factor
        return tuple(found)


class Stop(BaseModel):
    """Why a network was stopped early.

    Attributes:
        epoch: The rung: epochs that it was trained.
        validation_loss: It had then.
        threshold: The highest validation loss that went on.
        n_compared: Networks of its model and modality that had come to the rung, itself included.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    epoch: int = Field(ge=1, lt=1 << 63)
    validation_loss: float
    threshold: float
    n_compared: int = Field(ge=1, lt=1 << 63)
