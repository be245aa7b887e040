"""torchvision as the reference of the tests, and the presets that it covers.

The compiled operators of torchvision may not load with a CPU build of torch. The models
need none of them, but importing torchvision needs the schemas of two.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import archdsl
from archdsl.passes.analysis import Analysis
from tests import presets

Scheme = tuple[str, tuple[float, ...]]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _operators_load() -> bool:
    """Return whether torchvision's own operators can be loaded."""
    found = importlib.util.find_spec("torchvision")
    assert found is not None and found.origin is not None
    for library in Path(found.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
        return True
    return False


if not _operators_load():
    # Kept alive, as the schemas are removed together with the object.
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _schema in _SCHEMAS:
        _LIBRARY.define(_schema)

import torchvision  # noqa: E402
from torchvision.models.regnet import BlockParams  # noqa: E402

_widths = BlockParams.from_init_params


def _regnet_widths(**numbers: Any) -> BlockParams:
    """Let torchvision compute RegNet's widths on the CPU, even on the meta device."""
    with torch.device("cpu"):
        return _widths(**numbers)


# Prefixes of torchvision's segmentation networks.
SEGMENTATION = ("fcn", "deeplab", "lraspp")

# With either, the last maps of most networks have 2x2 units. The smaller one is for
# networks whose strided layers are padded: 33, 17, 9, 5, 3 and 2.
_BATCH = (2, 3, 64, 64)
_PADDED = (2, 3, 33, 33)


class Case(NamedTuple):
    """A preset, and the model of torchvision that it describes.

    Attributes:
        id: name in test reports, unique.
        preset: name of the preset.
        params: parameters of the network that are changed.
        model: torchvision's name.
        options: arguments of torchvision's constructor.
        depth: weighted layers on the longest path, from the paper's title or table.
        size: height and width of the input, as published.
        wide: another size, odd and not square.
        batch: a small input for comparing values, with several units before the last
            pool.
        gradients: whether gradients are compared, which is done once per family.
    """

    id: str
    preset: str
    params: Mapping[str, Any]
    model: str
    options: Mapping[str, Any]
    depth: int
    size: int = 224
    wide: tuple[int, int] = (225, 223)
    batch: tuple[int, int, int, int] = _BATCH
    gradients: bool = True

    def load(self, input: str | None = None) -> archdsl.Network:
        """Return our network, for another input if one is given."""
        return _loaded(self.id, input)

    def analysis(self) -> Analysis:
        """Return the analysis of our network."""
        return _analysed(self.id)

    def build(self, input: str | None = None) -> nn.Module:
        """Return the module compiled from our spec."""
        if input is None and not self.params:
            return presets.built(self.preset)
        return archdsl.build(self.load(input))

    def reference(self) -> nn.Module:
        """Return torchvision's model, initialised as it does by itself."""
        options = dict(self.options)
        if self.model.startswith(SEGMENTATION):
            options["weights_backbone"] = None
        return _made(self.model, **options)

    def on_meta(self) -> Pair:
        """Return both modules on the meta device, shared with other tests.

        Set the mode before you run one; to change one, use `Pair.copies`.
        """
        return _on_meta(self.id)


def _case(
    model: str,
    depth: int,
    *,
    id: str = "",
    params: Mapping[str, Any] = MappingProxyType({}),
    size: int = 224,
    wide: tuple[int, int] = (225, 223),
    batch: tuple[int, int, int, int] = _BATCH,
    gradients: bool = True,
    **options: Any,
) -> Case:
    return Case(
        id or model,
        model,
        params,
        model,
        options,
        depth,
        size=size,
        wide=wide,
        batch=batch,
        gradients=gradients,
    )


def _cases() -> Iterator[Case]:
    yield _case("alexnet", 8)
    for depth in (11, 13, 16, 19):
        yield _case(f"vgg{depth}", depth, batch=(2, 3, 64, 32))
        yield _case(f"vgg{depth}_bn", depth, batch=(2, 3, 64, 32))
    yield _case("googlenet", 22, aux_logits=True, init_weights=True)
    yield _case(
        "googlenet",
        22,
        id="googlenet_no_aux",
        params={"aux": False},
        aux_logits=False,
        init_weights=True,
    )
    yield _case(
        "googlenet",
        22,
        id="googlenet_transform",
        params={"transform_input": True},
        transform_input=True,
        aux_logits=True,
        init_weights=True,
    )
    for depth in (18, 34, 50, 101, 152):
        yield _case(f"resnet{depth}", depth, batch=_PADDED)
    yield _case("resnext50_32x4d", 50, batch=_PADDED)
    yield _case("resnext101_32x8d", 101, batch=_PADDED)
    yield _case("resnext101_64x4d", 101, batch=_PADDED)
    yield _case("wide_resnet50_2", 50, batch=_PADDED)
    yield _case("wide_resnet101_2", 101, batch=_PADDED)
    for depth in (121, 161, 169, 201):
        yield _case(f"densenet{depth}", depth)
    yield from _light_cases()
    yield from _scaled_cases()
    yield from _segmentation_cases()


def _light_cases() -> Iterator[Case]:
    """Yield networks whose papers give no depth; it is counted by hand here."""
    # A stem, eight modules of two, and the classifying convolution.
    yield _case("squeezenet1_0", 1 + 8 * 2 + 1)
    yield _case("squeezenet1_1", 1 + 8 * 2 + 1, gradients=False)
    # A stem, a module of two, sixteen of three, a last convolution and a classifier.
    yield _case("mobilenet_v2", 1 + 2 + 16 * 3 + 1 + 1, batch=_PADDED)
    # The same with two layers of each squeeze and excitation, and two of classifier.
    depth = 1 + 2 + 14 * 3 + 8 * 2 + 1 + 2
    yield _case("mobilenet_v3_large", depth, gradients=False, batch=_PADDED)
    yield _case("mobilenet_v3_small", 1 + 2 + 10 * 3 + 9 * 2 + 1 + 2, batch=_PADDED)
    # A separable stem, sixteen modules of three, a last convolution, a classifier.
    for scale in ("0_5", "0_75", "1_0", "1_3"):
        yield _case(
            f"mnasnet{scale}",
            3 + 16 * 3 + 1 + 1,
            gradients=scale == "1_0",
            batch=_PADDED,
        )
    for scale in ("0_5", "1_0", "1_5", "2_0"):
        depth = 1 + 16 * 3 + 1 + 1
        yield _case(
            f"shufflenet_v2_x{scale}", depth, gradients=scale == "1_0", batch=_PADDED
        )
    # A stem of five; three modules of three at most, a reduction of three, four of
    # five, a reduction of four, two of three; a classifier.
    depth = 5 + 3 * 3 + 3 + 4 * 5 + 4 + 2 * 3 + 1
    yield _case(
        "inception_v3",
        depth,
        size=299,
        wide=(303, 301),
        # The head's last norm has one value per sample: of two, each would be 1 or -1.
        batch=(3, 3, 299, 299),
        aux_logits=True,
        init_weights=True,
    )
    for transform in (False, True):
        yield _case(
            "inception_v3",
            depth,
            id="inception_v3_" + ("transform" if transform else "no_aux"),
            params={"aux": False, "transform_input": transform},
            size=299,
            batch=(2, 3, 139, 139),
            gradients=False,
            aux_logits=False,
            transform_input=transform,
            init_weights=True,
        )


def _scaled_cases() -> Iterator[Case]:
    """Yield families that are scaled by rules; depths are counted by hand here, too."""
    # A stem; four layers per unit in the first stage, which has no expansion, and five
    # in the others; a last convolution and a classifier.
    depths = (1.0, 1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
    for number, scale in enumerate((1.0, *depths[2:])):
        first, *rest = (math.ceil(n * scale) for n in (1, 2, 2, 3, 3, 4, 1))
        depth = 1 + 4 * first + 5 * sum(rest) + 2
        yield _case(
            f"efficientnet_b{number}", depth, gradients=number == 0, batch=_PADDED
        )
    # Fused units of one layer and of two, then units of five.
    for size, (one, two, five) in {
        "s": (2, 4 + 4, 6 + 9 + 15),
        "m": (3, 5 + 5, 7 + 14 + 18 + 5),
        "l": (4, 7 + 7, 10 + 19 + 25 + 7),
    }.items():
        depth = 1 + one + 2 * two + 5 * five + 2
        yield _case(
            f"efficientnet_v2_{size}", depth, gradients=size == "s", batch=_PADDED
        )
    # Three layers per unit; five with squeeze and excitation.
    units = {"400mf": (16, 22), "800mf": (14, 16), "1_6gf": (27, 18), "3_2gf": (21, 25)}
    units |= {"8gf": (17, 23), "16gf": (18, 22), "32gf": (20, 23), "128gf": (27, 0)}
    for size, (y, x) in units.items():
        yield _case(
            f"regnet_y_{size}", 1 + 5 * y + 1, gradients=size == "400mf", batch=_PADDED
        )
        if x:
            yield _case(
                f"regnet_x_{size}",
                1 + 3 * x + 1,
                gradients=size == "400mf",
                batch=_PADDED,
            )
    # A stem and three reductions, three layers a unit, a classifier.
    for size, blocks in {"tiny": 18, "small": 36, "base": 36, "large": 36}.items():
        depth = 1 + 3 + 3 * blocks + 1
        yield _case(f"convnext_{size}", depth, gradients=size == "tiny")


def _segmentation_cases() -> Iterator[Case]:
    """Yield segmentation networks; their depth is the backbone's, plus the head's."""
    mobile = 1 + 2 + 14 * 3 + 8 * 2 + 1
    depths = {
        # A head of two layers; of three in a row and a classifier.
        "fcn_resnet50": 49 + 2,
        "fcn_resnet101": 100 + 2,
        "deeplabv3_resnet50": 49 + 4,
        "deeplabv3_resnet101": 100 + 4,
        "deeplabv3_mobilenet_v3_large": mobile + 4,
        "lraspp_mobilenet_v3_large": mobile + 2,
    }
    # For deep ones, cases with and without the auxiliary head would be redundant.
    once = {"fcn_resnet101": False, "deeplabv3_resnet101": True}
    for model, depth in depths.items():
        heads = (False,) if model.startswith("lraspp") else (False, True)
        for aux in (once[model],) if model in once else heads:
            yield _case(
                model,
                depth,
                id=f"{model}_aux" if aux else model,
                params={"aux": True} if aux else {},
                size=520,
                # Norms after global pooling need several samples.
                batch=(4, 3, 32, 32),
                # The others sum some gradients in another order, so gradients that are
                # mathematically zero differ by rounding.
                gradients=model.startswith("lraspp"),
                **({"aux_loss": True} if aux else {}),
            )


# Cases with gradients come first, so that a case has the same index in both lists of
# cases. pytest sorts by index, and so runs all tests of a case in a row, which share
# its modules.
CASES: Mapping[str, Case] = {
    case.id: case for case in sorted(_cases(), key=lambda case: not case.gradients)
}

every_case = pytest.mark.parametrize(
    "case", CASES.values(), ids=CASES.keys(), scope="module"
)


class Pair(NamedTuple):
    """Our module and torchvision's on the meta device.

    Attributes:
        ours: the module compiled from the spec.
        theirs: torchvision's module.
        drawn: the initialisation of each of our tensors, by name.
        expected: the same for torchvision's.
    """

    ours: nn.Module
    theirs: nn.Module
    drawn: Mapping[str, Scheme]
    expected: Mapping[str, Scheme]

    def copies(self) -> tuple[nn.Module, nn.Module]:
        """Return copies of both modules, which may be changed."""
        return deepcopy(self.ours), deepcopy(self.theirs)


@cache
def _loaded(id: str, input: str | None) -> archdsl.Network:
    case = CASES[id]
    if input is None and not case.params:
        return presets.network(case.preset)
    return archdsl.load(case.preset, params=case.params or None, input=input)


@cache
def _analysed(id: str) -> Analysis:
    return archdsl.analyze(_loaded(id, None))


# Only two are kept, which is enough as the tests of a case run in a row.
@lru_cache(maxsize=2)
def _on_meta(id: str) -> Pair:
    with torch.device("meta"), InitRecorder() as recorder:
        ours, theirs = CASES[id].build(), CASES[id].reference()
    return Pair(ours, theirs, recorder.schemes(ours), recorder.schemes(theirs))


class Emitted(NamedTuple):
    """A network whose emitted module is examined as text.

    Attributes:
        id: name of its file.
        preset: name of the preset.
        params: parameters of the network that are changed.
        size: height and width of an input that also works in training.
        tools: whether torch's tools are run on it, which takes long.
    """

    id: str
    preset: str
    params: tuple[tuple[str, Any], ...] = ()
    size: int = 64
    tools: bool = True

    def load(self) -> archdsl.Network:
        """Return the network."""
        return archdsl.load(self.preset, params=dict(self.params))


EMITTED: Mapping[str, Emitted] = {
    emitted.id: emitted
    for emitted in (
        Emitted("alexnet", "alexnet"),
        Emitted("vgg16_bn", "vgg16_bn"),
        Emitted("vgg19", "vgg19"),
        Emitted("googlenet", "googlenet"),
        Emitted("googlenet_no_aux", "googlenet", (("aux", False),)),
        Emitted("googlenet_paper", "googlenet_paper", size=224),
        Emitted("resnet18", "resnet18"),
        Emitted("resnet50", "resnet50"),
        Emitted("resnext50_32x4d", "resnext50_32x4d"),
        Emitted("densenet121", "densenet121"),
        Emitted("squeezenet1_0", "squeezenet1_0", tools=False),
        Emitted("mobilenet_v2", "mobilenet_v2", tools=False),
        Emitted("mobilenet_v3_large", "mobilenet_v3_large"),
        Emitted("mnasnet1_0", "mnasnet1_0", tools=False),
        Emitted("shufflenet_v2_x1_0", "shufflenet_v2_x1_0"),
        Emitted("inception_v3", "inception_v3", size=299),
    )
}


@contextmanager
def meta() -> Iterator[None]:
    """Create tensors on the meta device, and find their shapes quickly."""
    with quick_shapes(), torch.device("meta"):
        yield


# What is applied to each value. Many of these are dozens of operations for torch.
_ELEMENTWISE = (
    *("relu", "hardtanh", "hardtanh_", "hardswish", "hardswish_", "hardsigmoid"),
    *("hardsigmoid_", "gelu"),
)


@contextmanager
def quick_shapes(*, tracked: bool = False) -> Iterator[None]:
    """Make what networks call most fast on the meta device, and for fake tensors.

    There, torch computes the shapes of outputs by operations in Python, some forty for
    a batch norm, which take most of the time of a network with a norm after every
    convolution. tests/test_torchvision.py compares the replacements with the originals.

    Args:
        tracked: whether torch's tracker of memory is the reference: fake tensors and
            activations, whose operations it sees, are left to torch.
    """
    aten = torch.ops.aten
    kernels: dict[Any, Callable[..., Any]] = {
        aten.native_batch_norm.default: _shapes_of_batch_norm,
        # The operators that torch's counter decomposes it into.
        aten._native_batch_norm_legit.default: _shapes_of_batch_norm,
        aten._native_batch_norm_legit_no_training.default: (
            lambda *given: _shapes_of_batch_norm(*given[:5], False, *given[5:])
        ),
        aten.native_batch_norm_backward.default: _shapes_of_its_gradients,
    }
    library = torch.library.Library("aten", "IMPL")
    for operator, kernel in kernels.items():
        library.impl(operator, kernel, "Meta")
    for name in _ELEMENTWISE if not tracked else ():
        library.impl(name, _itself if name.endswith("_") else _shape_of_each, "Meta")
    if not tracked:
        library.impl("add.Tensor", _shape_of_sum, "Meta")
    # Fake tensors only use them if they are in this table.
    with mock.patch.dict(torch._decomp.meta_table, {} if tracked else kernels):
        try:
            yield
        finally:
            library._destroy()


def _itself(x: Tensor, *_: Any) -> Tensor:
    return x


def _shape_of_each(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _like(x) if _is_dense(x) else torch.empty_like(x)


def _shape_of_sum(x: Tensor, y: Tensor | float, **options: Any) -> Tensor:
    if isinstance(y, Tensor) and _layout(x) == _layout(y) and _is_dense(x):
        return _like(x)
    made: Tensor = torch._refs.add(x, y, **options)
    return made


def _layout(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def _is_dense(x: Tensor) -> bool:
    """Return whether `torch.empty_like` keeps the strides."""
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _shapes_of_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1]
    for own in (weight, bias, mean, var):
        assert own is None or own.shape == (channels,)
    # For half precision, kernels keep the statistics in 32 bits.
    dtype = torch.promote_types(x.dtype, torch.float32)
    statistics = (torch.empty(channels, dtype=dtype, device=x.device) for _ in range(2))
    return _like(x), *statistics


def _shapes_of_its_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor | None, *rest: Any
) -> tuple[Tensor | None, ...]:
    wanted = rest[-1]
    assert gradient.shape == x.shape
    own = x.new_empty(x.shape[1], dtype=None if weight is None else weight.dtype)
    found = _like(x), own, _like(own)
    return tuple(g if want else None for g, want in zip(found, wanted, strict=True))


def _like(x: Tensor) -> Tensor:
    """Return what `torch.empty_like` does, which is Python on the meta device."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def macs_of(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return the MACs of every submodule by path, the total under ``""``.

    Source: torch's own counter, which counts two operations per MAC.
    """
    # The counter's tree of modules is rooted at the class's name.
    root = type(module).__name__
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    flops = {
        path.removeprefix(root).removeprefix("."): sum(by_op.values())
        for path, by_op in counter.get_flop_counts().items()
        if path != "Global"
    }
    assert all(n % 2 == 0 for n in flops.values())
    return {path: n // 2 for path, n in flops.items()}


@contextmanager
def noted_shapes(module: nn.Module) -> Iterator[dict[str, tuple[int, ...]]]:
    """Record the output shapes of submodules, without the batch, within the context."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = []
    for path, part in module.named_modules():

        def note(_part: nn.Module, _inputs: Any, output: Any, path: str = path) -> None:
            if isinstance(output, Tensor):
                shapes[path] = tuple(output.shape[1:])

        hooks.append(part.register_forward_hook(note))
    yield shapes
    for hook in hooks:
        hook.remove()


# ---- values --------------------------------------------------------------------


def _made(model: str, **options: Any) -> nn.Module:
    with mock.patch.object(BlockParams, "from_init_params", _regnet_widths):
        return torchvision.models.get_model(model, weights=None, **options)


def filled(model: str) -> nn.Module:
    """Return a model of torchvision with values that are quick to draw."""
    with torch.device("meta"):
        module = _made(model)
    fill(module)
    return module


def fill(module: nn.Module) -> None:
    """Give a module from the meta device values that differ between tensors.

    Activations neither vanish nor explode, and no tensor keeps a value, such as one or
    zero, that could hide a mistake.
    """
    module.to_empty(device="cpu")
    place = 0
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            value.fill_(3)
            continue
        _write_drawn(value.view(-1), place)
        place += value.numel()
        if value.dim() > 1:
            # He et al. 2015, "Delving deep into rectifiers", for a uniform draw.
            value.mul_((6 / value[0].numel()) ** 0.5)
        elif not name.endswith("bias"):
            value.mul_(0.5).add_(1.0)
        else:
            value.mul_(0.1)


@cache
def _drawn(dtype: torch.dtype) -> Tensor:
    """Return values in -1 to 1; their number is a prime that no tensor's size has."""
    generator = torch.Generator().manual_seed(0)
    return torch.empty(1_048_583, dtype=dtype).uniform_(-1, 1, generator=generator)


def _write_drawn(values: Tensor, place: int) -> None:
    """Copy values from an offset on, and cyclically again from the first one.

    Drawing a hundred million numbers takes a second, copying them a tenth of that.
    """
    drawn, done = _drawn(values.dtype), 0
    while done < len(values):
        start = (place + done) % len(drawn)
        part = drawn[start : start + len(values) - done]
        values[done : done + len(part)] = part
        done += len(part)


def no_dropout(module: nn.Module) -> list[float]:
    """Set every dropout to 0, and return the old rates."""
    dropouts = [m for m in module.modules() if isinstance(m, nn.Dropout)]
    rates = [m.p for m in dropouts]
    for m in dropouts:
        m.p = 0.0
    for m in stochastic_depths(module):
        m.p = 0.0
    return rates


def stochastic_depths(module: nn.Module) -> list[Any]:
    """Return the modules of stochastic depth, torchvision's or emitted."""
    return [m for m in module.modules() if type(m).__name__ == "StochasticDepth"]


def tensors(output: Any) -> dict[str, Tensor]:
    """Return a network's outputs by our names."""
    if isinstance(output, Tensor):
        return {"output": output}
    renamed = {
        "logits": "output",
        "out": "output",
        "aux_logits": "AuxLogits",
        "aux_logits1": "aux1",
        "aux_logits2": "aux2",
    }
    named = output if isinstance(output, dict) else output._asdict()
    return {renamed.get(name, name): value for name, value in named.items()}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the norm of the difference, relative to that of the reference."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    if not theirs.is_floating_point():
        return 0.0 if torch.equal(ours, theirs) else float("inf")
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))


# ---- initialisation ------------------------------------------------------------


class InitRecorder(TorchDispatchMode):
    """Records how each tensor is initialised while modules are made.

    On the meta device, this costs nothing, and distinguishes schemes exactly instead of
    up to sampling error.
    """

    _NAMES: ClassVar = {"normal_": "normal", "uniform_": "uniform", "fill_": "fill"}

    def __init__(self) -> None:
        super().__init__()
        # The tensor is kept as well, since an `id` is only unique during its lifetime.
        self._last: dict[int, tuple[Tensor, Scheme]] = {}

    def __enter__(self) -> InitRecorder:
        super().__enter__()
        # Rejection sampling has no effect on the meta device.
        self._patch = mock.patch.object(
            nn.init, "_no_grad_trunc_normal_", self._trunc_normal
        )
        self._patch.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._patch.stop()
        super().__exit__(*error)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        if name == "zero_":
            self._note(args[0], "fill", 0.0)
            return args[0]  # there are no values to change
        if name in self._NAMES:
            self._note(args[0], self._NAMES[name], *args[1:])
            return args[0]
        if name.endswith("_"):
            self._note(args[0], f"unexpected {name}")
        return func(*args, **(kwargs or {}))

    def _trunc_normal(
        self, tensor: Tensor, mean: float, std: float, a: float, b: float, **_: Any
    ) -> Tensor:
        # Bounds beyond six deviations have no effect: two in 10^9 samples exceed them.
        free = a < mean - 6 * std and b > mean + 6 * std
        name, bounds = ("normal", ()) if free else ("trunc_normal", (a, b))
        self._note(tensor, name, mean, std, *bounds)
        return tensor

    def _note(self, tensor: Tensor, name: str, *numbers: float) -> None:
        self._last[id(tensor)] = tensor, (name, tuple(float(n) for n in numbers))

    def schemes(self, module: nn.Module) -> dict[str, Scheme]:
        """Return the last initialisation of each tensor of a module.

        A tensor that was created with its values has none.
        """
        named = chain(module.named_parameters(), module.named_buffers())
        made: tuple[None, Scheme] = None, ("made", ())
        return {name: self._last.get(id(t), made)[1] for name, t in named}
