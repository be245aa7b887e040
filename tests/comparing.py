"""The checks of every random spec: all ways to compute its network must agree."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import archdsl
import archdsl.backends.torch as backend
from archdsl.api import elaborate_module
from archdsl.backends.torch.verification import agree
from archdsl.ir import Group, Network, Step
from archdsl.ir.graph import flatten, plain_layer
from archdsl.ir.verify import problems
from archdsl.passes.smallest import smallest
from archdsl.syntax.loader import load_text
from tests.executor import draw_state, execute
from tests.manual_specs import params_of

# Relative to the largest value; both sides compute in float64.
_TOLERANCE: Final = 1e-7
_BATCH: Final = 2
_DROPPING: Final = frozenset(
    ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
)


def faults(text: str, *, figures: bool = True) -> list[str]:
    """Return what is wrong with a spec's network and module; empty if nothing is.

    Both elaborations must give the same network, which must be valid. Its module must
    compute what the steps of the network do, and the emitted file must run.

    Args:
        text: the spec, which may end in values for its parameters.
        figures: whether the analysis and the module are compared as well.
    """
    network, plain = elaborations(text)
    with emitted_once():
        return faults_of(network, plain, figures=figures)


def elaborations(text: str) -> tuple[Network, Network]:
    """Return a spec's network with expressions, and the one with plain numbers."""
    module, params = load_text(text, "drawn.arch"), params_of(text)
    network, plain = (
        elaborate_module(module, params=params, symbolic=symbolic)
        for symbolic in (True, False)
    )
    return network, plain


def faults_of(network: Network, plain: Network, *, figures: bool = True) -> list[str]:
    """As `faults`, for the two networks of a spec, within `emitted_once`."""
    found = [] if skeleton(network) == skeleton(plain) else ["two elaborations differ"]
    found += [] if told(network) == told(plain) else ["what they are told differs"]
    found += map(str, [*problems(network), *problems(plain)])
    found += differences(network, archdsl.build(network)) + running(network)
    if figures:
        found += map(str, agree(network).differences)
        found += differences(plain, archdsl.build(plain))
        found += different_sizes(network, plain)
    return found


@contextlib.contextmanager
def emitted_once() -> Iterator[None]:
    """Cache emitted texts within the context, so that each network is emitted once."""
    # The network is kept with its text, since an `id` is only unique during its
    # lifetime.
    known: dict[tuple[Any, ...], tuple[Network, str]] = {}
    emit = backend.emit

    def remembered(network: Network, **style: bool) -> str:
        key = id(network), *sorted(item for item in style.items() if item[1])
        if key not in known:
            known[key] = network, emit(network, **style)
        return known[key][1]

    with mock.patch.object(backend, "emit", remembered):
        yield


# ---- elaborations -----------------------------------------------------------------


def skeleton(network: Network) -> Any:
    """Return the contents of a network, without the expressions of its numbers."""
    ports = [
        (port.name, port.value, _plain(port.shape), port.training)
        for port in (*network.inputs, *network.outputs)
    ]
    return network.name, ports, _node(network.root)


def _nodes(node: Step | Group) -> list[Any]:
    """Return a node; for a group that only records a condition, its parts."""
    if isinstance(node, Group) and node.role == "guard":
        return [part for child in node.children for part in _nodes(child)]
    return [_node(node)]


def _node(node: Step | Group) -> Any:
    older = [old.name for old in node.renamed_from]
    same = node.name, older, node.path, node.training, node.shared, node.output
    if isinstance(node, Step):
        layer = {name: _plain(getattr(node.op, name)) for name in node.op.fields}
        return *same, node.op.word, layer, node.inputs, _plain(node.shape)
    parts = [part for child in node.children for part in _nodes(child)]
    own = node.role, node.word, node.indexed, int(node.count), node.input
    extras = [(port.name, port.value, _plain(port.shape)) for port in node.extras]
    return *same, *own, node.registered, _plain(node.shape), extras, parts


