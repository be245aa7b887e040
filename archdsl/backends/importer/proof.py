"""Compares an imported network with the module that it comes from, by running both.

Both get the same weights, and run on the same numbers: in evaluation and in training,
and at two input sizes if the module accepts another one. If single precision is
inconclusive, both run again in double precision.

Every random function starts from the same seed. So corresponding dropouts drop the same
elements, whatever has run before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.importer.calls import tensors_in
from archdsl.backends.importer.source import SEED, NetworkFile
from archdsl.backends.torch.verification.trace import intercept
from archdsl.values import Shape, show_shape

if TYPE_CHECKING:
    from torch import Tensor, nn

# The largest difference, relative to the largest number of a tensor.
TOLERANCE: Final = 1e-6
# Batch sizes; one differs from the size that the network was traced with.
_BATCHES: Final = (2, 3)
# The largest difference between engines that sum in a different order.
_INEXACT: Final = 1e-4
# Parts of the names of functions that draw random numbers.
_RANDOM: Final = ("dropout", "bernoulli", "rand", "normal_", "uniform_")


class Proof(NamedTuple):
    """The result of a comparison.

    Attributes:
        compared: everything that agrees, such as ``outputs in training at 3x224x224``.
        difference: the first difference; empty if there is none.
        place: path of the first module that differs, if it is known.
    """

    compared: tuple[str, ...]
    difference: str = ""
    place: str = ""


class Differs(Exception):
    """Two modules that do not agree.

    Attributes:
        place: path of the first part that differs.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


def prove(
    original: nn.Module,
    built: nn.Module,
    shapes: Sequence[Shape],
    order: Sequence[int],
    any_order: bool = False,
) -> Proof:
    """Compare a module with the one that was built from its spec.

    Neither is changed.

    Args:
        original: the module.
        built: the module built from the spec.
        shapes: shapes of the inputs, without the batch.
        order: for each output of `built`, its index among those of `original` in
            training.
        any_order: whether the state_dict may have the same keys in another order.
    """
    from copy import deepcopy

    compared: list[str] = []
    try:
        same = _same_keys(_keys(original), _keys(built), any_order)
        compared.append(
            f"names{', order' if same else ''} and shapes of the state_dict"
        )
        ours, theirs = deepcopy(built), deepcopy(original)
        _spread(theirs)
        ours.load_state_dict(theirs.state_dict())
        for place, sizes in enumerate(_sizes(theirs, shapes)):
            for training in (False, True):
                _same_run(theirs, ours, sizes, _BATCHES[place], training, order)
                ours.load_state_dict(theirs.state_dict())
                mode = "training" if training else "evaluation"
                shown = ", ".join(map(show_shape, sizes))
                compared.append(f"outputs in {mode} at {shown}")
        compared.append("buffers after training")
    except Differs as error:
        return Proof(tuple(compared), str(error), error.place)
    return Proof(tuple(compared))


def prove_source(
    source: NetworkFile,
    bare: nn.Module,
    built: nn.Module,
    order: Sequence[int],
    any_order: bool = False,
) -> Proof:
    """Compare a network in a file with the module that was built from its spec.

    Args:
        source: the network.
        bare: modules of the names in the file.
        built: the module, which is not changed.
        order: as for `prove`.
        any_order: as for `prove`.
    """
    from copy import deepcopy

    compared: list[str] = []
    graph = source.graph
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in source.state.items()
    }
    lasting = {key: one for key, one in state.items() if key not in graph.temporary}
    try:
        same = _same_keys(_keys(bare), _keys(built), any_order)
        compared.append(f"names{', order' if same else ''} and shapes of the weights")
        ours = deepcopy(built)
        # Old batch norms have no counter; evaluation does not read it.
        ours.load_state_dict(lasting)
        if source.exact:
            _spread(ours)
            state |= ours.state_dict()
        _same_as_source(source, ours, state, order)
        mode = "training" if graph.training else "evaluation"
        shown = ", ".join(show_shape(shape[1:]) for _, shape in graph.inputs)
        compared.append(f"outputs in {mode} at {shown} to those of {source.engine}")
    except Differs as error:
        return Proof(tuple(compared), str(error), error.place)
    return Proof(tuple(compared))


def _same_as_source(
    source: NetworkFile,
    ours: nn.Module,
    state: Mapping[str, Tensor],
    order: Sequence[int],
) -> None:
    """Compare the outputs of a network in a file with those of a module.

    Raises:
        Differs: if they do not agree, even in double precision.
    """
    gap = _gap_to_source(source, ours, state, order)
    if gap and source.exact:
        double = {
            k: v.double() if v.is_floating_point() else v for k, v in state.items()
        }
        gap = _gap_to_source(source, ours.double(), double, order)
    if gap:
        mode = "training" if source.graph.training else "evaluation"
        raise Differs(f"an output in {mode} differs by {gap}")


