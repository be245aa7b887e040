"""Turns nodes of ONNX into calls of torch functions, with one function per operator.

In a model, nodes also compute shapes. Values that depend on sizes alone are computed in
numpy while the graph is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isclose, sqrt
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from archdsl.backends.importer.calls import BATCH
from archdsl.backends.importer.graph import ValueRef

if TYPE_CHECKING:
    from onnx import NodeProto

Array = Any  # numpy's
# A shape that a node computes has at most this many numbers.
_MOST_SIZES: Final = 64


class Unfit(Exception):
    """A node that no layer corresponds to; the message says why."""


class Performed(NamedTuple):
    """A function, and the arguments that it is called with when a graph is replayed.

    Attributes:
        perform: the function.
        args: its arguments, with `ValueRef`s for values.
    """

    perform: Callable[..., Any]
    args: Sequence[Any]


class ModelContext(Protocol):
    """The methods of a model that its nodes use."""

    arrays: dict[str, Array]

    def argument(self, name: str) -> Any: ...

    def parameter(
        self, owner: str, names: Mapping[str, Array]
    ) -> dict[str, ValueRef]: ...

    def owner(self, inputs: Sequence[str], path: str, word: str) -> str: ...


class ModelNode:
    """A node that becomes a call.

    Attributes:
        last: the last node that the call replaces, whose results it computes.
        taken: other nodes that the call replaces.
        owner: path of the layer that owns its weights; empty if it has none.
    """

    def __init__(
        self,
        model: ModelContext,
        node: NodeProto,
        readers: Mapping[str, Sequence[NodeProto]],
        leaving: Mapping[str, int],
        path: str,
    ) -> None:
        self.model = model
        self.node = node
        self.last = node
        self.readers = readers
        self.leaving = leaving
        self.path = path
        self.taken: list[NodeProto] = []
        self.owner = ""
        self._attributes = {one.name: one for one in node.attribute}

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the type of its default."""
        return _attribute(self._attributes.get(name), default)

    @property
    def count(self) -> int:
        """Number of inputs that are given."""
        return len(self.node.input)

    def input(self, place: int, default: Any = None) -> Any:
        """Return the number, array or value of an input."""
        if place >= self.count or not self.node.input[place]:
            return default
        return self.model.argument(self.node.input[place])

    def constant(self, place: int, default: Any = None) -> Array:
        """Return an input that is stored in the model.

        Raises:
            Unfit: if it is computed.
        """
        if place >= self.count or not self.node.input[place]:
            return default
        name = self.node.input[place]
        if name not in self.model.arrays:
            raise Unfit(f"its input {place + 1} is computed")
        return self.model.arrays[name]

    def weights(self, word: str, names: Mapping[str, Array]) -> dict[str, ValueRef]:
        """Store some of its inputs as the tensors of a layer.

        Args:
            word: name for the layer if nothing else names it.
            names: the tensors, by their names in the layer.
        """
        stored = [name for name in self.node.input if name in self.model.arrays]
        stored += [
            name
            for other in self.taken
            for name in other.input
            if name in self.model.arrays
        ]
        self.owner = self.model.owner(stored, self.path, word)
        return self.model.parameter(self.owner, names)

    def next(self, node: NodeProto, type: str) -> NodeProto | None:
        """Return the only reader of a node's result, if it has some type."""
        result = node.output[0]
        found = self.readers.get(result, ())
        if self.leaving.get(result) or len(found) != 1 or found[0].op_type != type:
            return None
        return found[0]

    def take(self, *nodes: NodeProto) -> None:
        """Make nodes part of this call; the last one gives its result."""
        self.taken += nodes
        self.last = nodes[-1]


def _attribute(given: Any, default: Any) -> Any:
    if given is None:
        return default
    if isinstance(default, tuple):
        return tuple(given.ints)
    if isinstance(default, str):
        return given.s.decode("ascii", "replace")
    return float(given.f) if isinstance(default, float) else int(given.i)


