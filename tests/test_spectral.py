"""Layers with spectral norm, compared with torch modules written by hand."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.jit.frontend import NotSupportedError
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode

import archdsl
from archdsl.backends.importer import NotImported
from archdsl.backends.torch.gradients import gradient_norms
from archdsl.backends.torch.validate import Miscompiled, parse_module, validate
from archdsl.backends.torch.verification import agree
from archdsl.diagnostics import SpecError
from archdsl.ir.graph import flatten
from archdsl.layer import kind
from archdsl.passes.recompute import parts
from archdsl.transforms import BakeWeights, pipeline
from archdsl.values import Shape
from tests.comparing import faults


def net(*statements: str, input: str = "3x8x8", before: str = "") -> str:
    body = "".join(f"    {line}\n" for line in statements)
    return f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"


class Critic(nn.Module):
    """A small discriminator, as in Miyato et al. 2018, table 3."""

    def __init__(self, start: Any = None) -> None:
        super().__init__()
        made = self._made if start is None else lambda layer: self._made(start(layer))
        self.conv1 = made(nn.Conv2d(3, 4, 3, padding=1))
        self.conv2 = made(nn.Conv2d(4, 6, 4, stride=2, padding=1, bias=False))
        self.up = made(nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2))
        self.fc = made(nn.Linear(4 * 8 * 8, 2))

    @staticmethod
    def _made(layer: nn.Module) -> nn.Module:
        return spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x), 0.1)
        x = F.leaky_relu(self.conv2(x), 0.1)
        return self.fc(self.up(x).flatten(1))


BODY = (
    "conv1: snconv 3x3 4 -> leakyrelu 0.1",
    "conv2: snconv 4x4 6 /2 pad=1 bias=false -> leakyrelu 0.1",
    "up: snconvtranspose 4x4 4 /2 pad=1 groups=2",
    "flatten",
    "fc: snlinear 2",
)


def both() -> tuple[nn.Module, nn.Module]:
    """Return our module and torch's, each made with the same seed."""
    torch.manual_seed(0)
    ours = archdsl.build(archdsl.loads(net(*BODY)))
    torch.manual_seed(0)
    return ours, Critic()


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    left, right = ours.state_dict(), theirs.state_dict()
    assert list(left) == list(right)
    for key, value in right.items():
        assert torch.equal(left[key], value), key


def images(seed: int = 1) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


# ---- results -------------------------------------------------------------


def test_it_starts_as_torchs() -> None:
    assert_same(*both())


def test_it_trains_as_torchs() -> None:
    modules = both()
    rules = [torch.optim.SGD(module.parameters(), 0.1) for module in modules]
    for step in range(3):
        for module, rule in zip(modules, rules, strict=True):
            rule.zero_grad()
            module(images(step)).square().sum().backward()
            rule.step()
        assert_same(*modules)
    ours, theirs = (module.eval() for module in modules)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    assert torch.equal(ours(images()), theirs(images()))
    assert all(torch.equal(before[k], v) for k, v in ours.state_dict().items())


def test_it_divides_by_the_largest_singular_value() -> None:
    text = net("a: snconv 3x3 5")
    module: Any = archdsl.build(archdsl.loads(text))
    weight = module.a.parametrizations.weight.original
    for _ in range(200):
        module(images())
    found = module.eval().a.weight
    torch.testing.assert_close(
        found, weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
    )


def test_each_use_of_shared_weights_iterates() -> None:
    torch.manual_seed(0)
    ours: Any = archdsl.build(archdsl.loads(net("a: snconv 3x3", "same a")))
    torch.manual_seed(0)
    theirs = spectral_norm(nn.Conv2d(3, 3, 3, padding=1))
    x = images()
    assert torch.equal(ours(x), theirs(theirs(x)))
    assert_same(ours.a, theirs)


@pytest.mark.parametrize(
    "lines",
    [
        ("flatten", "snlinear 3 -> bn -> relu"),
        ("permute last", "snlinear 3", "permute first"),
        ("snconv 2x2 4 pad=same", "snconv 3x3 pad_mode=circular"),
        ("{ snconv 3x3 -> relu } x2", "add { snconv 1x1 | }"),
    ],
)
def test_its_module_is_its_network(lines: tuple[str, ...]) -> None:
    assert not faults(net(*lines))


def test_maps_of_any_rank_stand_in_one_network() -> None:
    lines = ("snconv 3x3 4 -> globalavgpool", "reshape sequence -> snconv 3 4")
    assert not faults(net(*lines, "snconvtranspose 2 /2"))


# ---- emitted text -----------------------------------------------------------------


def test_it_is_written_as_by_hand() -> None:
    text = archdsl.emit(archdsl.loads(net(*BODY)))
    assert "from torch.nn.utils.parametrizations import spectral_norm\n" in text
    assert "self.fc = spectral_norm(nn.Linear(256, 2))\n" in text
    assert "parametrize " not in text


