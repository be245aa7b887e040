"""Every preset agrees with the model of torchvision that it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import archdsl
from archdsl.passes.analysis import Analysis
from tests.oracle import (
    CASES,
    Case,
    distance,
    every_case,
    fill,
    macs_of,
    meta,
    no_dropout,
    noted_shapes,
    tensors,
)

# Shapes of submodules by path, without the batch.
Shapes = Mapping[str, tuple[int, ...]]

# The MACs of torchvision's models by torch's own counter; recorded here so that a
# change of the reference is noticed.
PUBLISHED_MACS = {
    "alexnet": 714_188_480,
    "vgg19": 19_632_062_464,
    "googlenet": 1_498_376_192,
    "resnet50": 4_089_184_256,
    "densenet121": 2_834_161_664,
}
PUBLISHED_PARAMS = {
    "alexnet": 61_100_840,
    "vgg19": 143_667_240,
    "googlenet": 13_004_888,
    "googlenet_no_aux": 6_624_904,
    "resnet50": 25_557_032,
    "densenet121": 7_978_856,
}
# One network per family is enough here; the schemes themselves are compared for all.
SAMPLED = ("alexnet", "vgg11", "googlenet", "resnet18", "densenet121", "convnext_tiny")

some_cases = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.gradients],
    ids=lambda c: c.id,
    scope="module",
)


def with_equal_values(case: Case, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Return our module and torchvision's, which share their parameters' storage."""
    ours, theirs = (narrowed(module.to(dtype)) for module in case.on_meta().copies())
    fill(theirs)
    state = dict(theirs.state_dict())
    # In training, each module updates its own buffers.
    state |= {name: value.clone() for name, value in theirs.named_buffers()}
    ours.load_state_dict(state, strict=True, assign=True)
    assert no_dropout(ours) == no_dropout(theirs)
    return ours, theirs


def narrowed(module: nn.Module) -> nn.Module:
    """Remove most hidden units in the classifier of an AlexNet or a VGG.

    They have nine in ten of the network's weights, but add nothing to the test.
    """
    for first, second in pairwise(m for m in module.modules() if type(m) is nn.Linear):
        if first.out_features == second.in_features == 4096:
            assert first.bias is not None
            first.weight = nn.Parameter(first.weight.detach()[:64].clone())
            first.bias = nn.Parameter(first.bias.detach()[:64].clone())
            second.weight = nn.Parameter(second.weight.detach()[:, :64].clone())
    return module


