"""`pad=same` pads as TensorFlow does, at any stride, by values computed in loops here.

Source of the rule: TensorFlow's notes on convolution. Along an axis of n units there
are ceil(n / s) windows, and max((ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0) units
of padding in all, half of them before, the odd one after.
"""

from __future__ import annotations

import importlib.util
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

import archdsl
from tests.conftest import ROOT

CASE = ROOT / "tests" / "cases" / "same_maxpool.arch"
Pair = tuple[int, int]
Windows = list[list[list[tuple[int, int]]]]


def taps(size: int, kernel: int, stride: int, dilation: int) -> list[list[int]]:
    """Return the positions that each window reads along an axis, padding included."""
    units = math.ceil(size / stride)
    total = max((units - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    start = -(total // 2)
    return [
        [start + unit * stride + dilation * tap for tap in range(kernel)]
        for unit in range(units)
    ]


def padded(x: np.ndarray, row: int, column: int, outside: float) -> Any:
    """Return the channels at a position; outside of the map, a constant."""
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return x[:, row, column] if inside else np.full(x.shape[0], outside)


def pooled(x: np.ndarray, kernel: Pair, stride: Pair, dilation: Pair) -> np.ndarray:
    rows, columns = (
        taps(*axis) for axis in zip(x.shape[1:], kernel, stride, dilation, strict=True)
    )
    out = np.empty((x.shape[0], len(rows), len(columns)))
    for (i, own), (j, across) in product(enumerate(rows), enumerate(columns)):
        read = [padded(x, r, c, -np.inf) for r, c in product(own, across)]
        out[:, i, j] = np.max(read, axis=0)
    return out


def convolved(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: Pair, dilation: Pair
) -> np.ndarray:
    kernel = weight.shape[2:]
    rows, columns = (
        taps(*axis) for axis in zip(x.shape[1:], kernel, stride, dilation, strict=True)
    )
    out = np.empty((weight.shape[0], len(rows), len(columns)))
    for (i, own), (j, across) in product(enumerate(rows), enumerate(columns)):
        out[:, i, j] = bias
        for (a, r), (b, c) in product(enumerate(own), enumerate(across)):
            out[:, i, j] += weight[:, :, a, b] @ padded(x, r, c, 0.0)
    return out


def built(line: str, height: int, width: int) -> nn.Module:
    text = f"arch 1\nnetwork N {{\n    input 2x{height}x{width}\n    {line}\n}}\n"
    return archdsl.build(archdsl.loads(text)).double()


def sizes(most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


def written(kernel: Pair, stride: Pair, dilation: Pair) -> str:
    k, s, d = ("x".join(map(str, pair)) for pair in (kernel, stride, dilation))
    return f"{k} /{s} pad=same dilation={d}"


def output(module: nn.Module, x: np.ndarray) -> np.ndarray:
    found: Tensor = module(torch.from_numpy(x)[None])
    return found[0].detach().numpy()


settled = settings(max_examples=60, deadline=None)


@settled
@example((13, 13), (2, 2), (1, 1), (1, 1))
@example((5, 6), (3, 3), (1, 1), (2, 2))
@example((7, 8), (2, 2), (4, 5), (1, 1))
@given(sizes(9), sizes(4), sizes(5), sizes(3))
def test_max_pools(shape: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    module = built(f"maxpool {written(kernel, stride, dilation)}", *shape)
    # Negative values, so that a zero of the padding would be the maximum.
    x = -1 - np.random.default_rng(0).random((2, *shape))
    np.testing.assert_array_equal(
        output(module, x), pooled(x, kernel, stride, dilation)
    )


@settled
@example((8, 7), (3, 3), (2, 2), (1, 1))
@example((6, 6), (2, 4), (1, 1), (1, 1))
@example((7, 8), (2, 2), (4, 5), (1, 1))
@given(sizes(9), sizes(4), sizes(5), sizes(3))
def test_convolutions(shape: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    line = f"conv {written(kernel, stride, dilation)}".replace(" /", " 3 /")
    module = built(line, *shape)
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    assert [*state] == ["conv1.weight", "conv1.bias"]
    x = np.random.default_rng(0).standard_normal((2, *shape))
    expected = convolved(x, *state.values(), stride, dilation)
    np.testing.assert_allclose(output(module, x), expected, rtol=0, atol=1e-12)


def test_inputs_of_another_size_are_padded_for_theirs() -> None:
    """224 needs one position of padding, and 225 one at both ends."""
    module = built("conv 3x3 3 /2 pad=same -> maxpool 3x3 /2 pad=same", 8, 8)
    other = built("conv 3x3 3 /2 pad=same -> maxpool 3x3 /2 pad=same", 9, 7)
    other.load_state_dict(module.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 9, 7))
    np.testing.assert_array_equal(output(module, x), output(other, x))


def test_the_case() -> None:
    """It keeps 13x13 and, unlike a `zeropad`, negative values, too."""
    text = CASE.read_text(encoding="utf-8")
    zeros = "    zeropad right=1 bottom=1\n    maxpool 2x2 /1\n"
    assert zeros in text
    network = archdsl.loads(text.replace(zeros, "    maxpool 2x2 /1 pad=same\n"))
    assert archdsl.analyze(network).output == (4, 13, 13)
    ours = archdsl.build(network).eval()
    theirs = archdsl.build(archdsl.loads(text)).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 13, 13)
    found, other = ours(x), theirs(x)
    assert torch.equal(found[..., :-1, :-1], other[..., :-1, :-1])
    assert (other[..., -1] >= 0).all() and (found[..., -1] < 0).any()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "maxpool 3x3 /1 pad=same",
            "x = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)",
        ),
        ("conv 1x1 3 /2 pad=same", "nn.Conv2d(2, 3, kernel_size=1, stride=2)"),
        ("conv 4x4 3 pad=same", 'nn.Conv2d(2, 3, kernel_size=4, padding="same")'),
    ],
)
def test_torchs_own_padding_where_it_is_the_same(line: str, expected: str) -> None:
    text = f"arch 1\nnetwork N {{\n    input 2x8x8\n    {line}\n}}\n"
    assert expected in archdsl.emit(archdsl.loads(text))


@pytest.mark.parametrize(
    "line",
    ["maxpool 3x3 /2 pad=same", "maxpool 2x2 /1 pad=same", "conv 4x3 3 /2 pad=same"],
)
def test_torchs_tools_take_them(line: str) -> None:
    module = built(line, 8, 7)
    x = torch.randn(1, 2, 8, 7, dtype=torch.float64)
    expected = module(x)
    torch.compiler.reset()
    for taken in (
        fx.symbolic_trace(module),
        torch.export.export(module, (x,)).module(),
        torch.compile(module, fullgraph=True, backend="eager"),
    ):
        assert torch.equal(taken(x), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_they_can_be_scripted(tmp_path: Path) -> None:
    lines = (
        "conv 4x3 3 /2 pad=same -> maxpool 3x3 /2 pad=same -> maxpool 2x2 /3 pad=same"
    )
    text = f"arch 1\nnetwork N {{\n    input 2x19x23\n    {lines}\n}}\n"
    path = tmp_path / "net.py"
    path.write_text(archdsl.emit(archdsl.loads(text)), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("net", path)
    assert spec is not None and spec.loader is not None
    emitted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emitted)
    module = emitted.N()
    x = torch.randn(1, 2, 19, 23)
    assert torch.equal(torch.jit.script(module)(x), module(x))


def test_receptive_field_by_hand() -> None:
    """On 8 units, a 3x3 kernel at stride 2 only pads one at the end."""
    body = "conv 3x3 1 /2 pad=same\n    maxpool 2x2 /1 pad=same"
    network = archdsl.loads(f"arch 1\nnetwork N {{\n    input 1x8x8\n    {body}\n}}\n")
    field = archdsl.analyze(network).receptive_field
    assert field is not None
    assert (field.size, field.jump, field.start) == ((5, 5), (2, 2), (0, 0))


@pytest.mark.parametrize("more", ["", " -> relu -> conv 3x3 4"])
def test_an_initialisation_reaches_convolutions_of_either_class(more: str) -> None:
    text = (
        "arch 1\nnetwork Net {\n    input 3x9x9\n"
        f"    conv 3x3 4 /2 pad=same{more}\n    init conv weight=0.5\n}}\n"
    )
    module = archdsl.build(archdsl.loads(text))
    weights = [p for n, p in module.named_parameters() if n.endswith("weight")]
    assert weights and all((weight == 0.5).all() for weight in weights)
