"""Random PyTorch modules in the style of hand-written ones, to import as specs.

They have nested containers, modules that run twice, functions instead of modules,
reused activations, in-place operations, and constants in attributes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archdsl.ir import Network, Step

IMAGE: Final = (3, 8, 8)


class Part(nn.Module):
    """A part of a network, with its number of output channels.

    Args:
        random: the source of random choices.
        channels: input channels.
        depth: how deep parts may still be nested.
    """

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__()
        self.width = channels


class Unit(Part):
    """A convolution with norm, activation and the like, some of them as functions."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.width = random.choice((channels, 4, 8))
        kernel, groups = random.choice((1, 3)), random.choice((1, 1, 2))
        groups = groups if channels % 2 == self.width % 2 == 0 else 1
        self.conv = nn.Conv2d(
            channels, self.width, kernel, padding=kernel // 2, groups=groups
        )
        norms: tuple[Callable[[], nn.Module], ...] = (
            lambda: nn.BatchNorm2d(self.width),
            lambda: nn.GroupNorm(1, self.width),
            nn.Identity,
        )
        self.norm = random.choice(norms)()
        self.act = random.choice((F.relu, F.relu_, torch.sigmoid, F.silu, F.gelu))
        self.as_function = random.random() < 0.3

    def forward(self, x: Tensor) -> Tensor:
        if self.as_function:
            conv = self.conv
            x = F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, groups=conv.groups)
        else:
            x = self.conv(x)
        return self.act(self.norm(x))


class Chain(Part):
    """Parts in a Sequential, by number or by name, with gaps between numbers."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        parts: list[nn.Module] = []
        for _ in range(random.randint(1, 3)):
            part = some(random, self.width, depth - 1)
            parts += [part, *random.choice(((), (nn.Identity(),), (nn.ReLU(),)))]
            self.width = part.width
        self.body = nn.Sequential(*parts)
        if random.random() < 0.3:
            self.body = nn.Sequential()
            for number, part in enumerate(parts):
                self.body.add_module(f"part{number}x", part)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Listed(Part):
    """Parts in a list whose results are concatenated."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.parts = nn.ModuleList(
            some(random, channels, depth - 1) for _ in range(random.randint(1, 3))
        )
        self.width = sum(part.width for part in self.parts)  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


class Residual(Part):
    """A sum with the input, in place or not, with a factor from an attribute."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.body = some(random, channels, depth - 1)
        self.width = self.body.width
        self.short = None
        if self.width != channels:
            self.short = nn.Conv2d(channels, self.width, 1, bias=False)
        self.factor = random.choice((1.0, 0.5))
        self.in_place = random.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) * self.factor
        x = x if self.short is None else self.short(x)
        if self.in_place:
            y += x
            return y
        return x + y


class Gate(Part):
    """A gate for each channel, made of linear layers or convolutions."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.linear = random.random() < 0.5
        kinds: Callable[[int, int], nn.Module] = (
            nn.Linear if self.linear else lambda a, b: nn.Conv2d(a, b, 1)
        )
        self.down, self.up = kinds(channels, 2), kinds(2, channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3), keepdim=not self.linear)
        y = torch.sigmoid(self.up(self.act(self.down(y))))
        return x * (y[:, :, None, None] if self.linear else y)


class Twice(Part):
    """A part that runs twice, with a reused activation."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.act = random.choice((nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh()))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(self.act(self.conv(x))))


class Halves(Part):
    """Channels split into pieces, some of which stay unchanged."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.kept = max(1, channels // 2)
        self.body = (
            some(random, channels - self.kept, depth - 1) if channels > 1 else None
        )
        self.width = self.kept + (0 if self.body is None else self.body.width)
        self.way = random.choice(("split", "slice"))

    def forward(self, x: Tensor) -> Tensor:
        if self.body is None:
            return x
        if self.way == "split":
            kept, rest = torch.split(x, [self.kept, x.shape[1] - self.kept], 1)
        else:
            kept, rest = x[:, : self.kept], x[:, self.kept :, :, :]
        return torch.cat((kept, self.body(rest)), 1)


_PARTS: Final = (Unit, Unit, Chain, Listed, Residual, Gate, Twice, Halves)


def some(random: Random, channels: int, depth: int) -> Part:
    """Return a part of any class."""
    cls = Unit if depth <= 0 else random.choice(_PARTS)
    return cls(random, channels, depth)


class Random_(Part):
    """A network of random parts, followed by a classifier."""

    def __init__(self, random: Random, channels: int, depth: int) -> None:
        super().__init__(random, channels, depth)
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.first = some(random, 4, depth)
        self.second = some(random, self.first.width, depth)
        self.head = nn.Linear(self.second.width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(self.stem(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def module_of(seed: int) -> nn.Module:
    """Return the random module of a seed, with reproducible weights."""
    torch.manual_seed(seed)
    return Random_(Random(f"module {seed}"), IMAGE[0], 3)


def structure(network: Network) -> Counter[Any]:
    """Return what a network computes: its layers, with their inputs.

    These differences are ignored: the order of branches in sums and products, layers
    that change nothing, whether a global pool and its flatten are separate layers, and
    whether a sum of several values is written as sums of two.
    """
    known: dict[int, Any] = {port.value: n for n, port in enumerate(network.inputs)}
    terms: dict[int, list[Any]] = {}
    found: Counter[Any] = Counter()
    for step in network.steps():
        reads = [known[value] for value in step.inputs]
        if step.op.word == "add":
            reads = [
                t for value in step.inputs for t in terms.get(value, [known[value]])
            ]
            terms[step.output] = sorted(reads)
            known[step.output] = hash(("add", *sorted(reads)))
            found["add"] += len(step.inputs) - 1
            continue
        if step.op.word in ("mul", "difference"):
            reads.sort()
        for what in _said(step):
            reads = [hash((what, *reads))]
            found[reads[0]] += 1
        known[step.output] = reads[0]
    return found


def _said(step: Step) -> list[Any]:
    """Return a step in a canonical form."""
    word, shape = step.op.word, tuple(map(int, step.shape))
    if step.op.passes(step.input_shapes, step.shape):
        return []
    if word == "flatten":
        return ["flatten"]
    if word in ("globalavgpool", "globalmaxpool"):
        return [word[6:], "flatten"]
    if word in ("adaptiveavgpool", "adaptivemaxpool") and set(shape[1:]) == {1}:
        return [word[8:]]
    weights = step.path if step.op.tensors(*step.input_shapes) else ""
    # An import computes a probability p from 1 - p, which loses digits.
    form = re.sub(r"\d+\.\d+(e-\d+)?", lambda m: f"{float(m[0]):.9g}", repr(step.form))
    return [(word, form, weights, shape)]