def _gap_to_source(
    source: NetworkFile,
    ours: nn.Module,
    state: Mapping[str, Tensor],
    order: Sequence[int],
) -> str:
    import torch

    graph = source.graph
    dtype = next((t.dtype for t in state.values() if t.is_floating_point()), None)
    generator = torch.Generator().manual_seed(SEED)
    inputs = [
        torch.randn(shape, generator=generator).to(dtype or torch.float32)
        for _, shape in graph.inputs
    ]
    try:
        theirs = source.run(state, inputs)
    except Exception as error:  # an engine can raise anything for an unchecked file
        text = " ".join(str(error).split())[:200]
        raise Differs(f"{source.engine} cannot run it: {text}") from error
    mine = _outputs_of(ours, [one.clone() for one in inputs], graph.training)
    ranks = sorted(order[: len(mine)])
    if len(mine) != len(theirs):
        return f"number: there are {len(mine)} instead of {len(theirs)}"
    tolerance = TOLERANCE if source.exact else _INEXACT
    for one, place in zip(mine, order, strict=False):
        gap = _gap(one, theirs[ranks.index(place)], tolerance)
        if gap:
            return gap
    return ""


def _keys(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(one.shape) for key, one in module.state_dict().items()}


def _same_keys(
    theirs: Mapping[str, tuple[int, ...]],
    ours: Mapping[str, tuple[int, ...]],
    any_order: bool,
) -> bool:
    """Return whether the keys have the same order.

    Raises:
        Differs: if keys or shapes differ, or their order does and matters.
    """
    for key, shape in theirs.items():
        if key not in ours:
            raise Differs(f"`{key}` is missing: nothing reads it", _module(key))
        if ours[key] != shape:
            found = f"{show_shape(ours[key])} instead of {show_shape(shape)}"
            raise Differs(f"`{key}` is of shape {found}", _module(key))
    for key in ours:
        if key not in theirs:
            raise Differs(f"`{key}` is not in the module", _module(key))
    for mine, other in zip(ours, theirs, strict=True):
        if mine != other and not any_order:
            raise Differs(
                f"the state_dict has a different order: `{mine}` where the module has "
                f"`{other}`",
                _module(other),
            )
    return list(ours) == list(theirs)


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def _spread(module: nn.Module) -> None:
    """Randomise constant tensors: a factor of zero, for example, hides differences."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point() or tensor.numel() < 2:
                continue
            if bool((tensor == tensor.flatten()[0]).all()):
                noise = torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
                low = tensor.flatten()[0].abs().clamp(min=0.1)
                more = noise * 0.5 * low
                tensor.add_(more if name.endswith("running_var") else more - 0.2 * low)


def _sizes(module: nn.Module, shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Yield the shapes themselves, and others that the module also accepts."""
    yield list(shapes)
    if any(len(shape) != 3 for shape in shapes):
        return
    for other in _others(shapes):
        try:
            with _mode(module, training=True, keep=True):
                module(*_inputs(module, other, 2))
        except Exception:
            continue
        yield other
        return