def _plain(value: Any) -> Any:
    """Return a value with plain numbers."""
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return int(value) if type(value) is not bool and isinstance(value, int) else value


def told(network: Network) -> Any:
    """Return the contents of a network, with initialisation and claims.

    Arguments of blocks, and the types of arguments of layers, are included.
    """
    return (
        network.name,
        [(port.name, port.value, port.shape, port.training) for port in network.inputs],
        [
            (port.name, port.value, port.shape, port.training)
            for port in network.outputs
        ],
        network.initializers,
        [(claim.measure, claim.op, claim.value) for claim in network.expectations],
        list(_parts(network.root)),
    )


def _parts(node: Group) -> Any:
    """Yield steps and groups in order, without groups that only record a guard."""
    for child in node.children:
        if isinstance(child, Step):
            yield (
                child.path,
                child.labelled,
                _exact(plain_layer(child.op)),
                child.inputs,
                child.input_shapes,
                child.output,
                child.shape,
                child.training,
                child.shared,
            )
        elif child.role == "guard":
            yield from _parts(child)
        else:
            values = tuple((p.name, _shown(p.value)) for p in child.parameters)
            yield (
                (child.role, child.name, child.path, child.word, int(child.count)),
                (child.input, child.input_shape, child.output, child.shape),
                (child.training, child.shared, values),
                list(_parts(child)),
            )


