"""The optimizer, schedule and weight average of a recipe.

All are torch's, except for LAMB, which is timm's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from archdsl.backends.extras import need_working

from .recipe import Average, Optimizer, Recipe, Schedule

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer
    from torch.optim.swa_utils import AveragedModel


def make_optimizer(module: nn.Module, how: Optimizer) -> TorchOptimizer:
    """Return the optimizer of the trained parameters.

    Raises:
        MissingExtra: if it needs a library that cannot be imported.
    """
    import torch

    trained = [one for one in module.parameters() if one.requires_grad]
    decayed = [one for one in trained if how.decay_all or one.dim() > 1]
    kept = {id(one) for one in decayed}
    others = [one for one in trained if id(one) not in kept]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": how.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if how.kind == "adamw":
        return torch.optim.AdamW(groups, lr=how.lr, betas=how.betas)
    if how.kind == "lamb":
        # The loop clips gradients if the recipe says so; LAMB must not clip them again.
        return cast(
            "TorchOptimizer",
            _lamb()(groups, lr=how.lr, betas=how.betas, max_grad_norm=None),
        )
    return torch.optim.SGD(
        groups, lr=how.lr, momentum=how.momentum, nesterov=how.nesterov
    )


def _lamb() -> Any:
    return need_working(
        '`optimizer.kind = "lamb"`',
        "timm, and a torchvision that goes with the installed torch",
        "timm",
        "timm.optim",
    ).Lamb


class LearningRates:
    """Sets the learning rate of each step.

    Args:
        optimizer: the optimizer.
        recipe: the recipe.
        steps: number of steps in an epoch.
    """

    def __init__(self, optimizer: TorchOptimizer, recipe: Recipe, steps: int) -> None:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        how, total = recipe.schedule, recipe.epochs * steps
        self._optimizer = optimizer
        self._by_step = _by_step(optimizer, how, recipe.optimizer.lr, steps, total)
        self._by_epoch = None
        if how.kind == "plateau":
            self._by_epoch = ReduceLROnPlateau(
                optimizer, factor=how.factor, patience=how.patience
            )

    @property
    def rate(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Advance to the next step."""
        for one in self._by_step:
            one.step()

    def tested(self, error: float) -> None:
        """Report an epoch's test error, for `plateau`."""
        if self._by_epoch is not None:
            self._by_epoch.step(error)

    def state(self) -> list[dict[str, Any]]:
        """Return the state, for `load`."""
        last = [] if self._by_epoch is None else [self._by_epoch]
        return [one.state_dict() for one in (*self._by_step, *last)]

    def load(self, states: list[dict[str, Any]]) -> None:
        """Continue from a state."""
        last = [] if self._by_epoch is None else [self._by_epoch]
        for one, state in zip((*self._by_step, *last), states, strict=True):
            one.load_state_dict(state)


def _by_step(
    optimizer: TorchOptimizer, how: Schedule, rate: float, steps: int, total: int
) -> list[Any]:
    """Return the schedulers that change the rate after each step; they multiply."""
    from torch.optim import lr_scheduler as torchs

    rising = round(how.warmup_epochs * steps)
    if how.kind == "one_cycle":
        cycle: Any = torchs.OneCycleLR
        most = [rate] * len(optimizer.param_groups)
        # OneCycleLR starts at 1/25 of the rate, and takes `final` as a share of that.
        final = max(how.final * 25, 1e-4)
        return [
            cycle(
                optimizer, most, total, pct_start=how.rise, final_div_factor=1 / final
            )
        ]
    found: list[Any] = []
    if how.kind == "cosine":
        after: Any = torchs.CosineAnnealingLR(
            optimizer, max(total - rising, 1), eta_min=how.final * rate
        )
        if not rising:
            return [after]
        up = torchs.LinearLR(optimizer, how.warmup_start, total_iters=rising)
        return [torchs.SequentialLR(optimizer, [up, after], [rising])]
    if how.kind == "step":
        every = how.every
        last = math.ceil(total / steps)
        epochs = (
            how.milestones
            if every is None
            else tuple(every * n for n in range(1, int(last / every) + 1))
        )
        falls = [round(epoch * steps) for epoch in epochs]
        found.append(torchs.MultiStepLR(optimizer, falls, gamma=how.factor))
    if rising:
        found.append(torchs.LinearLR(optimizer, how.warmup_start, total_iters=rising))
    return found


def make_average(module: nn.Module, how: Average) -> AveragedModel:
    """Return a moving average of a module's weights and running statistics."""
    from torch.optim import swa_utils

    torchs: Any = swa_utils
    average = torchs.get_ema_multi_avg_fn(how.decay)
    found: AveragedModel = torchs.AveragedModel(
        module, multi_avg_fn=average, use_buffers=True
    )
    return found