def test_a_parameter_cannot_have_the_name_of_what_is_imported() -> None:
    text = net("unit<4>", before="block unit<spectral_norm> { conv 3x3 spectral_norm }")
    with pytest.raises(SpecError, match="spectral_norm"):
        archdsl.loads(text)


# ---- initialisation ----------------------------------------------------------------


def _normal(layer: Any) -> Any:
    nn.init.normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def test_singular_vectors_are_those_of_the_weight_that_it_starts_with() -> None:
    kinds = ("snconv", "snconvtranspose", "snlinear")
    inits = [f"init {word} weight=normal(std = 0.02) bias=0" for word in kinds]
    modules: list[Any] = [
        archdsl.build(archdsl.loads(net(*BODY, *inits))),
        archdsl.build(
            archdsl.loads(
                net(
                    *BODY,
                    *(
                        f"init @{path} weight=normal(std = 0.02)"
                        for path in ("conv1", "conv2", "up", "fc")
                    ),
                )
            )
        ),
        Critic(_normal),
    ]
    for module in modules:
        for path in ("conv1", "conv2", "up", "fc"):
            layer = module.get_submodule(path)
            original = layer.parametrizations.weight.original
            assert 0.01 < float(original.detach().std()) < 0.03
            axis = int(path == "up")
            largest = torch.linalg.matrix_norm(
                layer.eval().weight.transpose(0, axis).flatten(1), 2
            )
            # Estimated by fifteen iterations from a random start; without them, it is
            # far off.
            assert float(largest.detach()) == pytest.approx(1, rel=0.1)
        assert module.state_dict().keys() == modules[-1].state_dict().keys()


def test_what_starts_otherwise_is_told_apart_from_what_derives_from_it() -> None:
    text = net(
        "a: conv 3x3 4 -> b: wsconv 3x3 4 -> c: snconv 3x3 4",
        "init conv weight=0.5 bias=0",
    )
    module: Any = archdsl.build(archdsl.loads(text))
    assert is_parametrized(module.c)
    assert torch.equal(module.a.weight, torch.full((4, 3, 3, 3), 0.5))
    for weight in (module.b.weight, module.c.parametrizations.weight.original):
        assert float(weight.detach().std()) > 0.01


# ---- figures ----------------------------------------------------------------------