def _exact(op: Any) -> Any:
    """Return a layer with the types of its arguments, as 1, 1.0 and true are equal."""
    return op, tuple(type(value) for value in vars(op).values())


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return str([_shown(part) for part in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    return str(float(value)) if isinstance(value, float) else str(value)


def different_sizes(network: Network, plain: Network) -> list[str]:
    """Return the modes in which the two networks differ in their smallest input."""
    return [
        f"the smallest input in {'training' if training else 'inference'} differs"
        for training in (False, True)
        if smallest(flatten(network), training=training)
        != smallest(flatten(plain), training=training)
    ]


# ---- the module against the steps of the network ----------------------------------


def differences(network: Network, module: nn.Module) -> list[str]:
    """Return the differences between a module and the steps of its network.

    It compares keys and sizes of the `state_dict`; then, in both modes, names, order
    and values of outputs, gradients of inputs and parameters, and running statistics.
    """
    module = module.double()
    state = draw_state(network, 0)
    ours = [(key, tuple(value.shape)) for key, value in state.items()]
    theirs = [(key, tuple(value.shape)) for key, value in module.state_dict().items()]
    if ours != theirs:
        return [f"state_dict: {ours}, and in the module {theirs}"]
    found = []
    for training in (False, True):
        module.load_state_dict(state, strict=True)
        left = _by_steps(network, state, training)
        right = _by_module(network, module.train(training))
        mode = "training" if training else "inference"
        if list(left) != list(right):
            found.append(f"{mode}: {[*left]}, and in the module {[*right]}")
        # After the root of a negative number, which gradients are NaN depends on the
        # algorithm of a convolution.
        finite = all(
            value.isfinite().all()
            for name, value in left.items()
            if name.startswith("output ") and value is not None
        )
        for name in left.keys() & right.keys():
            if not finite and name.startswith("gradient "):
                continue
            if not _close(left[name], right[name]):
                found.append(f"{mode}: {name} has other values in the module")
    return found


def _by_steps(
    network: Network, state: Mapping[str, Tensor], training: bool
) -> dict[str, Tensor | None]:
    """Return the results of a forward and backward pass, by the network's steps."""
    tensors = {
        key: value.clone().requires_grad_(value.is_floating_point() and _trains(key))
        for key, value in state.items()
    }
    inputs = _inputs(network, _BATCH)
    with _chance(network, training):
        outputs = execute(network, tensors, inputs, training)
    return _results(outputs, inputs, tensors)


def _by_module(network: Network, module: nn.Module) -> dict[str, Tensor | None]:
    """Return the same by the module."""
    module.zero_grad()
    inputs = _inputs(network, _BATCH)
    with _chance(network, module.training):
        outputs = named_outputs(network, module(*inputs))
    return _results(outputs, inputs, module.state_dict(keep_vars=True))


def named_outputs(network: Network, result: Any) -> dict[str, Tensor]:
    """Return a module's results by name, in its order, without missing ones."""
    if isinstance(result, Tensor):
        return {network.outputs[0].name: result}
    outputs: dict[str, Tensor] = result
    return outputs


def _results(
    outputs: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    total = inputs[0].new_zeros(())
    for output in outputs.values():
        weights = torch.randn(output.shape, generator=generator, dtype=output.dtype)
        total = total + (output * weights).sum()
    if total.requires_grad:
        total.backward()
    found: dict[str, Tensor | None] = {
        f"output {name}": output.detach() for name, output in outputs.items()
    }
    for place, value in enumerate(inputs):
        found[f"gradient of input {place}"] = value.grad
    for key, tensor in tensors.items():
        trained = tensor.requires_grad
        found[f"gradient of {key}" if trained else key] = (
            tensor.grad if trained else tensor
        )
    return found


def _trains(key: str) -> bool:
    return not key.rpartition(".")[2].startswith(("running_", "_"))


class _SameChance(TorchFunctionMode):
    """Gives every dropping layer the same random numbers, in any order."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func.__name__ == "bernoulli_" or func.__name__ in _DROPPING:
            # Seeding all devices would record a stack trace for each missing one.
            torch.default_generator.manual_seed(0)
        if func.__name__ in _DROPPING:
            # torch draws in the memory order of the values.
            args = args[0].contiguous(), *args[1:]
        return func(*args, **(kwargs or {}))


def _chance(network: Network, training: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context for a pass; it only costs time if something is dropped."""
    drops = training and any(step.op.family == "dropout" for step in network.steps())
    return _SameChance() if drops else contextlib.nullcontext()


def _inputs(network: Network, batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = [(batch, *port.shape) for port in network.inputs]
    drawn = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return [x.requires_grad_() for x in drawn]


def _close(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        other = right if left is None else left
        return other is None or not other.any()
    if left.shape != right.shape:
        return False
    scale = max(1.0, float(left.abs().nan_to_num().max())) if left.numel() else 1.0
    return torch.allclose(
        left.double(), right.double(), 0.0, _TOLERANCE * scale, equal_nan=True
    )


# ---- the emitted file -------------------------------------------------------------


def running(network: Network) -> list[str]:
    """Return what is wrong with the output of the emitted file when it is run.

    It may fail where the layers fail, for example at a group norm of a single value.
    """
    scope: dict[str, Any] = {"__name__": "__main__"}
    text, printed = archdsl.emit(network), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(text, "<emitted>", "exec"), scope)
    except Exception as error:
        fails = isinstance(error, ValueError) and _refuses(network)
        return [] if fails else [f"the file fails: {type(error).__name__}: {error}"]
    ports = [port for port in network.outputs if not port.training]
    shapes = [f"{(1, *map(int, port.shape))}" for port in ports]
    names = [port.name for port in ports]
    lines = printed.getvalue().splitlines()
    both = [f"{n} {s}" for n, s in zip(names, shapes, strict=True)]
    return [] if lines in (shapes, both) else [f"the file prints {lines}, not {both}"]


def _refuses(network: Network) -> bool:
    """Return whether torch refuses a single sample in inference."""
    try:
        execute(network, draw_state(network, 0), _inputs(network, 1), False)
    except ValueError:
        return True
    return False


def with_statistics(module: nn.Module) -> nn.Module:
    """Return a module in evaluation mode, with nontrivial running statistics."""
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.1)
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    return module.eval()