def at_host(array: Array) -> Any:
    """Return a stored array; a single floating-point number becomes a Python float."""
    single = array.size == 1 and array.dtype.kind == "f"
    return float(array.reshape(-1)[0]) if single else array


_Emit = Callable[[ModelNode], Performed]
NODES: Final[dict[str, _Emit]] = {}


def _node(*types: str) -> Callable[[_Emit], _Emit]:
    def enter(emit: _Emit) -> _Emit:
        NODES.update(dict.fromkeys(types, emit))
        return emit

    return enter


def _is_host(value: Any) -> bool:
    from torch import Tensor

    return not isinstance(value, Tensor)


# ---- convolutions and linear layers ---------------------------------------------


def _sides(
    node: ModelNode,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Callable[[Any], tuple[list[int], list[int]]]:
    """Return a function that computes the padding at both ends of each axis."""
    axes = len(kernel)
    pads = node.attribute("pads", (0,) * 2 * axes)
    auto = node.attribute("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER") or len(pads) != 2 * axes:
        raise Unfit(f"its padding is {auto}")

    def sides(x: Any) -> tuple[list[int], list[int]]:
        if auto != "SAME_UPPER":
            return list(pads[:axes]), list(pads[axes:])
        first, last = [], []
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            whole = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            first.append(whole // 2)
            last.append(whole - whole // 2)
        return first, last

    return sides


def _steps(node: ModelNode, axes: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return strides and dilations along each axis."""
    ones = (1,) * axes
    return node.attribute("strides", ones), node.attribute("dilations", ones)


@_node("Conv")
def _conv(node: ModelNode) -> Performed:
    weight, bias = node.constant(1), node.constant(2)
    axes = weight.ndim - 2
    strides, dilations = _steps(node, axes)
    groups = node.attribute("group", 1)
    sides = _sides(node, weight.shape[2:], strides, dilations)
    own = node.weights("conv", _given(weight=weight, bias=bias))

    def perform(x: Any, w: Any, b: Any) -> Any:
        from torch.nn import functional as F

        first, last = sides(x)
        if first != last:
            both = [n for pair in zip(first, last, strict=True) for n in pair[::-1]]
            x, first = F.pad(x, both[::-1]), [0] * axes
        function = getattr(F, f"conv{axes}d")
        return function(x, w, b, strides, tuple(first), dilations, groups)

    return Performed(perform, (node.input(0), own["weight"], own.get("bias")))


@_node("ConvTranspose")
def _conv_transposed(node: ModelNode) -> Performed:
    weight, bias = node.constant(1), node.constant(2)
    axes = weight.ndim - 2
    strides, dilations = _steps(node, axes)
    out = node.attribute("output_padding", (0,) * axes)
    groups = node.attribute("group", 1)
    pads = node.attribute("pads", (0,) * 2 * axes)
    auto = node.attribute("auto_pad", "NOTSET")
    if (
        pads[:axes] != pads[axes:]
        or auto != "NOTSET"
        or node.attribute("output_shape", ())
    ):
        raise Unfit("its padding differs from side to side")
    own = node.weights("convtranspose", _given(weight=weight, bias=bias))

    def perform(x: Any, w: Any, b: Any) -> Any:
        from torch.nn import functional as F

        function = getattr(F, f"conv_transpose{axes}d")
        return function(x, w, b, strides, pads[:axes], out, groups, dilations)

    return Performed(perform, (node.input(0), own["weight"], own.get("bias")))


@_node("Gemm")
def _gemm(node: ModelNode) -> Performed:
    weight, bias = node.constant(1), node.constant(2)
    factors = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if node.attribute("transA", 0) or factors != (1.0, 1.0):
        raise Unfit("it is not a linear layer")
    if not node.attribute("transB", 0):
        weight = weight.T
    return _linear(node, weight, bias)


@_node("MatMul")
def _product(node: ModelNode) -> Performed:
    weight = node.constant(1)
    if weight.ndim != 2:
        raise Unfit("its second factor is not a matrix")
    bias = None
    after = node.next(node.node, "Add")
    if after is not None:
        names = [one for one in after.input if one in node.model.arrays]
        found = node.model.arrays[names[0]] if len(names) == 1 else None
        if found is not None and found.shape == (weight.shape[1],):
            bias = found
            node.take(after)
    return _linear(node, weight.T, bias)


def _linear(node: ModelNode, weight: Array, bias: Array | None) -> Performed:
    if weight.ndim != 2 or (bias is not None and bias.size != weight.shape[0]):
        raise Unfit("its factors are not those of a linear layer")
    bias = None if bias is None else bias.reshape(-1)
    own = node.weights("linear", _given(weight=weight, bias=bias))

    def perform(x: Any, w: Any, b: Any) -> Any:
        from torch.nn import functional as F

        return F.linear(x, w, b)

    return Performed(perform, (node.input(0), own["weight"], own.get("bias")))


def _given(**arrays: Array | None) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if array is not None}


# ---- norms ----------------------------------------------------------------------


@_node("BatchNormalization")
def _batch_norm(node: ModelNode) -> Performed:
    import numpy as np

    if node.attribute("training_mode", 0):
        raise Unfit("it is in training mode")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: node.constant(n) for n, name in enumerate(names, 1)}
    arrays["num_batches_tracked"] = np.zeros((), np.int64)
    own = node.weights("bn", arrays)
    eps = _shown(node.attribute("epsilon", 1e-5))
    momentum = _shown(1 - node.attribute("momentum", 0.9))

    def perform(x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        from torch.nn import functional as F

        return F.batch_norm(x, mean, var, w, b, False, momentum, eps)

    return Performed(perform, (node.input(0), *(own[name] for name in names)))


def _shown(number: float) -> float:
    """Return the shortest decimal of a float32: 0.1, not 0.100000001."""
    return float(f"{number:.6g}")


@_node("LayerNormalization")
def _layer_norm(node: ModelNode) -> Performed:
    weight, bias = node.constant(1), node.constant(2)
    own = node.weights("layernorm", _given(weight=weight, bias=bias))
    axis, eps = node.attribute("axis", -1), _shown(node.attribute("epsilon", 1e-5))

    def perform(x: Any, w: Any, b: Any) -> Any:
        from torch.nn import functional as F

        if axis not in (-1, x.dim() - 1):
            raise ValueError("a norm over several axes has no layer kind")
        return F.layer_norm(x, tuple(w.shape), w, b, eps)

    return Performed(perform, (node.input(0), own["weight"], own.get("bias")))


@_node("InstanceNormalization")
def _instance_norm(node: ModelNode) -> Performed:
    weight, bias = node.constant(1), node.constant(2)
    eps = _shown(node.attribute("epsilon", 1e-5))
    own: dict[str, ValueRef] = {}
    if not ((weight == 1).all() and (bias == 0).all()):
        own = node.weights("instancenorm", _given(weight=weight, bias=bias))

    def perform(x: Any, w: Any, b: Any) -> Any:
        from torch.nn import functional as F

        return F.instance_norm(x, None, None, w, b, True, 0.1, eps)

    return Performed(perform, (node.input(0), own.get("weight"), own.get("bias")))


@_node("LRN")
def _local_response_norm(node: ModelNode) -> Performed:
    size = node.attribute("size", 5)
    alpha, beta, k = (
        _shown(node.attribute(name, default))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.local_response_norm(x, size, alpha, beta, k)

    return Performed(perform, (node.input(0),))


# ---- pools ----------------------------------------------------------------------


@_node("MaxPool", "AveragePool")
def _pool(node: ModelNode) -> Performed:
    kernel = node.attribute("kernel_shape", ())
    axes = len(kernel)
    strides = node.attribute("strides", (1,) * axes)
    dilations = node.attribute("dilations", (1,) * axes)
    sides = _sides(node, kernel, strides, dilations)
    ceil = bool(node.attribute("ceil_mode", 0))
    counts = bool(node.attribute("count_include_pad", 0))
    largest = node.node.op_type == "MaxPool"
    if len(node.node.output) > 1:
        raise Unfit("it also returns the indices of its maxima")

    def perform(x: Any) -> Any:
        first, last = sides(x)
        up = ceil
        if first != last:
            # Padding that only completes the last window is torch's `ceil_mode`.
            windows = zip(x.shape[2:], kernel, strides, dilations, strict=True)
            along = list(zip(windows, first, last, strict=True))
            rounded = [_pooled(*one, a, a, True) for one, a, _ in along]
            wanted = [_pooled(*one, a, b, ceil) for one, a, b in along]
            if rounded != wanted or counts:
                raise ValueError("padding differs from side to side")
            up = True
        return _pooling(x, first, up)

    def _pooling(x: Any, pad: list[int], up: bool) -> Any:
        from torch.nn import functional as F

        window, step, around = tuple(kernel), tuple(strides), tuple(pad)
        if largest:
            function = getattr(F, f"max_pool{axes}d")
            return function(x, window, step, around, tuple(dilations), ceil_mode=up)
        function = getattr(F, f"avg_pool{axes}d")
        # Without padding, `count_include_pad` makes no difference.
        counted = counts or not any(pad)
        return function(x, window, step, around, up, counted)

    return Performed(perform, (node.input(0),))


def _pooled(n: int, k: int, s: int, d: int, first: int, last: int, up: bool) -> int:
    """Return the size of a pool's output along an axis."""
    room = n + first + last - d * (k - 1) - 1
    size = (-(-room // s) if up else room // s) + 1
    # The last window begins within the input or the padding before it.
    return size - 1 if up and (size - 1) * s >= n + first else size


@_node("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: ModelNode) -> Performed:
    word = "avg" if node.node.op_type == "GlobalAveragePool" else "max"

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return getattr(F, f"adaptive_{word}_pool{x.dim() - 2}d")(x, 1)

    return Performed(perform, (node.input(0),))


@_node("ReduceMean", "ReduceMax")
def _reduced(node: ModelNode) -> Performed:
    largest = node.node.op_type == "ReduceMax"
    fixed, keep = node.attribute("axes", ()), bool(node.attribute("keepdims", 1))
    axes = node.constant(1)
    chosen = tuple(int(n) for n in (fixed if axes is None else axes))

    def perform(x: Any) -> Any:
        over = tuple(n % x.dim() for n in chosen)
        return x.amax(over, keep) if largest else x.mean(over, keep)

    return Performed(perform, (node.input(0),))


# ---- activations ----------------------------------------------------------------


def _plain(home: str, name: str, *given: tuple[str, str, float]) -> _Emit:
    """Return an activation with numbers for arguments.

    Args:
        home: the module of torch that has the function.
        name: the function.
        given: its arguments, each with the node's attribute and its default.
    """

    def emit(node: ModelNode) -> Performed:
        more = {
            own: _shown(node.attribute(theirs, default))
            for own, theirs, default in given
        }

        def perform(x: Any) -> Any:
            import torch
            from torch.nn import functional

            module = torch if home == "torch" else functional
            return getattr(module, name)(x, **more)

        return Performed(perform, (node.input(0),))

    return emit


NODES["Relu"] = _plain("F", "relu")
NODES["Tanh"] = _plain("torch", "tanh")
NODES["Abs"] = _plain("torch", "abs")
NODES["Mish"] = _plain("F", "mish")
NODES["HardSwish"] = _plain("F", "hardswish")
NODES["Elu"] = _plain("F", "elu", ("alpha", "alpha", 1.0))
NODES["LeakyRelu"] = _plain("F", "leaky_relu", ("negative_slope", "alpha", 0.01))
NODES["Selu"] = _plain("F", "selu")


@_node("Sigmoid", "HardSigmoid")
def _sigmoid(node: ModelNode) -> Performed:
    """A sigmoid, or a swish if its result is multiplied by its own input."""
    soft = node.node.op_type == "Sigmoid"
    if not soft:
        slope, shift = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
        if not (isclose(slope, 1 / 6, rel_tol=1e-5) and shift == 0.5):
            raise Unfit("its slope is not a sixth")
    name = ("silu" if soft else "hardswish") if _by_itself(node) else ""
    alone = "sigmoid" if soft else "hardsigmoid"

    def perform(x: Any) -> Any:
        import torch
        from torch.nn import functional

        home = torch if name == "" and soft else functional
        return getattr(home, name or alone)(x)

    return Performed(perform, (node.input(0),))


def _by_itself(node: ModelNode) -> bool:
    """Return whether the result of a node is only multiplied by the node's input."""
    after = node.next(node.node, "Mul")
    if after is None:
        return False
    if sorted(after.input) != sorted((node.node.input[0], node.node.output[0])):
        return False
    node.take(after)
    return True


@_node("Gelu")
def _gelu(node: ModelNode) -> Performed:
    how = node.attribute("approximate", "none")

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.gelu(x, approximate=how)

    return Performed(perform, (node.input(0),))


@_node("PRelu")
def _prelu(node: ModelNode) -> Performed:
    slope = node.constant(1)
    own = node.weights("prelu", {"weight": slope.reshape(-1)})

    def perform(x: Any, w: Any) -> Any:
        from torch.nn import functional as F

        return F.prelu(x, w)

    return Performed(perform, (node.input(0), own["weight"]))


@_node("Clip")
def _clip(node: ModelNode) -> Performed:
    low, high = node.constant(1), node.constant(2)
    least = node.attribute("min", 0.0) if low is None else float(low.reshape(-1)[0])
    most = node.attribute("max", 0.0) if high is None else float(high.reshape(-1)[0])
    if (least, most) != (0.0, 6.0):
        raise Unfit(f"it clips to {least:g} and {most:g}")

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.relu6(x)

    return Performed(perform, (node.input(0),))


@_node("Softmax")
def _softmax(node: ModelNode) -> Performed:
    axis = node.attribute("axis", -1)

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.softmax(x, axis % x.dim())

    return Performed(perform, (node.input(0),))


@_node("Dropout")
def _dropout(node: ModelNode) -> Performed:
    ratio = node.constant(1)
    rate = (
        node.attribute("ratio", 0.5) if ratio is None else float(ratio.reshape(-1)[0])
    )

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.dropout(x, _shown(rate), training=False)

    return Performed(perform, (node.input(0),))


# ---- sums and products ----------------------------------------------------------


@_node("Add", "Sub", "Mul", "Div")
def _binary(node: ModelNode) -> Performed:
    type = node.node.op_type
    args = [_operand(node, n) for n in range(2)]

    def perform(a: Any, b: Any) -> Any:
        if _is_host(a) and _is_host(b):
            return _computed(type, a, b)
        match type:
            case "Add":
                return a + b
            case "Sub":
                return a - b
            case "Mul":
                return a * b
            case _:
                return a / b

    return Performed(perform, args)


def _operand(node: ModelNode, place: int) -> Any:
    """Return an operand of a sum or product; one number per channel is a parameter."""
    found = node.input(place)
    other = node.node.input[1 - place]
    factors = node.node.op_type == "Mul" and other not in node.model.arrays
    array = node.model.arrays.get(node.node.input[place]) if factors else None
    if array is None or array.dtype.kind != "f" or array.size == 1:
        return found
    name = node.node.input[place]
    owner = node.model.owner([name], _parameter_of(name), "layerscale")
    return node.model.parameter(owner, {"": array})[""]


def _parameter_of(name: str) -> str:
    """Return the key of a parameter; its name may show that it was reshaped."""
    return name.partition("/")[0].removesuffix(".factors")


def _computed(type: str, a: Any, b: Any) -> Any:
    """Return the result of a node that computes with sizes."""
    import numpy as np

    first, second = np.asarray(a), np.asarray(b)
    if max(first.size, second.size) > _MOST_SIZES:
        raise ValueError("sizes are computed from more numbers than a shape has")
    match type:
        case "Add":
            return first + second
        case "Sub":
            return first - second
        case "Mul":
            return first * second
        case _:
            whole = first.dtype.kind == "i" and second.dtype.kind == "i"
            return first // second if whole else first / second


@_node("Concat")
def _concat(node: ModelNode) -> Performed:
    axis = node.attribute("axis", 0)

    def perform(*parts: Any) -> Any:
        import numpy as np
        import torch

        if all(map(_is_host, parts)):
            return np.concatenate([np.atleast_1d(part) for part in parts], axis)
        return torch.cat(list(parts), axis)

    return Performed(perform, [node.input(n) for n in range(node.count)])


@_node("Erf")
def _erf(node: ModelNode) -> Performed:
    raise Unfit("it is not part of a GELU")


def _gelu_of(node: ModelNode) -> bool:
    """Return whether a quotient by the square root of 2 is the start of a GELU."""
    erf = node.next(node.node, "Erf")
    plus = node.next(erf, "Add") if erf is not None else None
    times = node.next(plus, "Mul") if plus is not None else None
    half = node.next(times, "Mul") if times is not None else None
    if erf is None or plus is None or times is None or half is None:
        return False
    arrays = node.model.arrays
    one = [at_host(arrays[n]) for n in plus.input if n in arrays]
    halves = [at_host(arrays[n]) for n in half.input if n in arrays]
    if one != [1.0] or halves != [0.5] or node.node.input[0] not in times.input:
        return False
    node.take(erf, plus, times, half)
    return True


@_node("Div")
def _quotient(node: ModelNode) -> Performed:
    by = node.input(1)
    if isinstance(by, float) and isclose(by, sqrt(2), rel_tol=1e-5) and _gelu_of(node):
        return _gelu(node)
    return _binary(node)


# ---- shapes ---------------------------------------------------------------------


@_node("Flatten")
def _flatten(node: ModelNode) -> Performed:
    axis = node.attribute("axis", 1)

    def perform(x: Any) -> Any:
        import torch

        if axis != 1:
            raise ValueError("it does not flatten each sample")
        return torch.flatten(x, 1)

    return Performed(perform, (node.input(0),))


@_node("Reshape")
def _reshape(node: ModelNode) -> Performed:
    stored = node.node.input[1] in node.model.arrays

    def perform(x: Any, sizes: Any) -> Any:
        whole = [int(n) for n in sizes]
        if _is_host(x):
            return x.reshape(whole)
        shape = [x.shape[n] if size == 0 else size for n, size in enumerate(whole)]
        if stored and shape[0] > 0 and shape[0] != BATCH and x.shape[0] == BATCH:
            shape[0] = BATCH  # the batch size of the file
        return x.reshape(shape)

    return Performed(perform, (node.input(0), node.input(1)))


@_node("Transpose")
def _transpose(node: ModelNode) -> Performed:
    order = node.attribute("perm", ())

    def perform(x: Any) -> Any:
        moved = [n for n, axis in enumerate(order) if n != axis]
        if len(moved) == 2:
            return x.transpose(*moved)
        return x.permute(order)

    return Performed(perform, (node.input(0),))


@_node("Squeeze", "Unsqueeze")
def _squeeze(node: ModelNode) -> Performed:
    axes = node.constant(1)
    chosen = tuple(
        int(n) for n in (node.attribute("axes", ()) if axes is None else axes)
    )
    less = node.node.op_type == "Squeeze"

    def perform(x: Any) -> Any:
        import numpy as np

        if _is_host(x):
            array = np.asarray(x)
            return (np.squeeze if less else np.expand_dims)(array, chosen)
        for axis in sorted(chosen, reverse=less):
            x = x.squeeze(axis) if less else x.unsqueeze(axis)
        return x

    return Performed(perform, (node.input(0),))


@_node("Shape")
def _shape(node: ModelNode) -> Performed:
    start, end = node.attribute("start", 0), node.attribute("end", 1 << 30)

    def perform(x: Any) -> Any:
        import numpy as np

        return np.asarray(tuple(x.shape)[start:end], np.int64)

    return Performed(perform, (node.input(0),))


@_node("Gather")
def _gather(node: ModelNode) -> Performed:
    axis = node.attribute("axis", 0)

    def perform(x: Any, places: Any) -> Any:
        import numpy as np

        if not (_is_host(x) and _is_host(places)):
            raise ValueError("it gathers something other than sizes")
        return np.take(np.asarray(x), np.asarray(places, np.int64), axis)

    return Performed(perform, (node.input(0), node.input(1)))


@_node("Slice")
def _slice(node: ModelNode) -> Performed:
    starts, ends = node.input(1), node.input(2)

    def perform(x: Any, first: Any, last: Any, axes: Any, steps: Any) -> Any:
        rank = len(x.shape)
        over = range(len(first)) if axes is None else [int(n) % rank for n in axes]
        whole = [slice(None)] * rank
        for n, axis in enumerate(over):
            step = 1 if steps is None else int(steps[n])
            end = int(last[n])
            behind = end >= x.shape[axis]
            whole[axis] = slice(int(first[n]), None if behind else end, step)
        return x[tuple(whole)]

    args = (node.input(0), starts, ends, node.input(3), node.input(4))
    return Performed(perform, args)


@_node("Split")
def _split(node: ModelNode) -> Performed:
    axis, sizes = node.attribute("axis", 0), node.constant(1)
    given = node.attribute("split", ()) if sizes is None else tuple(map(int, sizes))
    count = len(node.node.output)

    def perform(x: Any) -> Any:
        import torch

        if not given or len(set(given)) == 1:
            return torch.chunk(x, count, axis % x.dim())
        return torch.split(x, list(given), axis % x.dim())

    return Performed(perform, (node.input(0),))


@_node("Identity")
def _identity(node: ModelNode) -> Performed:
    return Performed(lambda x: x, (node.input(0),))


@_node("Cast")
def _cast(node: ModelNode) -> Performed:
    def perform(x: Any) -> Any:
        return x  # values have one precision here, and sizes are integers

    return Performed(perform, (node.input(0),))


@_node("Pad")
def _pad(node: ModelNode) -> Performed:
    mode = node.attribute("mode", "constant")
    stored, value = node.constant(1), node.constant(2)
    pads = node.attribute("pads", ()) if stored is None else tuple(map(int, stored))
    filled = 0.0 if value is None else float(value.reshape(-1)[0])
    count = len(pads) // 2
    if (
        mode != "constant"
        or node.input(3) is not None
        or any((*pads[:2], *pads[count : count + 2]))
    ):
        raise Unfit("it pads unlike any layer kind")

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        sides: list[int] = []
        for axis in reversed(range(2, count)):
            sides += [pads[axis], pads[count + axis]]
        return F.pad(x, sides, "constant", filled)

    return Performed(perform, (node.input(0),))


@_node("DepthToSpace")
def _depth_to_space(node: ModelNode) -> Performed:
    if node.attribute("mode", "DCR") != "CRD":
        raise Unfit("it orders channels unlike a pixel shuffle")
    size = node.attribute("blocksize", 1)

    def perform(x: Any) -> Any:
        from torch.nn import functional as F

        return F.pixel_shuffle(x, size)

    return Performed(perform, (node.input(0),))


@_node("Resize")
def _resize(node: ModelNode) -> Performed:
    mode = node.attribute("mode", "nearest")
    how = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    near = mode == "nearest" and how == "asymmetric" and rounding == "floor"
    corners = how == "align_corners"
    known = ("half_pixel", "pytorch_half_pixel", "align_corners")
    if not near and not (mode == "linear" and how in known):
        raise Unfit(f"it resizes by {mode} and {how}")

    def perform(x: Any, scales: Any, sizes: Any) -> Any:
        from torch.nn import functional as F

        words = {1: "linear", 2: "bilinear", 3: "trilinear"}
        more: dict[str, Any] = {"mode": "nearest"}
        if not near:
            more = {"mode": words[x.dim() - 2], "align_corners": corners}
        if scales is not None and len(scales):
            return F.interpolate(x, scale_factor=[float(n) for n in scales[2:]], **more)
        return F.interpolate(x, size=[int(n) for n in sizes[2:]], **more)

    return Performed(perform, (node.input(0), node.input(2), node.input(3)))
