"""Memory peaks, against torch's own tracker with fake tensors.

`torch.distributed._tools.MemTracker` counts the storages of all tensors that are alive
after each operation; under `FakeTensorMode`, it needs no memory itself. It does not see
what a kernel allocates internally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.checkpoint import checkpoint

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import Graph, flatten
from archdsl.passes.memory import Memory, memory
from archdsl.passes.peak import LinearBytes, Peak
from archdsl.passes.recompute import parts
from archdsl.torch import frames
from archdsl.torch.calls import out_of_order
from archdsl.torch.gradient import gradient_values
from archdsl.torch.inplace import inplace
from tests import handmade, manual_specs, presets
from tests.handmade import Sketch, chain
from tests.oracle import CASES, quick_shapes
from tests.strategies import KINDS, sketches

FIVE = ("alexnet", "vgg19", "googlenet", "resnet50", "densenet121")
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params),
}
FAKE = FakeTensorMode()


class _NoModules:
    """Stands for what follows modules, whose hooks would keep their arguments alive."""

    is_bw = False

    def register_user_hooks(self, *hooks: Any) -> None:
        pass

    def clear_user_hooks(self) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class _OfTheWhole(MemTracker):
    """Torch's tracker, which only records the peak of the whole module.

    For the peaks of submodules, it would go through all of them after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._mod_tracker = _NoModules()

    def _update_peak_stats(self, peak_state: Any) -> None:
        for device, now in self._curr_mem_snap.items():
            if self._peak_mem.get(device, 0) < now["Total"]:
                self._peak_mem[device] = now["Total"]
                self._peak_mem_snap[device] = dict(now)


@pytest.fixture(scope="module", autouse=True)
def _quick_shapes() -> Iterator[None]:
    with quick_shapes(tracked=True):
        yield


@contextmanager
def _tracked(*held: nn.Module | Tensor | torch.optim.Optimizer) -> Iterator[MemTracker]:
    tracker = _OfTheWhole()
    tracker.track_external(*held)
    with tracker:
        yield tracker


def _bytes(tracker: MemTracker, kind: str) -> int:
    snapshot = tracker.get_tracker_snapshot(kind)
    return sum(device["Total"] for device in snapshot.values())