def _others(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    # Odd sizes show how layers round; multiples of the strides would not.
    yield [
        (c, *(max(9, round(int(n) * 0.7) // 2 * 2 + 1) for n in sizes))
        for c, *sizes in shapes
    ]
    for factor in (0.6, 1.25):
        other: list[Shape] = []
        for c, h, w in shapes:
            step = 32 if min(h, w) >= 96 else 8
            sizes = [max(step, round(n * factor / step) * step) for n in (h, w)]
            other.append((c, sizes[0], sizes[1] + (step if factor < 1 else 0)))
        if other != list(shapes):
            yield other


def _inputs(module: nn.Module, shapes: Sequence[Shape], batch: int) -> list[Tensor]:
    import torch

    generator = torch.Generator().manual_seed(SEED + batch)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    return [
        torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in shapes
    ]


@contextmanager
def _mode(module: nn.Module, *, training: bool, keep: bool) -> Iterator[None]:
    """Set the mode within a context, without gradients; keep the buffers if asked."""
    import torch

    before = [b.clone() for b in module.buffers()] if keep else []
    module.train(training)
    try:
        with torch.no_grad():
            yield
    finally:
        with torch.no_grad():
            for buffer, old in zip(module.buffers(), before, strict=False):
                buffer.copy_(old)


def _same_run(
    original: nn.Module,
    built: nn.Module,
    shapes: Sequence[Shape],
    batch: int,
    training: bool,
    order: Sequence[int],
) -> None:
    """Compare one run of both modules.

    Raises:
        Differs: if they do not agree, even in double precision.
    """
    from copy import deepcopy

    # A run in training changes the buffers.
    before = [
        {name: buffer.clone() for name, buffer in module.named_buffers()}
        for module in (original, built)
    ]
    try:
        _compare(original, built, shapes, batch, training, order)
    except Differs:
        exact = deepcopy(original), deepcopy(built)
        for module, buffers in zip(exact, before, strict=True):
            module.load_state_dict(buffers, strict=False)
            module.double()
        _compare(*exact, shapes, batch, training, order)


def _compare(
    original: nn.Module,
    built: nn.Module,
    shapes: Sequence[Shape],
    batch: int,
    training: bool,
    order: Sequence[int],
) -> None:
    theirs = _run(original, shapes, batch, training)
    try:
        ours = _run(built, shapes, batch, training)
    except RuntimeError as error:
        shown = ", ".join(map(show_shape, shapes))
        reason = str(error).partition("\n")[0]
        raise Differs(
            f"the spec's module cannot be run at {shown}: {reason}"
        ) from error
    if len(ours) != len(theirs) or len(ours) > len(order):
        raise Differs(f"there are {len(ours)} outputs instead of {len(theirs)}")
    ranks = sorted(order[: len(ours)])
    for mine, place in zip(ours, order, strict=False):
        other = theirs[ranks.index(place)]
        gap = _gap(mine, other)
        if gap:
            what = "training" if training else "evaluation"
            first = _first(original, built, shapes, batch, training)
            where = f"; `{first}` is the first module that differs" if first else ""
            raise Differs(f"an output in {what} differs by {gap}{where}", first)
    if training:
        own = dict(built.named_buffers())
        for key, buffer in original.named_buffers():
            gap = _gap(own[key], buffer) if key in own else ""
            if gap:
                raise Differs(f"the buffer `{key}` differs by {gap}", _module(key))


def _run(
    module: nn.Module, shapes: Sequence[Shape], batch: int, training: bool
) -> list[Tensor]:
    return _outputs_of(module, _inputs(module, shapes, batch), training)


def _outputs_of(
    module: nn.Module, inputs: Sequence[Tensor], training: bool
) -> list[Tensor]:
    """Return a module's outputs, with the same seed for each random draw."""
    import torch

    def seeded(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if any(word in func.__name__ for word in _RANDOM):
            torch.manual_seed(SEED)
        return func(*args, **kwargs)

    state = torch.get_rng_state()
    try:
        with _mode(module, training=training, keep=False), intercept(seeded):
            return tensors_in(module(*inputs))
    finally:
        torch.set_rng_state(state)


def _gap(mine: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> str:
    """Return how far tensors are apart, as text; empty if they agree."""
    if mine.shape != other.shape:
        return f"shape: {tuple(mine.shape)} and {tuple(other.shape)}"
    if not mine.is_floating_point() or not mine.numel():
        return "" if bool((mine == other).all()) else "its values"
    scale = float(other.abs().max())
    gap = float((mine - other).abs().max())
    if gap <= tolerance * max(scale, 1e-30) or gap == 0:
        return ""
    return f"{gap / scale:.1e} of its largest number" if scale else f"{gap:.1e}"


def _first(
    original: nn.Module,
    built: nn.Module,
    shapes: Sequence[Shape],
    batch: int,
    training: bool,
) -> str:
    """Return the path of the first module of both whose output differs."""
    mine = _outputs(built, shapes, batch, training)
    theirs = _outputs(original, shapes, batch, training)
    for path, outputs in theirs.items():
        own = mine.get(path)
        one = own is not None and len(own) == len(outputs) == 1
        if own is not None and one and _gap(own[0], outputs[0]):
            return path
    return ""


def _outputs(
    module: nn.Module, shapes: Sequence[Shape], batch: int, training: bool
) -> dict[str, list[Tensor]]:
    """Return the outputs of all submodules in a run, by path, in order."""
    found: dict[str, list[Any]] = {}

    def hook(path: str) -> Any:
        def note(_part: Any, _read: Any, output: Any) -> None:
            # A later layer may change it in place.
            found.setdefault(path, [t.clone() for t in tensors_in(output)])

        return note

    hooks = [
        part.register_forward_hook(hook(path))
        for path, part in module.named_modules()
        if path
    ]
    try:
        with _mode(module, training=training, keep=True):
            _run(module, shapes, batch, training)
    finally:
        for one in hooks:
            one.remove()
    return found