def sample(case: Case, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(case.batch, generator=generator, dtype=dtype)


def assert_close(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float
) -> None:
    """Compare tensor by tensor, by the norm of the difference."""
    assert sorted(ours) == sorted(theirs)
    far = {n: distance(ours[n], theirs[n]) for n in theirs}
    assert not {n: d for n, d in far.items() if not d <= tolerance}


def run_on_meta(module: nn.Module, size: tuple[int, int]) -> Shapes:
    """Return the shapes of submodules in training, so that auxiliary heads run, too."""
    with meta(), torch.no_grad(), noted_shapes(module.train()) as shapes:
        module(torch.empty(2, 3, *size))
    return shapes


@lru_cache(maxsize=2)
def in_training(id: str) -> tuple[Mapping[str, int], Shapes]:
    """Return MACs and shapes of torchvision's submodules, for a batch of two."""
    case = CASES[id]
    theirs = case.on_meta().theirs.train()
    with meta(), torch.no_grad(), noted_shapes(theirs) as shapes:
        macs = macs_of(theirs, torch.empty(2, 3, case.size, case.size))
    return macs, shapes


# ---- names, shapes, counts -----------------------------------------------------


@every_case
def test_state_dict(case: Case) -> None:
    ours, theirs, *_ = case.on_meta()

    def table(module: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
        return [(k, v.shape, v.dtype) for k, v in module.state_dict().items()]

    assert table(ours) == table(theirs)
    trainable = {name for name, _ in theirs.named_parameters()}
    assert {name for name, _ in ours.named_parameters()} == trainable
    ours.load_state_dict(theirs.state_dict(), strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("affine", [False, True])
def test_shapes_of_batch_norm_are_those_of_torch(
    dtype: torch.dtype, training: bool, layout: torch.memory_format, affine: bool
) -> None:
    def run() -> list[tuple[torch.Size, tuple[int, ...], torch.dtype]]:
        x = torch.empty(2, 6, 5, 4, dtype=dtype).to(memory_format=layout)
        own = torch.empty(4, 6, dtype=dtype)
        weight, bias = own[:2] if affine else (None, None)
        aten = torch.ops.aten
        given = x, weight, bias, *own[2:]
        outputs = aten.native_batch_norm(*given, training, 0.1, 1e-5)
        if training:
            parted = aten._native_batch_norm_legit(*given, training, 0.1, 1e-5)
        else:
            parted = aten._native_batch_norm_legit_no_training(*given, 0.1, 1e-5)
        wanted = [True, affine, affine]
        gradients = aten.native_batch_norm_backward(
            torch.empty_like(x),
            x,
            weight,
            *own[2:],
            *outputs[1:],
            training,
            1e-5,
            wanted,
        )
        found = [t for t in (*outputs, *gradients) if t is not None]
        assert len(found) == (6 if affine else 4)
        found += parted
        return [(t.shape, t.stride(), t.dtype) for t in found]

    with torch.device("meta"):
        expected = run()
    with meta():
        assert run() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "layout", ["plain", "channels last", "transposed", "narrowed", "expanded", "volume"]
)
def test_shapes_of_elementwise_functions_are_those_of_torch(
    dtype: torch.dtype, layout: str
) -> None:
    def run() -> list[tuple[torch.Size, tuple[int, ...], torch.dtype, bool]]:
        x = torch.empty(2, 6, 5, 4, dtype=dtype)
        x = {
            "plain": lambda: x,
            "channels last": lambda: x.to(memory_format=torch.channels_last),
            "transposed": lambda: x.transpose(2, 3),
            "narrowed": lambda: x[:, 1:3],
            "expanded": lambda: x[:, :1].expand(2, 6, 5, 4),
            "volume": lambda: x[:, :, None],
        }[layout]()
        ones = torch.empty(x.shape[1], *[1] * (x.dim() - 2), dtype=dtype)
        made = [
            *(F.relu(x), F.relu6(x), F.hardswish(x), F.hardsigmoid(x), F.gelu(x)),
            *(x + x, x + x.contiguous(), x + 1, x + 0.5, x + ones, ones + x),
            *(x + x.to(torch.float32), x + x.int(), torch.add(x, x, alpha=2)),
        ]
        if layout != "expanded":
            for function in (F.relu6, F.hardswish, F.hardsigmoid):
                changed = function(x, inplace=True)
                assert changed is x
                made.append(changed)
        storage = x.untyped_storage()._cdata
        return [
            (t.shape, t.stride(), t.dtype, t.untyped_storage()._cdata == storage)
            for t in made
        ]

    with torch.device("meta"):
        expected = run()
    with meta():
        assert run() == expected


@every_case
def test_counts(case: Case) -> None:
    analysis = case.analysis()
    theirs = case.on_meta().theirs.eval()
    with meta(), torch.no_grad():
        macs = macs_of(theirs, torch.empty(1, 3, case.size, case.size))
    params = sum(p.numel() for p in theirs.parameters())
    assert analysis.params == params == PUBLISHED_PARAMS.get(case.id, params)
    assert analysis.macs == macs[""] == PUBLISHED_MACS.get(case.id, macs[""])
    assert analysis.depth == case.depth


@every_case
def test_counts_of_every_layer(case: Case) -> None:
    analysis = case.analysis()
    layers = {layer.name: layer for layer in analysis.layers}
    theirs = case.on_meta().theirs
    macs, _ = in_training(case.id)
    assert 2 * (analysis.macs + analysis.auxiliary.macs) == macs[""]
    leaves = {path: m for path, m in theirs.named_modules() if not [*m.children()]}
    params = Counter[str]()
    for name, parameter in theirs.named_parameters():
        # A bare parameter of a module in torchvision is a layer in archdsl.
        owner = name if name in layers else name.rpartition(".")[0]
        params[owner] += parameter.numel()

    assert {n: x.params for n, x in layers.items() if x.params} == params
    assert {n: 2 * x.macs for n, x in layers.items() if x.macs} == {
        n: macs[n] for n in leaves if macs.get(n)
    }


@every_case
def test_shapes(case: Case) -> None:
    module = case.on_meta().ours
    ours = run_on_meta(module, (case.size, case.size))
    _, theirs = in_training(case.id)
    assert_shapes(case.analysis(), module, ours, theirs)


@every_case
def test_shapes_of_a_wide_image(case: Case) -> None:
    network = case.load("3x{}x{}".format(*case.wide))
    with torch.device("meta"):
        module = archdsl.build(network)
    ours = run_on_meta(module, case.wide)
    theirs = run_on_meta(case.on_meta().theirs, case.wide)
    assert_shapes(archdsl.analyze(network), module, ours, theirs)


def assert_shapes(
    analysis: Analysis, module: nn.Module, ours: Shapes, theirs: Shapes
) -> None:
    """Compare the output shapes of submodules with the analysis."""
    analysed = {layer.name: tuple(layer.output) for layer in analysis.layers}
    bare = dict(module.named_parameters()).keys()
    weighted = {layer.name for layer in analysis.layers if layer.params}
    assert weighted - bare <= ours.keys()
    for shapes in (ours, theirs):
        shared = shapes.keys() & analysed.keys()
        assert {n: shapes[n] for n in shared} == {n: analysed[n] for n in shared}


# ---- values --------------------------------------------------------------------


class SharedConvolutions(TorchDispatchMode):
    """Computes equal convolutions of two modules once, and their gradients as well.

    A call gets the result of an earlier one if the weight is the same tensor, the
    numbers are equal, and all other tensors have the same values to the last bit.
    Otherwise it is computed.
    """

    _SHARED = (
        torch.ops.aten.convolution.default,
        torch.ops.aten.convolution_backward.default,
    )

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Any, list[tuple[list[Tensor], Any]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func not in self._SHARED or kwargs:
            return func(*args, **(kwargs or {}))
        # Both modules share the memory of their parameters.
        weight = args[2 if func is self._SHARED[1] else 1]
        given = [x for x in args if isinstance(x, Tensor) and x is not weight]
        numbers = str([x for x in args if not isinstance(x, Tensor)])
        calls = self.known.setdefault((func, weight.data_ptr(), numbers), [])
        for others, found in calls:
            if all(map(torch.equal, others, given)):
                return found if func is self._SHARED[1] else found.clone()
        found = func(*args)
        # Functions before and after a convolution may run in place, so copies are kept.
        # Nothing overwrites gradients, which are as large as the network.
        kept = found if func is self._SHARED[1] else found.clone()
        calls.append(([x.clone() for x in given], kept))
        return found


def test_only_equal_convolutions_are_shared() -> None:
    x, weight = torch.randn(2, 4, 5, 5), torch.randn(4, 2, 3, 3)
    calls: list[tuple[Tensor, Tensor, dict[str, int]]] = [
        (x, weight, {"padding": 1, "groups": 2}),
        (x.clone(), weight, {"padding": 1, "groups": 2}),
        (x + 1e-6, weight, {"padding": 1, "groups": 2}),
        (x, weight, {"padding": 2, "groups": 2}),
        (x, weight * 2, {"padding": 1, "groups": 2}),
    ]

    def step(x: Tensor, weight: Tensor, options: dict[str, int]) -> list[Tensor]:
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        output = nn.functional.conv2d(x, weight, **options).relu_()
        return [output, *torch.autograd.grad(output.square().sum(), (x, weight))]

    expected = [step(*call) for call in calls]
    with SharedConvolutions() as shared:
        found = [step(*call) for call in calls]
    # Neither pass of the second call is computed.
    assert [len(known) for known in shared.known.values()] == [2, 2, 1, 1, 1, 1]
    for ours, theirs in zip(found, expected, strict=True):
        assert all(map(torch.equal, ours, theirs))


@every_case
def test_outputs_in_float32(case: Case) -> None:
    ours, theirs = with_equal_values(case, torch.float32)
    x = sample(case, torch.float32)
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        with torch.no_grad(), SharedConvolutions():
            assert_close(tensors(ours(x)), tensors(theirs(x)), 1e-5)


@some_cases
def test_outputs_and_gradients_in_float64(case: Case) -> None:
    ours, theirs = with_equal_values(case, torch.float64)
    x = sample(case, torch.float64)
    with torch.no_grad(), SharedConvolutions():
        assert_close(tensors(ours.eval()(x)), tensors(theirs.eval()(x)), 1e-10)

    names = [name for name, _ in theirs.named_parameters()]
    with SharedConvolutions():
        expected, gradients = train_step(theirs, x, names)
        outputs, found = train_step(ours, x, names)
    assert_close(outputs, expected, 1e-10)
    # In place, as memory is too small for a third copy of a large network's gradients.
    norms = [float(gradient.norm()) for gradient in gradients]
    errors = [float(a.sub_(b).norm()) for a, b in zip(found, gradients, strict=True)]
    far = {
        name: error / norm if norm else error
        for name, error, norm in zip(names, errors, norms, strict=True)
        if not error <= 1e-10 * norm
    }
    assert not far
    assert all(norms)
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), 1e-10)


def train_step(
    module: nn.Module, x: Tensor, names: list[str]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the outputs in training, and gradients of a loss over all of them."""
    outputs = tensors(module.train()(x))
    generator = torch.Generator().manual_seed(2)
    loss = torch.zeros((), dtype=x.dtype)
    for name in sorted(outputs):
        weight = torch.randn(outputs[name].shape, generator=generator, dtype=x.dtype)
        loss = loss + (outputs[name] * weight).sum()
    parameters = dict(module.named_parameters())
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    return {n: t.detach() for n, t in outputs.items()}, [*gradients]


# ---- initialisation ------------------------------------------------------------


@every_case
def test_initialisation(case: Case) -> None:
    _, _, found, expected = case.on_meta()
    assert [*found] == [*expected]
    different = {
        name: (found[name], scheme)
        for name, scheme in expected.items()
        if found[name][0] != scheme[0]
        or found[name][1] != pytest.approx(scheme[1], rel=1e-6)
    }
    assert not different


@pytest.mark.parametrize("name", SAMPLED)
def test_initial_values(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    ours = case.build().state_dict()
    theirs = case.reference().state_dict()
    different = {n: gap for n in theirs if (gap := two_samples(ours[n], theirs[n])) > 1}
    assert not different


def two_samples(a: Tensor, b: Tensor, limit: int = 20_000) -> float:
    """Return the Kolmogorov-Smirnov distance as a multiple of its bound at 10^-7."""
    step = max(1, a.numel() // limit)
    a, b = (t.flatten()[::step].double().sort().values for t in (a, b))
    if a[0] == a[-1] or b[0] == b[-1]:
        return 0.0 if torch.equal(a, b) else float("inf")
    n = a.numel()
    both = torch.cat([a, b])
    ranks = [torch.searchsorted(t, both, right=True) / n for t in (a, b)]
    gap = float((ranks[0] - ranks[1]).abs().max())
    # Two-sample bound for n = m: sqrt(-ln(alpha / 2) / n).
    bound = (-torch.tensor(1e-7 / 2).log() / n).sqrt()
    return gap / float(bound)