def _inputs(network: Network, batch: int) -> list[Tensor]:
    dtype = torch.get_default_dtype()
    return [torch.empty(batch, *p.shape, dtype=dtype) for p in network.inputs]


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module of fake tensors, for which rejection sampling would not work."""
    keep = mock.patch.object(nn.init, "_no_grad_trunc_normal_", lambda t, *_, **__: t)
    with FAKE, keep:
        return make()


@cache
def _emitted(preset: str) -> nn.Module:
    return _made(lambda: archdsl.build(archdsl.load(preset)))


def _outputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    found = module(*inputs)
    if isinstance(found, Tensor):
        return [found]
    # Modules written by hand return tuples.
    return [*(found.values() if isinstance(found, dict) else found)]


class _Loss(torch.autograd.Function):
    """A loss without memory of its own that gives gradients to all outputs."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.shapes = [output.shape for output in outputs]
        return outputs[0].new_empty(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple([gradient.new_empty(shape) for shape in ctx.shapes])


def _train(
    module: nn.Module, network: Network, batch: int, optimizer: str, steps: int = 2
) -> list[int]:
    """Return the memory peak of each training step."""
    peaks = []
    with FAKE:
        module.train().zero_grad()
        inputs = _inputs(network, batch)
        rule = OPTIMIZERS[optimizer](list(module.parameters()))
        for _ in range(steps):
            with _tracked(module, rule, *inputs) as tracker:
                outputs = _outputs(module, inputs)
                loss = _Loss.apply(*[o for o in outputs if o.requires_grad])
                loss.backward(loss.detach())
                rule.step()
            rule.zero_grad()
            del outputs, loss
            peaks.append(_bytes(tracker, "peak"))
    return peaks


def _infer(module: nn.Module, network: Network, batch: int) -> int:
    with FAKE, torch.no_grad():
        module.eval()
        inputs = _inputs(network, batch)
        with _tracked(module, *inputs) as tracker:
            module(*inputs)
        return _bytes(tracker, "peak")


def _memory(network: Network, **options: int | str | bool) -> Memory:
    graph = flatten(network)
    return memory(graph, handmade.cost_of(graph), **options)  # type: ignore[arg-type]


# ---- the best-known networks ---------------------------------------------------


# Deep networks take long to track, so they get one optimiser each.
TRAINED = [
    *((name, optimizer) for name in ("alexnet", "vgg19") for optimizer in OPTIMIZERS),
    *(("resnet50", "momentum"), ("googlenet", "sgd"), ("densenet121", "momentum")),
]


@pytest.mark.parametrize(("preset", "optimizer"), TRAINED)
def test_training_peak_equals_the_trackers(preset: str, optimizer: str) -> None:
    network = archdsl.load(preset)
    figures = _memory(network, optimizer=optimizer)
    first, later = _train(_emitted(preset), network, 8, optimizer)
    assert figures.first_step_peak.at(8) == first
    assert figures.training_peak.at(8) == later


@pytest.mark.parametrize("preset", ["alexnet", "vgg19", "resnet50"])
def test_training_peak_holds_at_another_batch(preset: str) -> None:
    network = archdsl.load(preset)
    (peak,) = _train(_emitted(preset), network, 2, "sgd", steps=1)
    assert _memory(network).training_peak.at(2) == peak


@pytest.mark.parametrize("preset", FIVE)
def test_inference_peak_equals_the_trackers(preset: str) -> None:
    network = archdsl.load(preset)
    figures = _memory(network)
    for batch in (1, 8):
        ours = figures.inference_peak.at(batch)
        assert ours == _infer(_emitted(preset), network, batch)


def test_a_named_value_that_is_read_twice_lives_until_the_end() -> None:
    # U-Net's shortcuts are kept alive by their variables while the decoder runs.
    network = archdsl.load("unet")
    ours = _memory(network).inference_peak.at(1)
    assert ours == _infer(_emitted("unet"), network, 1)


# torchvision's GoogLeNet runs its heads in the middle, ours at the end.
@pytest.mark.parametrize("name", ["alexnet", "vgg19", "resnet50"])
def test_training_peak_equals_torchvisions(name: str) -> None:
    module = _made(CASES[name].reference)
    network = CASES[name].load()
    (peak,) = _train(module, network, 8, "momentum", steps=1)
    ours = _memory(network, optimizer="momentum").first_step_peak.at(8)
    assert ours == peak


@pytest.mark.parametrize("preset", ["vgg19", "resnet50", "googlenet"])
def test_recomputation_equals_checkpoints(preset: str) -> None:
    network = archdsl.load(preset)
    module = _made(lambda: archdsl.build(network))
    for part in parts(flatten(network)):
        block = module.get_submodule(part.path)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    figures = _memory(network, batch=8, recompute=True)
    (peak,) = _train(module, network, 8, "sgd", steps=1)
    assert figures.training_peak.at(8) == peak
    assert figures.saved_bytes == _kept(module, network, 8)
    assert figures.saved_bytes < _memory(network, batch=8).saved_bytes


def _kept(module: nn.Module, network: Network, batch: int) -> int:
    """Return the memory that a forward pass leaves behind, and the inputs.

    Outputs are left out; in these networks, none is kept for the backward pass.
    """
    with FAKE:
        inputs = _inputs(network, batch)
        with _tracked(module, *inputs) as tracker:
            before = _bytes(tracker, "current")
            outputs = _outputs(module.train(), inputs)
            after = _bytes(tracker, "current")
        ends = sum(output.nbytes for output in outputs)
        return after - before - ends + sum(value.nbytes for value in inputs)


def test_bfloat16() -> None:
    network = archdsl.load("resnet18")
    torch.set_default_dtype(torch.bfloat16)
    try:
        module = _made(lambda: archdsl.build(network))
        first, later = _train(module, network, 4, "adam")
        inference = _infer(module, network, 4)
    finally:
        torch.set_default_dtype(torch.float32)
    figures = _memory(network, dtype="bfloat16", optimizer="adam")
    # The tracker sees batch norm's statistics in 16 bits, but kernels keep them in 32.
    assert figures.first_step_peak.at(4) == pytest.approx(first, rel=5e-4)
    assert figures.training_peak.at(4) == pytest.approx(later, rel=5e-4)
    assert figures.inference_peak.at(4) == inference


# ---- any network ---------------------------------------------------------------


def _ended(sketch: Sketch) -> Network:
    """Return a network; all values that nothing reads are its outputs."""
    network = sketch.network()
    read = {value for step in network.steps() for value in step.inputs}
    ends = [step.output for step in network.steps() if step.output not in read]
    return sketch.network(*ends) if ends else network


def _is_trained(graph: Graph) -> bool:
    known = gradient_values(graph)
    return any(value in known for value in graph.outputs(training=True))


# Whether these copy depends on the memory order of axes, which the analysis ignores.
_PLAIN = tuple(sorted(KINDS.keys() - {"permute", "shuffle", "layernorm"}))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(sketches(_PLAIN, axes=st.sampled_from((2, 1, 3))))
def test_peaks_equal_the_trackers_on_any_network(sketch: Sketch) -> None:
    network = _ended(sketch)
    graph = flatten(network)
    assume(graph.nodes and _is_trained(graph))
    _assert_exact(network, graph)


def test_gradients_of_a_value_with_two_names_are_summed_at_once() -> None:
    # If nothing is dropped, the output of `stochasticdepth` is its input.
    sketch = Sketch((6, 2))
    start = sketch.add("bn")
    sketch.add("stochasticdepth", start, p=0.0)
    sketch.add("abs", start)
    sketch.add("add", start, 0)
    network = _ended(sketch)
    _assert_exact(network, flatten(network))


@pytest.mark.parametrize("word", ["prelu", "l2pool", "wsconv"])
def test_peaks_of_layers_that_free_some_of_their_own_before_the_end(word: str) -> None:
    sketch = Sketch((8, 5, 3))
    start = sketch.add("conv", kernel=(1, 1), bias=False)
    if word == "prelu":
        sketch.add("prelu", start, per_channel=True)
    elif word == "l2pool":
        sketch.add("l2pool", start)
    else:
        made = sketch.add("wsconv", start, kernel=(1, 1), gamma=1.7, bias=False)
        sketch.add("add", made, start, start)
    network = _ended(sketch)
    _assert_exact(network, flatten(network))


@pytest.mark.parametrize(
    "merge",
    [
        "difference { conv 3x3 16; bn | relu }",
        "difference { identity | avgpool 3x3 /1 pad=1 }",
        "difference { @start -> relu | difference { sigmoid | tanh } }",
        "resize { maxpool 2x2 | conv 3x3 64 }",
    ],
)
def test_operands_that_are_let_go_before_the_end(merge: str) -> None:
    # The operands of the inner operator, and those of which only the shape is read.
    body = f"start: conv 1x1 16\n{merge}\nconv 1x1 2"
    text = (
        f"arch 1\n\nblock part {{\n{body}\n}}\n\nnetwork net {{\ninput 8x8x8\npart\n}}"
    )
    network = archdsl.loads(text)
    _assert_exact(network, flatten(network))
    module = _made(lambda: archdsl.build(network))
    part = module.get_submodule("part1")
    part.forward = partial(checkpoint, part.forward, use_reentrant=False)
    (peak,) = _train(module, network, 8, "sgd", steps=1)
    assert _memory(network, recompute=True).training_peak.at(8) == peak


def _assert_exact(network: Network, graph: Graph) -> None:
    module = _made(lambda: archdsl.build(network))
    figures = _memory(network, optimizer="adam")
    assert figures.inference_peak.at(3) == _infer(module, network, 3)
    if not _is_trained(graph):
        return
    for ours, theirs in zip(
        (figures.first_step_peak, figures.training_peak),
        _train(module, network, 3, "adam"),
        strict=True,
    ):
        assert ours.bound == ("at least" if out_of_order(graph) else None)
        assert ours.at(3) <= theirs if ours.bound else ours.at(3) == theirs


# Written from the manual, with blocks, outputs and shared layers, as they are compiled.
SPECIMENS = (3, 6, 9, 19, 24, 28, 50, 58, 60, 79, 110, 115, 151, 154, 175, 186, 195)


@pytest.mark.parametrize("number", SPECIMENS)
def test_peaks_equal_the_trackers_on_specs(number: int) -> None:
    text = manual_specs.specimen(number)
    network = archdsl.loads(text, params=manual_specs.params_of(text))
    _assert_exact(network, flatten(network))


# ---- by hand -------------------------------------------------------------------


def test_training_peak_by_hand() -> None:
    # 48 numbers in, 16 out; 12 weights. Alive in the backward pass: both, the
    # gradient of the output, that of the weights. The input needs no gradient.
    network = chain((3, 4, 4), ("conv", {"kernel": (1, 1), "width": 4, "bias": False}))
    peak = _memory(network).training_peak
    assert peak.at(1) == 4 * (12 + 48 + 64 + 64 + 12)
    assert peak.at(5) == 4 * (12 + 5 * (48 + 64 + 64) + 12)
    line = peak.line(1)
    assert (line.phase, line.layer) == ("backward", "conv2")


def test_a_gradient_that_comes_twice_is_summed_in_new_memory() -> None:
    sketch = Sketch((4, 4, 4))
    start = sketch.add("conv", kernel=(1, 1), bias=False)
    left = sketch.add("tanh", start)
    right = sketch.add("sigmoid", start)
    peak = _memory(sketch.network(left, right)).training_peak
    # The input and both outputs; the conv's output is not kept. When the second
    # gradient arrives, the first, the second and their sum are alive.
    assert peak.at(1) == 4 * (16 + 64 * (3 + 3))


def test_a_product_of_one_value_is_two_products() -> None:
    sketch = Sketch((4, 4, 4))
    start = sketch.add("conv", kernel=(1, 1), bias=False)
    peak = _memory(sketch.network(sketch.add("mul", start, start, start))).training_peak
    # The weights, the input, and the output, which the caller holds. In the backward
    # pass of the second product: the square and its factor, and the gradients of the
    # output, the square and the factor. In that of the square: it and the output's
    # gradient are freed, but there are two more.
    assert peak.at(1) == 4 * (16 + 64 * (2 + 2 + 3))
    assert peak.line(1).phase == "backward"


def test_lines_take_turns() -> None:
    peak = Peak(
        (LinearBytes(1, 100, "step", ""), LinearBytes(5, 60, "backward", "a", 10))
    )
    assert [peak.at(batch) for batch in (1, 9, 10, 11)] == [101, 109, 110, 115]
    assert peak.as_dict(9)["to_batch"] == 9
    assert peak.as_dict(10)["from_batch"] == 10
    assert peak.as_dict(10)["to_batch"] is None


@pytest.mark.parametrize("preset", ["alexnet", "resnet50"])
@pytest.mark.parametrize("training", [False, True])
def test_the_largest_batch_that_fits_is_the_largest(
    preset: str, training: bool
) -> None:
    figures = _memory(archdsl.load(preset), optimizer="adam")
    peak = figures.training_peak if training else figures.inference_peak
    for budget in (10**9, 2 * 10**9, 24 * 2**30, peak.at(7), peak.at(7) - 1):
        batch = figures.fits(budget, training=training)
        assert batch == 0 or peak.at(batch) <= budget
        assert peak.at(batch + 1) > budget
    assert figures.fits(10**6, training=training) == 0


@pytest.mark.parametrize("preset", FIVE)
def test_lines_are_the_largest_of_all_moments(preset: str) -> None:
    peak = _memory(archdsl.load(preset), optimizer="momentum").training_peak
    for batch in (1, 2, 3, 7, 8, 31, 64, 1000):
        assert peak.at(batch) == max(line.at(batch) for line in peak.lines)


# ---- lifetimes -----------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_calls_of_a_block_that_look_alike_have_the_same_lifetimes(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [
        presets.network(name) for name in ("googlenet", "densenet121", "resnet50")
    ]
    for case in range(first, first + 10):
        text = manual_specs.specimen(case)
        networks.append(archdsl.loads(text, params=manual_specs.params_of(text) or {}))
    for network in networks:
        graph = flatten(network)
        overwriting = inplace(graph)
        found = frames.frames(graph, overwriting)
        with monkeypatch.context() as patched:
            patched.setattr(frames, "form_of", lambda *_: None)
            assert frames.frames(graph, overwriting) == found, network.name