class Counted(TorchDispatchMode):
    """Counts the operations that compute a weight, by torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        size = args[0].numel() if args and isinstance(args[0], Tensor) else 0
        if name in ("mv", "vdot"):
            self.total += 2 * size  # a product and a sum each
        elif name == "linalg_vector_norm":
            self.total += 2 * size + 1  # squares, their sum, a root
        elif name in ("clamp_min_", "div"):
            self.total += size
        return out


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("word", "arguments", "shape"),
    [
        ("snconv", {"kernel": (3, 2), "width": 4, "groups": 2}, (6, 5, 5)),
        ("snconvtranspose", {"kernel": (3, 2), "width": 4, "groups": 2}, (6, 5, 5)),
        ("snlinear", {"width": 7}, (5,)),
    ],
)
def test_operations_are_those_that_torch_runs(
    word: str, arguments: dict[str, Any], shape: Shape, training: bool
) -> None:
    from tests import handmade

    found = kind(word)
    assert found is not None
    layer = found(**arguments, bias=False)
    output = layer.shape(shape)
    module = handmade.module(layer.torch((shape,), output))
    assert module is not None
    with Counted() as counted, torch.no_grad():
        module.train(training)(torch.randn(1, *shape))
    assert layer.operations((shape,), output, training).per_batch == counted.total


def test_the_figures_of_a_network_are_those_of_torch() -> None:
    network = archdsl.loads(net(*BODY))
    facts = archdsl.analyze(network)
    theirs = Critic()
    assert facts.params == sum(p.numel() for p in theirs.parameters())
    assert facts.buffers == sum(b.numel() for b in theirs.buffers())
    # 4x8x8 outputs of 3x3x3 products, 6x4x4 of 4x4x4; 6x4x4 inputs to 2x4x4; 256x2.
    assert facts.macs == 256 * 27 + 96 * 64 + 96 * 32 + 512
    assert facts.depth == 4
    assert not agree(network).differences


def test_the_norms_of_gradients_are_those_of_its_weight() -> None:
    network = archdsl.loads(net(*BODY))
    found = gradient_norms(network, batch=4)
    assert [one.step.path for one in found.layers] == ["conv1", "conv2", "up", "fc"]
    torch.manual_seed(0)
    weights = [p for n, p in Critic().named_parameters() if n.endswith("original")]
    for one, weight in zip(found.layers, weights, strict=True):
        assert one.weight_norm == pytest.approx(float(weight.detach().norm()), rel=0.5)


# ---- refusals ----------------------------------------------------------


def test_a_part_with_it_is_not_run_again() -> None:
    block = "block unit<width, norm: kind> { norm 3x3 width -> relu }"
    text = net("a: unit<4, norm = conv>", "b: unit<4, norm = snconv>", before=block)
    graph = flatten(archdsl.loads(text))
    assert [part.path for part in parts(graph, True)] == ["a"]
    with pytest.raises(ValueError, match="`b` is not a block that can be recomputed"):
        parts(graph, ["b"])


@pytest.mark.parametrize("training", [False, True])
def test_it_can_be_copied_traced_and_exported(training: bool) -> None:
    module = archdsl.build(archdsl.loads(net(*BODY))).train(training)
    x = images()
    with torch.no_grad():
        expected = deepcopy(module)(x)
        traced = torch.fx.symbolic_trace(deepcopy(module))
        torch.testing.assert_close(traced(x), expected)
        exported = torch.export.export(deepcopy(module), (x,)).module()
        torch.testing.assert_close(exported(x), expected)


def test_torch_neither_scripts_nor_pickles_it() -> None:
    module = archdsl.build(archdsl.loads(net(*BODY)))
    with pytest.raises(NotSupportedError):
        torch.jit.script(module)
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(module)


def test_padding_by_size_with_a_stride_is_refused() -> None:
    with pytest.raises(SpecError, match="takes no stride"):
        archdsl.loads(net("snconv 3x3 4 /2 pad=same"))


# ---- for inference ----------------------------------------------------------------


def test_for_inference_it_is_a_plain_layer() -> None:
    text = net("snconv 3x3 4 -> bn -> relu", *BODY[2:])
    network = archdsl.loads(text)
    module = archdsl.build(network).double()
    for _ in range(2):
        module(images().double())
    for transform in (BakeWeights(), pipeline(inference=True)):
        made = transform.apply(network)
        words = {step.op.word for step in made.steps()}
        assert not any(word.startswith("sn") for word in words)
        assert ("bn" in words) == isinstance(transform, BakeWeights)
        plain = archdsl.build(made).double().eval()
        plain.load_state_dict(transform.weights(network, module.state_dict()))
        x = images().double()
        torch.testing.assert_close(plain(x), module.eval()(x))


# ---- from modules and checkpoints -------------------------------------------------


def test_it_is_imported() -> None:
    found = archdsl.from_module(Critic(), "3x8x8")
    for line in BODY:
        assert line.partition(" ->")[0].replace(" 4 /2", " 4 /2") in found.text
    assert "buffers after training" in found.compared


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            nn.utils.spectral_norm,
            "`0` has spectral norm by a hook; use `spectral_norm`",
        ),
        (lambda m: spectral_norm(m, n_power_iterations=2), "norm with 2 iterations"),
        (lambda m: spectral_norm(m, eps=1e-6), "1 iterations and eps 1e-06"),
    ],
)
def test_other_forms_of_it_are_refused_in_words(wrap: Any, message: str) -> None:
    module = nn.Sequential(wrap(nn.Conv2d(3, 4, 3)), nn.ReLU())
    with pytest.raises(NotImported, match=message):
        archdsl.from_module(module, "3x8x8")


def test_checkpoints_of_the_older_hook_fit(tmp_path: Any) -> None:
    old = nn.Sequential()
    old.conv1 = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3, padding=1))
    old(images())
    torch.save(old.state_dict(), tmp_path / "old.pt")
    assert "conv1.weight_orig" in old.state_dict()
    network = archdsl.loads(net("conv1: snconv 3x3 4"))
    module = archdsl.build(network, weights=tmp_path / "old.pt")
    torch.testing.assert_close(module.eval()(images()), old.eval()(images()))


# ---- validation of emitted text ------------------------------------------

STARTED = net(
    "a: conv 3x3 4 -> b: snconv 3x3 4 -> c: snconv 3x3 4",
    "init snconv weight=normal(std = 0.02)",
    "init @c weight=0.5",
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # The weight is not divided, divided twice, or divided where it should not be.
        ("self.b = spectral_norm(nn.Conv2d(", "self.b = nn.Sequential(nn.Conv2d("),
        ("        spectral_norm(self.c)", "        pass"),
        ("spectral_norm(self.c)", "spectral_norm(self.b)"),
        ('remove_parametrizations(self.c, "weight")', "spectral_norm(self.a)"),
        # The initialised tensor is a temporary one.
        (' and is_parametrized(module):\n                remove_parametrizations('
         'module, "weight")', ":"),
        ("and is_parametrized(module)", "and not is_parametrized(module)"),
        ("std=0.02", "std=0.03"),
    ],
)  # fmt: skip
def test_other_modules_are_refused(old: str, new: str) -> None:
    network = archdsl.loads(STARTED)
    text = archdsl.emit(network)
    assert text.count(old) == 1, text
    wrong = text.replace(old, new)
    with pytest.raises(Miscompiled):
        validate(parse_module(wrong), network)
