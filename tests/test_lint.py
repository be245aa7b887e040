"""Advice: what each rule finds, whether its figures are right, and what edits do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import archdsl
from archdsl.api import elaborate_module
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.linter.check import Advice, Report, lint
from archdsl.linter.fix import FixedSpec, fix_spec
from archdsl.linter.net import Net
from archdsl.linter.rule import ABOUT_ALLOWS, Rule, all_rules
from archdsl.linter.rules.downsampling import by_size
from archdsl.linter.rules.dropped_pixels import read_along
from archdsl.linter.rules.overwritten_activation import keeps_apart, overwritten
from archdsl.passes.alignment import alignment
from archdsl.resources import shipped_specs, specs_dir, templates
from archdsl.source import Source
from archdsl.syntax import tree
from archdsl.syntax.format import format_source
from archdsl.syntax.loader import LoadedFile, load_file, load_text
from archdsl.torch import functions
from archdsl.torch.inplace import inplace
from archdsl.variants import variants
from tests.conftest import ROOT
from tests.handmade import Interpreted, Sketch, example
from tests.strategies import sketches
from tests.timing import at_most

CASES = ROOT / "tests" / "lint"
RULES = all_rules()
SHIPPED = [*shipped_specs().values(), *templates().values()]
LIBRARIES = sorted(specs_dir().glob("std/*.arch"))


def networks(module: LoadedFile) -> list[Network]:
    """Return all networks of a spec."""
    names = variants(module)
    return [elaborate_module(module, preset=name, symbolic=False) for name in names]


def report(spec: LoadedFile | str, *codes: str) -> Report:
    """Return the report about a spec, by some rules or by all."""
    module = load_text(spec, "spec.arch") if isinstance(spec, str) else spec
    return lint(module.file, networks(module), codes=codes or None)


def advice(spec: LoadedFile | str, *codes: str) -> tuple[Advice, ...]:
    return report(spec, *codes).advice


def codes(spec: LoadedFile | str) -> list[str]:
    return [each.code for each in advice(spec)]


def only(spec: LoadedFile | str, code: str) -> Advice:
    """Return the only finding of a rule."""
    (found,) = advice(spec, code)
    return found


def fixed(spec: str, *codes: str, unsafe: bool = False) -> FixedSpec:
    return fix_spec(
        load_text(spec, "spec.arch"),
        partial(load_text, name="spec.arch"),
        networks,
        codes=codes or None,
        unsafe=unsafe,
    )


def net(*statements: str, size: str = "3x16x16") -> str:
    """Return a spec of one network."""
    body = "".join(f"    {line}\n" for line in statements)
    return f"arch 1\n\nnetwork Net {{\n    input {size}\n{body}}}\n"


def built(text: str) -> nn.Module:
    """Return the compiled network of a spec, with the same weights in every run."""
    torch.manual_seed(0)
    return archdsl.build(archdsl.loads(text), allow_foreign=True)


def params(text: str) -> int:
    """Return the weights of a compiled network, counted by torch."""
    return sum(each.numel() for each in built(text).parameters())


def macs(text: str) -> int:
    """Return the multiply-accumulates of a compiled network, seen as it runs."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output[0].numel() * module.weight[0].numel()

    network = archdsl.loads(text)
    module = built(text).eval()
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(count)
    module(*(torch.zeros(1, *port.shape) for port in network.inputs))
    return total


# ---- all rules -------------------------------------------------------------------


def cases() -> list[Path]:
    return sorted(CASES.iterdir())


def test_every_rule_has_a_case() -> None:
    assert [path.name for path in cases()] == sorted([*ABOUT_ALLOWS, *RULES])


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_rule_declares_itself(rule: type[Rule]) -> None:
    assert re.fullmatch(r"W01\d\d", rule.code)
    assert rule.__module__.endswith("." + rule.name.replace("-", "_"))
    assert "\n\nSource: " in rule.text()
    assert rule.page().startswith(f"{rule.code} ({rule.name}): {rule.title}\n\n")
    for spec in (rule.bad, rule.good):
        assert format_source(Source("", spec.replace("; ", "\n    "))) is not None


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_rule_finds_its_example_and_nothing_in_the_better_one(
    rule: type[Rule],
) -> None:
    assert rule.code in codes(rule.bad)
    assert codes(rule.good) == []


def test_names_and_codes_are_unique() -> None:
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
    assert list(RULES) == sorted(RULES)


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.name)
def test_case(case: Path, golden: Callable[[Path, str], None]) -> None:
    bad, good = (load_file(case / f"{name}.arch") for name in ("bad", "good"))
    bad.file.source.name = "bad.arch"
    found = advice(bad, case.name)
    assert found
    assert all(each.code == case.name for each in found)
    assert advice(good) == ()

    text = (case / "bad.arch").read_text("utf-8")
    edited = fixed(text, case.name, unsafe=True)
    assert not fixed(edited.text, case.name, unsafe=True).done
    if any(each.fix for each in found):
        assert edited.done
        golden(case / "fixed.arch", edited.text)
    else:
        assert not (case / "fixed.arch").exists()
    shown = "\n\n".join(each.diagnostic().render() for each in found)
    golden(case / "bad.txt", f"{shown}\n")


@pytest.mark.parametrize("path", [*SHIPPED, *LIBRARIES], ids=lambda path: path.stem)
def test_shipped_specs_are_clean(path: Path) -> None:
    module = load_file(path)
    if path in LIBRARIES:
        assert "lint:" not in module.file.source.text
        return
    assert [each.diagnostic().render() for each in advice(module)] == []


def test_a_layer_of_a_library_is_found_at_its_call() -> None:
    found = only(net("residual<20>", "conv 1x1 4"), "W0107")
    assert found.span.text == "residual<20>"
    parts = ("conv1", "conv2", "downsample.0")
    assert found.layers == tuple(f"residual1.{part}" for part in parts)
    assert found.fix is None
    assert found.notes[0] == (
        "it is residual1.conv2, conv 3x3, line 7 of std/prelude.arch"
    )


def test_a_place_is_told_once_for_all_layers_and_networks() -> None:
    text = net("unit<width>", "unit<2 * width>").replace(
        "network Net {",
        "block unit<width> {\n    conv 3x3 width bias=true -> bn\n}\n\n"
        "network Net<width> {",
    )
    text += "\npreset small = Net<8>\npreset large = Net<16>\n"
    found = only(text, "W0103")
    assert found.layers == ("unit1.conv1", "unit2.conv1")
    assert found.networks == ("small", "large")
    assert found.saving.params == 8 + 16
    assert found.as_dict()["saves"] == {"params": 24, "macs": 0, "bytes": 0}


def test_shared_weights_are_saved_once() -> None:
    text = net("a: conv 3x3 8 bias=true -> bn", "same a -> bn", size="8x16x16")
    assert only(text, "W0103").saving.params == 8
    assert fixed(text).text == text.replace(" bias=true", "")
    # The second use needs the bias.
    assert advice(text.replace("same a -> bn", "same a -> relu"), "W0103") == ()
    wide = net("conv 1x1 16", "a: conv 7x7 16 -> relu", "same a -> relu")
    found = only(wide, "W0101")
    assert found.saving.params == (49 - 27) * 16 * 16 - 2 * 16
    assert found.saving.macs == 2 * (49 - 27) * 16 * 16 * 16 * 16


def test_an_edit_has_to_be_right_for_all_layers_of_its_place() -> None:
    text = (
        "arch 1\n\nblock unit {\n    conv 3x3 8\n}\n\n"
        "network Net {\n    input 3x16x16\n    unit -> bn -> relu\n    unit\n}\n"
    )
    found = only(text, "W0103")
    assert found.layers == ("unit1.conv1",)
    assert found.fix is None


# ---- W0101 to W0102 and W0108: cheaper networks ------------------------------------


@pytest.mark.parametrize(
    ("code", "statements"),
    [
        ("W0101", ("conv 5x5 16 -> relu",)),
        ("W0101", ("conv 7x7 /2 -> relu",)),
        ("W0101", ("conv 9x9 16 bias=false -> relu",)),
        ("W0101", ("conv 7x7 20 -> bn -> relu",)),
        ("W0101", ("conv 11x11 16 /4 -> relu",)),
        ("W0101", ("conv 7x7 20 bias=true -> bn -> relu",)),
        ("W0101", ("{ conv 7x7 20 } -> bn -> relu",)),
        ("W0102", ("conv 1x1 256 -> relu -> conv 3x3 256 -> relu -> conv 3x3 256",)),
        ("W0102", ("conv 3x3 256 -> relu -> conv 3x3 512 /2 -> bn -> relu",)),
        ("W0102", ("conv 3x3 256 -> bn -> relu", "{ conv 3x3 256 } -> bn -> relu")),
        ("W0108", ("maxpool 2x2 -> flatten -> linear 32 -> relu -> linear 4",)),
        ("W0108", ("flatten -> dropout 0.5 -> linear 512",)),
        ("W0108", ("flatten -> bn -> relu -> linear 64",)),
        ("W0108", ("flatten -> layernorm -> linear 64 bias=false",)),
    ],
)
def test_savings_are_those_of_the_fixed_network(
    code: str, statements: tuple[str, ...]
) -> None:
    text = net("conv 3x3 16 -> relu", *statements)
    found = advice(text, code)
    edited = fixed(text, code, unsafe=True)
    assert edited.done
    assert not edited.refused
    saved = params(text) - params(edited.text), macs(text) - macs(edited.text)
    assert sum(each.saving.params for each in found) == saved[0]
    assert sum(each.saving.macs for each in found) == saved[1]


@pytest.mark.parametrize(
    "statement",
    ["conv 5x5 16", "conv 7x7 32 /2", "conv 5x5 16 pad=0", "conv 11x11 16 /4"],
)
def test_stacks_see_what_the_kernel_saw(statement: str) -> None:
    text = net("conv 1x1 16", statement, size="3x33x33")
    edited = fixed(text, "W0101", unsafe=True).text
    if "pad=0" in statement:  # only its figures have texts
        assert edited == text
        assert advice(text, "W0101")
        return
    fields = [
        archdsl.analyze(archdsl.loads(each)).receptive_field for each in (text, edited)
    ]
    assert fields[0] == fields[1]


@pytest.mark.parametrize(
    "statement",
    [
        "conv 3x3 16",
        "conv 4x4 16",
        "conv 1x7 16",
        "conv 5x5 16 /2",
        "conv 7x7 16 groups=16",
        "conv 5x5 16 dilation=2",
        "conv 5x5 16 pad=1",
        "conv 5x5 64",
    ],
)
def test_kernels_that_no_stack_replaces(statement: str) -> None:
    assert advice(net("conv 1x1 16", statement), "W0101") == ()


def test_a_small_part_of_a_network_is_not_worth_it() -> None:
    expensive = ("conv 3x3 256 -> relu",) * 3
    part = ("conv 1x1 8 -> relu -> conv 5x5 8 -> relu",)
    assert advice(net(*part), "W0101")
    assert advice(net(*part, *expensive), "W0101") == ()


def test_figures_of_vgg_and_alexnet() -> None:
    """By hand: 4096 outputs of 49 x 512 features, of which 48 x 512 can go."""
    vgg = Net(archdsl.load("vgg16"), load_file(shipped_specs()["vgg"]).file)
    (found,) = RULES["W0108"]().check(vgg)
    assert found.saving.params == 48 * 512 * 4096 == 100_663_296
    heavy = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert f"{100 * heavy / 138_357_544:.0f} %" in found.message
    # Simonyan & Zisserman 2014, section 2.3: 27 C^2 against 49 C^2, 81 % more.
    found = next(iter(RULES["W0101"]().check(Net(*_kernels(7)))))
    assert found.saving.params == (49 - 27) * 64 * 64 - 2 * 64
    assert round(100 * 49 / 27 - 100) == 81


def _kernels(k: int) -> tuple[Network, archdsl.syntax.tree.File]:  # type: ignore[name-defined]
    module = load_text(net("conv 1x1 64", f"conv {k}x{k} 64"))
    return networks(module)[0], module.file


# ---- W0103: biases that norms cancel ----------------------------------------------


def test_without_the_bias_the_network_computes_the_same() -> None:
    text = (CASES / "W0103" / "bad.arch").read_text("utf-8")
    edited = fixed(text, "W0103")
    assert not edited.refused
    assert not advice(edited.text, "W0103")
    old, new = built(text), built(edited.text)
    state = old.state_dict()
    missing = state.keys() - new.state_dict().keys()
    assert missing
    assert all(key.endswith(".bias") for key in missing)
    new.load_state_dict({key: state[key] for key in state if key not in missing})
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(new(x), old(x), rtol=1e-3, atol=1e-4)
    # In inference, the bias has to be subtracted from the running mean.
    for key in missing:
        owner = old.get_submodule(key.removesuffix(".bias"))
        for name in _norms_behind(archdsl.loads(text), key.removesuffix(".bias")):
            mean = new.get_submodule(name).running_mean
            before = old.get_submodule(name).running_mean
            assert isinstance(mean, Tensor)
            assert isinstance(before, Tensor)
            assert isinstance(owner.bias, Tensor)
            mean.copy_((before - owner.bias).detach())
    torch.testing.assert_close(new.eval()(x), old.eval()(x), rtol=1e-3, atol=1e-4)


def _norms_behind(network: Network, path: str) -> list[str]:
    (maker,) = (step for step in network.steps() if step.path == path)
    return [step.path for step in network.steps() if maker.output in step.inputs]


def test_a_bias_is_kept_where_more_than_norms_reads_it() -> None:
    assert advice(net("a: conv 3x3 8", "add { bn | @a }"), "W0103") == ()
    assert advice(net("a: conv 3x3 8", "output @a", "bn"), "W0103") == ()
    assert advice(net("conv 3x3 8 -> relu -> bn"), "W0103") == ()


def test_an_expression_decides_about_a_bias() -> None:
    text = net("conv 3x3 8 bias=said -> bn").replace("Net {", "Net<said = true> {")
    assert only(text, "W0103").fix is None


# ---- W0104 ----------------------------------------------------------------------


@pytest.mark.parametrize(("count", "found"), [(19, 0), (20, 1)])
def test_stacks_of_more_than_twenty(count: int, found: int) -> None:
    text = net("conv 3x3 8 -> relu", f"conv 3x3 8 -> relu  x{count}")
    assert len(advice(text, "W0104")) == found


def test_what_ends_a_stack() -> None:
    half = "conv 3x3 8 -> relu  x12"
    for between in (
        "residual { relu }",
        "mid: conv 3x3 8\nadd { @mid | relu }",
        "training output globalavgpool -> linear 4",
        "concat { relu | conv 1x1 8 }",
    ):
        assert advice(net(half, *between.split("\n"), half), "W0104") == ()
    assert only(net(half, "maxpool 2x2", half), "W0104").message.startswith("24 layers")


def test_the_plain_net_of_the_paper_and_the_residual_one() -> None:
    """He et al. 2015, section 4.2: 6 n + 2 layers, n = 9."""
    module = load_file(shipped_specs()["tutorial/depth"])
    found = {
        name: list(RULES["W0104"]().check(Net(network, module.file)))
        for name, network in zip(variants(module), networks(module), strict=True)
    }
    assert [name for name, each in found.items() if each] == ["plain56"]
    assert found["plain56"][0].message.startswith("56 layers ")


# ---- W0105: positions without a gradient --------------------------------------------


@given(
    size=st.integers(1, 24),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 5),
    pad=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_what_windows_read_has_a_gradient(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    reach = dilation * (kernel - 1) + 1
    if size + 2 * pad < reach:
        return
    x = torch.zeros(1, 1, size, requires_grad=True)
    weight = torch.ones(1, 1, kernel)
    y = functional.conv1d(x, weight, None, stride, pad, dilation)
    y.sum().backward()
    assert x.grad is not None
    expected = (x.grad[0, 0] > 0).tolist()
    assert read_along(size, y.shape[-1], kernel, stride, pad, dilation) == expected


@pytest.mark.parametrize(
    "statements",
    [
        ("conv 1x1 4 /2",),
        ("bn -> relu -> conv 1x1 4 /3",),
        ("maxpool 2x2",),
        ("concat { conv 1x1 4 /4 -> relu | avgpool 3x2 /4 }",),
        ("conv 3x3 4 /2 pad=0",),
    ],
)
@pytest.mark.parametrize("size", [7, 8, 11])
def test_lost_positions_have_no_gradient(
    statements: tuple[str, ...], size: int
) -> None:
    text = net("first: conv 1x1 4", *statements, size=f"3x{size}x{size}")
    module = built(text.replace("maxpool", "avgpool"))
    made: list[Tensor] = []
    module.get_submodule("first").register_forward_hook(
        lambda m, i, output: made.append(output) or output.retain_grad()
    )
    # Squared, since the outputs of a norm sum to zero.
    (module.eval()(torch.randn(1, 3, size, size)) ** 2).sum().backward()
    grad = made[0].grad
    assert grad is not None
    lost = int((grad[0].abs().sum(0) == 0).sum())
    found = advice(text, "W0105")
    if lost < 0.05 * size * size:
        assert found == ()
    else:
        assert re.search(rf"^{lost} of {size * size}:", found[0].label)
        assert found[0].saving.macs == 12 * lost


def test_a_shortcut_that_skips_positions_loses_none() -> None:
    body = "conv 3x3 8 /2 -> bn"
    assert advice(net("conv 3x3 8", f"residual {{ {body} }}"), "W0105") == ()
    assert advice(net("conv 3x3 8", "conv 1x1 8 /2 -> bn"), "W0105")


def test_the_stride_on_the_first_1x1_drops_three_quarters() -> None:
    """He et al. 2015 put it there; He et al. 2018, figure 2b, show what it costs."""
    strided = "residual { conv 1x1 4 /2 -> relu -> conv 3x3 4 -> relu -> conv 1x1 16 }"
    found = only(net("conv 3x3 8 -> relu", strided), "W0105")
    assert found.message.startswith("no layer reads 75 % of the 16x16 positions ")
    later = "residual { conv 1x1 4 -> relu -> conv 3x3 4 /2 -> relu -> conv 1x1 16 }"
    assert advice(net("conv 3x3 8 -> relu", later), "W0105") == ()


# ---- W0106 and W0112 -----------------------------------------------------------------


def test_the_field_before_the_pool() -> None:
    # 3, then 3 + 2 at a stride of 2, then 5 + 4, as in Araujo et al. 2019.
    text = net("conv 3x3 4 /2", "conv 3x3 4", "conv 1x1 4", "globalavgpool", "linear 2")
    found = only(text, "W0106")
    assert "see 7x7 of the input's 16x16 positions" in found.message
    assert found.label.startswith("19 % of the input")  # 49 of 256
    # (16 - 7) / (2 * 2) more convolutions, rounded up.
    assert found.help is not None
    assert found.help.startswith("3 more 3x3 convolutions")
    more = text.replace("conv 1x1 4", "conv 3x3 4 -> conv 3x3 4 -> conv 3x3 4")
    field = archdsl.analyze(archdsl.loads(more)).receptive_field
    assert field is not None
    assert min(field.size) >= 16
    assert advice(more, "W0106") == ()


@pytest.mark.parametrize(
    ("layers", "size", "found"),
    [
        (7, "3x16x16", True),
        (7, "3x15x15", False),
        (8, "3x16x16", False),
        (7, "3x15x16", True),
        (7, "3x16x15", True),
    ],
)
def test_a_field_smaller_than_the_input_along_an_axis(
    layers: int, size: str, found: bool
) -> None:
    # Fields of 15 and of 17.
    text = net(f"conv 3x3 4  x{layers}", "globalavgpool", "linear 2", size=size)
    assert bool(advice(text, "W0106")) == found
    if found:
        assert f"see 15x15 of the input's {size[2:]} positions" in (
            only(text, "W0106").message
        )


def test_convolutions_that_are_lacking_are_those_of_each_axis() -> None:
    # 5x7 of 16x15, at jumps of 1 and 4: 11 / 2 and 8 / 8 convolutions, rounded up.
    text = net(
        "conv 3x1 4 -> conv 1x3 4 /1x2 -> conv 3x1 4 -> conv 1x3 4 /1x2",
        "globalavgpool",
        "linear 2",
        size="3x16x15",
    )
    found = only(text, "W0106")
    assert "see 5x7 of the input's 16x15 positions" in found.message
    assert found.help == (
        "6 more 3x3 convolutions before it would cover the input, or fewer with "
        "another stride"
    )
    rim = net("conv 3x3 4  x7", "globalavgpool", "linear 2")
    help = "1 more 3x3 convolution before it would cover the input"
    assert only(rim, "W0106").help == help


def test_the_published_networks_whose_units_see_less_than_the_image() -> None:
    """By hand for SqueezeNet 1.1: fields are 7, 31 and 79 at pools, 207 at the end."""
    seen = {}
    for spec in ("squeezenet", "nin", "alexnet", "resnet", "vgg"):
        module = load_file(shipped_specs()[spec])
        for network in networks(module):
            for found in RULES["W0106"]().check(Net(network, module.file)):
                seen[network.name] = found.message.split(" see ")[1].split(" of ")[0]
    assert seen == {
        "squeezenet1_0": "155x155",
        "squeezenet1_1": "207x207",
        "nin": "195x195",
    }


def test_a_pool_beside_a_convolution_looks_between_pixels() -> None:
    # Unit 0 of the convolution looks at pixel 0, that of the pool between 0 and 1.
    found = only(net("concat { conv 3x3 4 /2 | maxpool 2x2 }"), "W0115")
    assert found.message == (
        "concat1 joins maps whose units are 0.5 positions of the input apart"
    )
    assert (
        "conv1 is centred on row 0, column 0, that of maxpool1 on row 0.5"
        in found.label
    )
    assert found.help == (
        "an odd kernel keeps the centre: 3 with a padding of 1 in maxpool1"
    )
    assert advice(net("concat { conv 3x3 4 /2 | conv 1x1 4 /2 }"), "W0115") == ()


def test_how_far_apart_units_look_along_each_axis() -> None:
    text = net("concat { conv 3x3 4 | zeropad left=2 -> conv 1x3 4 pad=0 }")
    found = only(text, "W0115")
    assert "units are 0x1 positions of the input apart" in found.message
    assert found.notes[0] == (
        "the units of one branch are shifted by -1 column: zeropad1 -2, conv2 1"
    )
    alike = net("concat { conv 3x3 4 | zeropad left=1 right=1 -> conv 1x3 4 pad=0 }")
    assert advice(alike, "W0115") == ()


def test_units_that_drift_apart_are_told_where_they_are_furthest() -> None:
    # With aligned corners, 16 units span 0 to 14, as 8 of them did.
    enlarged = "upsample 2x2 mode=bilinear align=true"
    text = net("a: conv 3x3 4", "conv 3x3 4 /2", f"add {{ {enlarged} | @a }}")
    found = only(text, "W0115")
    assert "units are 1 position of the input apart" in found.message
    assert found.label == (
        "the last unit of upsample1 is centred on row 14, column 14, that of a on "
        "row 15, column 15"
    )
    assert found.notes == ()
    assert found.help == (
        "use the same downsampling and upsampling steps in all branches"
    )


@pytest.mark.parametrize(
    ("size", "down", "up", "help"),
    [
        # 16 of 19 rows are left; the middle 16 would begin at 1.
        (19, "maxpool 2x2 -> maxpool 2x2", "upsample 4x4", "nothing needs to be"),
        (16, "conv 3x3 4 /2", "upsample 2x2", "upsample1 matches 2x2 pools; "),
        (16, "conv 3x3 4 pad=0 -> zeropad right=2 bottom=2", "relu", "in conv1, a pad"),
        (16, "maxpool 2x2", "upsample 2x2", None),
        (18, "conv 3x3 4 pad=2 -> conv 2x2 4 pad=0", "conv 2x2 4 pad=0", None),
        (17, "conv 3x3 4 /2", "upsample size=17 mode=bilinear align=true", None),
        (16, "conv 3x3 4 /2", "convtranspose 3x3 4 /2 pad=1 out_pad=1", None),
    ],
)
def test_what_is_to_be_fixed(size: int, down: str, up: str, help: str | None) -> None:
    join = "concat { crop { @a | } | }"
    text = net("a: conv 3x3 4", f"{down} -> {up}", join, size=f"3x{size}x{size}")
    if help is None:
        assert advice(text, "W0115") == ()
    else:
        assert (only(text, "W0115").help or "").startswith(help)


def test_a_join_is_not_blamed_for_those_before_it() -> None:
    apart = "concat { conv 3x3 4 /2 | maxpool 2x2 }"
    (found,) = advice(net(apart, "residual { conv 3x3 8 }  x3"), "W0115")
    assert found.message.startswith("concat1 ")
    # The second one halves a map whose units are two positions apart.
    first, second = advice(net(apart, apart), "W0115")
    assert "concat1 joins maps whose units are 0.5 positions" in first.message
    assert "concat2 joins maps whose units are 1 position of" in second.message


def test_the_published_networks_whose_branches_are_misaligned() -> None:
    """The merges where misalignment begins, and all later ones."""
    seen = {}
    for path in shipped_specs().values():
        for network in networks(module := load_file(path)):
            one = Net(network, module.file)
            if joins := alignment(one.graph, one.fields):
                found = list(RULES["W0115"]().check(one))
                offset = max(max(join.offset) for join in joins.values())
                seen[network.name] = len(found), len(joins), offset
    assert seen == {
        "dla34": (4, 7, 8),
        "resnet18_fpn": (3, 3, 14),
        "hrnet_w18": (13, 23, 14),
        "unet_padded": (2, 3, 6),
    }


def test_shares_of_the_sizes_are_those_of_the_paper() -> None:
    """Simonyan & Zisserman 2014, table 1, D: 9 x in x out at each position."""
    network = archdsl.load("vgg16")
    module = load_file(shipped_specs()["vgg"])
    nodes = list(Net(network, module.file).graph.nodes)
    expected = {
        (224, 224): 224**2 * 9 * (3 * 64 + 64 * 64),
        (112, 112): 112**2 * 9 * (64 * 128 + 128 * 128),
        (56, 56): 56**2 * 9 * (128 * 256 + 2 * 256 * 256),
        (28, 28): 28**2 * 9 * (256 * 512 + 2 * 512 * 512),
        (14, 14): 14**2 * 9 * 3 * 512 * 512,
    }
    spent = by_size(nodes)
    assert {size: n for size, n in spent.items() if n and size} == expected
    late = expected[224, 224] + expected[112, 112]
    # The page of the rule says so. ResNet-50 has its first convolution there.
    page = " ".join(RULES["W0112"].text().split())
    resnet = 112**2 * 49 * 3 * 64 / 4_089_184_256
    assert f"VGG-16 spends {late / sum(spent.values()):.0%}".replace("%", " %") in page
    assert f"ResNet-50 {resnet:.0%}".replace("%", " %") in page


# ---- W0107 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "padded"), [((20, 12), (24, 16)), ((8, 9), (8, 16)), ((16, 24), None)]
)
def test_padding_costs_what_the_padded_network_does(
    widths: tuple[int, int], padded: tuple[int, int] | None
) -> None:
    def text(pair: tuple[int, int]) -> str:
        first, second = pair
        return net(
            f"conv 3x3 {first} -> relu -> conv 3x3 {second} -> relu", "conv 1x1 10"
        )

    found = advice(text(widths), "W0107")
    if padded is None:
        assert found == ()
        return
    extra = macs(text(padded)) - macs(text(widths))
    small = sum(each.saving.macs for each in found)
    # Shares below 1 % are not reported.
    assert 0 <= extra - small <= 0.02 * macs(text(widths))
    assert fixed(text(widths), "W0107", unsafe=True).text == text(padded)


def test_channels_of_image_and_classes_are_given() -> None:
    assert advice(net("conv 3x3 16 -> relu", "conv 1x1 10 -> softmax"), "W0107") == ()


# ---- W0109 to W0111: faults in training ---------------------------------------------


def test_dead_weights_get_no_gradient() -> None:
    text = (CASES / "W0109" / "bad.arch").read_text("utf-8")
    found = advice(text, "W0109")
    module = built(text).train()
    (module(torch.randn(2, 3, 16, 16)) ** 2).sum().backward()
    dead = sum(
        each.numel()
        for each in module.parameters()
        if each.grad is None or not each.grad.abs().sum()
    )
    assert sum(each.saving.params for each in found) == dead > 0
    assert advice((CASES / "W0109" / "good.arch").read_text("utf-8"), "W0109") == ()


def test_what_reaches_an_output_by_another_way_is_alive() -> None:
    text = net("a: conv 3x3 8", "add { scale 0 | @a }")
    assert only(text, "W0109").saving.params == 0
    text = net("a: conv 3x3 8", "add { conv 3x3 8 -> scale 0 | @a }")
    assert only(text, "W0109").saving.params == 9 * 8 * 8 + 8


@pytest.mark.parametrize("name", ["bad", "good"])
def test_overwritten_activations_fail_in_training(name: str) -> None:
    path = CASES / "W0110" / f"{name}.arch"
    module = archdsl.build(archdsl.load(path), allow_foreign=True).train()
    loss = module(torch.randn(2, 3, 16, 16)).sum()
    if name == "good":
        loss.backward()
    else:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    assert bool(advice(load_file(path), "W0110")) == (name == "bad")


_UNITS = ("relu", "sigmoid", "silu", "tanh", "dropout 0.5", "bn", "conv 1x1 4", "elu")
_INPLACE = {
    "relu": torch.relu_,
    "silu": partial(functional.silu, inplace=True),
    "elu": partial(functional.elu, inplace=True),
    "dropout": partial(functional.dropout, p=0.5, training=True, inplace=True),
}
_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": functional.silu,
    "elu": functional.elu,
    "dropout": functional.dropout,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "bn": lambda x: functional.batch_norm(x, None, None, training=True),
    "conv": lambda x: functional.conv2d(x, torch.ones(4, 4, 1, 1, requires_grad=True)),
}


@given(
    st.lists(st.tuples(st.sampled_from(_UNITS), st.booleans()), min_size=1, max_size=5)
)
@settings(max_examples=40, deadline=None)
def test_plans_that_fail_in_training_are_found(chain: list[tuple[str, bool]]) -> None:
    """Any plan of in-place operations, right or wrong, checked against autograd."""
    graph = flatten(archdsl.loads(net("conv 1x1 4", " -> ".join(w for w, _ in chain))))
    nodes = graph.nodes
    words = [word.split()[0] for word, _ in chain]
    flags = [
        flag and word in _INPLACE for word, (_, flag) in zip(words, chain, strict=True)
    ]
    writers = {node.output for node, flag in zip(nodes[1:], flags, strict=True) if flag}
    x = _PLAIN["conv"](torch.randn(2, 4, 3, 3))
    try:
        for word, flag in zip(words, flags, strict=True):
            x = (_INPLACE if flag else _PLAIN)[word](x)
        x.sum().backward()
        fails = False
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        fails = True
    found = bool(list(overwritten(nodes, writers)))
    assert found == fails
    assert not list(overwritten(nodes, set(inplace(graph))))


def _with_inplace() -> list[str]:
    """Return torch's classes with an argument `inplace`."""
    classes = {n: c for n, c in vars(torch.nn).items() if isinstance(c, type)}
    return sorted(
        name
        for name, found in classes.items()
        if "inplace" in inspect.signature(found).parameters
    )


def test_every_class_that_can_run_in_place_is_known() -> None:
    known = functions.entries()
    modules = [e for e in known.values() if isinstance(e, functions.Module)]
    able = {e.name.removeprefix("nn.") for e in modules if "inplace" in e.parameters}
    assert able == {re.sub(r"\dd$", "", name) for name in _with_inplace()}


@pytest.mark.parametrize("name", sorted({*_with_inplace()} - {"AlphaDropout"}))
def test_what_a_class_keeps_in_the_memory_that_it_overwrites(name: str) -> None:
    arguments = {"Threshold": (0.0, 0.0)}.get(name, ())
    shape = {"Dropout1d": (2, 4, 3), "Dropout3d": (2, 4, 3, 3, 3)}.get(
        name, (2, 4, 3, 3)
    )
    read = 1 * torch.randn(shape, requires_grad=True)
    place = read.data_ptr()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        getattr(torch.nn, name)(*arguments, inplace=True)(read)
    assert keeps_apart(f"nn.{name}") is not any(x.data_ptr() == place for x in kept)


def test_the_compilers_plan_overwrites_nothing_in_any_shipped_network() -> None:
    for name in (
        "alexnet",
        "resnet18",
        "densenet121",
        "googlenet",
        "mobilenet_v3_large",
    ):
        graph = flatten(archdsl.load(name))
        assert not list(overwritten(graph.nodes, set(inplace(graph))))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_shifts_the_variance_by_what_is_said(p: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(1_000_000)
    ratio = float(functional.dropout(x, p).var() / x.var())
    found = only(net(f"conv 3x3 4 -> dropout {p} -> conv 3x3 4 -> bn"), "W0111")
    said = re.search(r"is ([\d.]+) times", found.label)
    assert said is not None
    assert float(said[1]) == pytest.approx(ratio, rel=0.01)


# ---- W0113 and W0114: the same function -------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        (CASES / "W0113" / "bad.arch").read_text("utf-8"),
        RULES["W0113"].bad,
        net("conv 3x3 4 -> relu6 -> relu6 -> flatten -> linear 2"),
        net("conv 3x3 4", "scale 1", "maxpool 1x1 -> avgpool 1x1", "relu"),
    ],
)
def test_without_the_layers_the_network_computes_the_same(text: str) -> None:
    edited = fixed(text, "W0113")
    assert edited.done
    old, new = built(text), built(edited.text)
    assert old.state_dict().keys() == new.state_dict().keys()
    new.load_state_dict(old.state_dict())
    size = archdsl.loads(text).inputs[0].shape
    x = torch.randn(2, *size)
    for module in (old, new):
        module.train()
    assert torch.equal(old(x), new(x))


@pytest.mark.parametrize(
    ("statements", "copies"),
    [
        (("add { | }",), 1),
        (("concat { | | }",), 2),
        (("difference { relu | relu }",), 1),
        (("concat { relu -> tanh | relu -> tanh | relu }",), 1),
        (("a: relu", "concat { @a | }"), 1),
        (("mul { | }",), 0),
        (("add { relu | tanh }",), 0),
        (("add { dropout | dropout }",), 0),
        (("concat { conv 1x1 4 | conv 1x1 4 }",), 0),
    ],
)
def test_copies(statements: tuple[str, ...], copies: int) -> None:
    text = net("first: conv 3x3 4", *statements)
    found = advice(text, "W0114")
    assert sum(int(each.message.split()[0]) for each in found) == copies
    if "concat" in text and copies:
        out = built(text).eval()(torch.randn(1, 3, 16, 16))[0]
        assert len(torch.unique(out.flatten(1), dim=0)) == len(out) - 4 * copies
        assert f"{4 * copies} channels" in found[0].label


# ---- networks of any kind ---------------------------------------------------------

_NO_FILE = tree.File(Source("", ""), [])


@given(sketches(most=10))
@settings(max_examples=80, deadline=None)
def test_rules_take_any_network(sketch: Sketch) -> None:
    looked_at = Net(sketch.network(), _NO_FILE)
    for rule in RULES.values():
        for found in rule().check(looked_at):
            assert found.node in looked_at.graph.nodes
            assert found.message


@given(
    sketches(("conv", "bn", "relu", "add", "concat", "avgpool"), start=(4, 6, 6)),
    st.integers(0, 9),
)
@settings(max_examples=25, deadline=None)
def test_cancelled_biases_have_no_influence(sketch: Sketch, seed: int) -> None:
    network = sketch.network()
    torch.manual_seed(seed)
    module = Interpreted(network).double().train()
    image = example(network, batch=3)[0].double()
    with torch.no_grad():
        before = module(image)
    for found in RULES["W0103"]().check(Net(network, _NO_FILE)):
        owner = module.parts[found.node.step.path]
        assert isinstance(owner.bias, Tensor)
        owner.bias.data += 1 + torch.rand(owner.bias.shape, dtype=torch.float64)
    with torch.no_grad():
        after = module(image)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-6, atol=1e-6)


# ---- networks of any size ---------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        net("conv 1x1 8", "relu  x5000", "conv 1x1 8 /2"),
        net("conv 1x1 8", "residual { conv 1x1 8 -> scale 0 }  x500"),
        net("conv 1x1 8", "conv 1x1 8 bias=true -> bn  x1500"),
        net("conv 1x1 1 -> conv 1x1 1 /2", size="1x2000000000x1"),
        net("conv 1x1 8 -> conv 1x1 8 /3", size="3x9000x9000"),
        net("concat { relu | relu }  x12", "conv 1x1 8"),
        net("conv 1x1 8", "identity  x4000", "scale 0.5  x500", "conv 1x1 8"),
        net("conv 1x1 8", "conv 3x3 8 dilation=40 -> bn -> bn  x1000"),
        net("conv 1x1 8 -> convtranspose 7x7 8 /1000000 pad=3", size="3x9x9"),
        net("conv 900x900 1 pad=700 -> conv 900x900 1 pad=900", size="1x999x999"),
        net("conv 1x1 8", "add { zeropad left=2 -> conv 1x3 pad=0 | }  x1500"),
    ],
)
def test_large_networks_take_little_time(text: str) -> None:
    module = load_text(text)
    made = networks(module)
    with at_most(5):
        lint(module.file, made)


# ---- comments that silence -----------------------------------------------------------

BIASED = "conv 3x3 8 bias=true -> bn"


@pytest.mark.parametrize(
    "text",
    [
        net(f"{BIASED}  # lint: allow W0103 why"),
        net("# lint: allow W0103 why", BIASED),
        net("# lint: allow W0103 why", "", "# Another comment.", BIASED),
        net("# lint: allow W0103 why", f"{{ {BIASED} -> relu }}  x2"),
        net("conv 3x3 8 bias=true", "-> bn  # lint: allow W0103 why"),
        net("conv 3x3 8 bias=true  # lint: allow W0103 why", "-> bn"),
        net("a: {  # lint: allow W0103 why", BIASED, "}"),
        net("a: {", BIASED, "}  # lint: allow W0103 why"),
        net("# lint: allow W0103 why", "for i in range(2) {", BIASED, "relu", "}"),
        net("# lint: allow W0103 why", "if true {", "relu", BIASED, "}"),
        net("if false { relu } else {  # lint: allow W0103 why", BIASED, "}"),
        net("# lint: allow W0103 why", f"output {BIASED}", "relu"),
        net(BIASED).replace("network", "# lint: allow W0103 why\nnetwork"),
        net(BIASED).replace("network", "# Words.\n# lint: allow W0103 why\nnetwork"),
        net(BIASED).replace("Net {", "Net {  # lint: allow W0103 why"),
        "# lint: allow W0103 why\n" + net(BIASED),
        "# A file.\n# lint: allow W0103, W0101 why\n\n"
        + net(BIASED, "relu", "conv 7x7 8"),
        net("unit").replace(
            "network", f"# lint: allow W0103 why\nblock unit {{ {BIASED} }}\n\nnetwork"
        ),
        net("unit  # lint: allow W0103 why").replace(
            "network", f"block unit {{ {BIASED} }}\n\nnetwork"
        ),
    ],
)
def test_what_a_comment_is_about(text: str) -> None:
    assert codes(text) == []
    assert report(text).silenced == 1
    # Formatting may move the comment, but it still silences the same finding.
    assert codes(format_source(Source("", text))) == []


@pytest.mark.parametrize(
    "text",
    [
        net("# lint: allow W0103 why", "relu", BIASED),
        net("relu  # lint: allow W0103 why", BIASED),
        net(BIASED, "# lint: allow W0103 why", "relu"),
        net(BIASED, "# lint: allow W0103 why"),
        net(f"{BIASED}  # lint: allow W0101 why"),
        net("a: {", "# lint: allow W0103 why", "relu", BIASED, "}"),
    ],
)
def test_what_a_comment_is_not_about(text: str) -> None:
    assert sorted(codes(text)) == ["W0002", "W0103"]


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# lint: allow W0103", "without a reason"),
        ("# lint: allow W0103   ", "without a reason"),
        ("# lint: allow W9999 why", "no rule `W9999`"),
        ("# lint: allow W0001 why", "no rule `W0001`"),
        ("# lint: allow bias-before-norm why", "not have the form"),
        ("# lint: allow", "not have the form"),
        ("# lint: disable W0103 why", "not have the form"),
        ("# lint allow W0103 why", "not have the form"),
        ("# Lint: Allow W0103 why", "not have the form"),
        ("#lint:allow W0103 why", "not have the form"),
    ],
)
def test_comments_that_are_wrong(comment: str, words: str) -> None:
    found = advice(net(f"{BIASED}  {comment}"))
    assert [each.code for each in found] == ["W0103", "W0001"]
    assert words in found[1].message
    assert found[1].span.text == comment.rstrip()


def test_what_is_no_comment_or_not_ours() -> None:
    for comment in (
        "# linted by hand",
        "# lint free",
        "# no lint here",
        '# "lint: allow W0103"',
    ):
        assert codes(net(f"{BIASED}  {comment}")) == ["W0103"]
    text = 'arch 1\n\nop f {\n    torch = "x.lint"\n    pointwise = true\n}\n'
    assert codes(text + net("f")[8:]) == []


def test_a_stale_comment_is_dropped_with_its_line() -> None:
    text = net(
        "relu  # lint: allow W0103 once",
        "# Kept.",
        "# lint: allow W0101 once",
        "conv 1x1 4",
    )
    assert fixed(text).text == net("relu", "# Kept.", "conv 1x1 4")


def test_only_all_networks_of_a_file_make_a_comment_stale() -> None:
    module = load_text(
        net("conv 3x3 8 bias=said -> bn  # lint: allow W0103 why").replace(
            "Net {", "Net<said> {"
        )
        + "\npreset yes = Net<true>\npreset no = Net<false>\n"
    )
    assert advice(module) == ()
    (no,) = (each for each in networks(module) if each.name == "no")
    assert [a.code for a in lint(module.file, [no]).advice] == ["W0002"]
    assert lint(module.file, [no], complete=False).advice == ()
    (stale,) = lint(module.file, [no], codes={"W0002"}).advice
    assert stale.code == "W0002"
    assert lint(module.file, [no], codes={"W0103"}).advice == ()


def test_a_comment_in_a_block_that_nothing_calls_is_left() -> None:
    text = (ROOT / "tests" / "cases" / "lint_comment_in_library.arch").read_text(
        "utf-8"
    )
    for spec in (
        text,
        text + net("conv 1x1 4")[8:],
        text.replace("block", "# lint: allow W0101 as published\nblock"),
        text.replace("arch 1", "# lint: allow W0101 as published\narch 1"),
    ):
        assert codes(spec) == []
        assert fixed(spec).text == spec
    called = text + net("conv 1x1 8 -> relu", "big<8>")[8:]
    assert codes(called) == []
    assert report(called).silenced == 1
    # If a network calls the block, a comment that silences nothing is reported.
    small = called.replace("7x7", "3x3")
    assert codes(small) == ["W0002"]
    assert fixed(small).text == small.replace("  # lint: allow W0101 as published", "")


def test_a_comment_in_an_imported_block_silences_there(tmp_path: Path) -> None:
    inner = "block deep<w> {\n    conv 3x3 w bias=true -> bn\n}\n"
    unit = (
        'arch 1\n\nimport deep from "deep.arch"\n\nblock unit<w> {\n'
        "    conv 7x7 w -> relu  # lint: allow W0101 as published\n"
        "    deep<w>\n}\n"
    )
    text = net("conv 1x1 8 -> relu", "unit<8>", "relu", "conv 7x7 8").replace(
        "network", 'import unit from "unit.arch"\n\nnetwork'
    )
    (tmp_path / "deep.arch").write_text(f"arch 1\n\n{inner}", encoding="utf-8")
    (tmp_path / "unit.arch").write_text(unit, encoding="utf-8")
    (tmp_path / "net.arch").write_text(text, encoding="utf-8")

    def found() -> list[tuple[str, str]]:
        module = load_file(tmp_path / "net.arch")
        report = lint(module.file, networks(module), imported=module.files())
        return [(each.code, each.span.text) for each in report.advice]

    # It only holds for the file with the comment, not for this file or further imports.
    assert found() == [("W0103", "unit<8>"), ("W0101", "conv 7x7 8")]
    quiet = inner.replace("bn", "bn  # lint: allow W0103 as published")
    (tmp_path / "deep.arch").write_text(f"arch 1\n\n{quiet}", encoding="utf-8")
    assert found() == [("W0101", "conv 7x7 8")]
    # Wrong or stale comments in an imported file are not reported here.
    stale = unit.replace("7x7", "3x3").replace("deep<w>", "deep<w>  # lint: nonsense")
    (tmp_path / "unit.arch").write_text(stale, encoding="utf-8")
    assert found() == [("W0101", "conv 7x7 8")]


def test_rules_that_the_pages_name_are_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        named = re.findall(r"\bW\d{4}\b", page.read_text("utf-8"))
        assert set(named) <= {*ABOUT_ALLOWS, *RULES}, page


def test_the_docstring_of_a_class_has_no_such_comment() -> None:
    text = net(BIASED).replace(
        "network", "# Words above.\n# lint: allow W0103 why\n# Words below.\nnetwork"
    )
    root = archdsl.loads(text).root
    assert root.doc == "Words above.\nWords below."
    assert "lint" not in archdsl.emit(archdsl.loads(text))


# ---- edits -----------------------------------------------------------------------


def test_a_claim_goes_before_an_edit() -> None:
    text = net(BIASED, "expect params == 3 * 9 * 8 + 8 + 16")
    edited = fixed(text)
    assert edited.text == text
    assert [each.advice.code for each in edited.refused] == ["W0103"]
    assert "a claim of the spec would not hold (line 6: " in edited.refused[0].reason


def test_an_edit_that_would_be_refused_is_not_made() -> None:
    text = net("a: conv 3x3 8 bias=true -> bn", "init @a bias=0")
    edited = fixed(text)
    assert edited.text == text
    assert edited.refused[0].reason.startswith("the spec would be refused: ")


def test_one_refused_edit_does_not_keep_the_others() -> None:
    text = net("a: conv 3x3 8 bias=true -> bn", BIASED, "init @a bias=0")
    edited = fixed(text)
    assert edited.text == text.replace(
        "conv 3x3 8 bias=true -> bn\n    init", "conv 3x3 8 -> bn\n    init"
    )
    assert len(edited.done) == len(edited.refused) == 1


def test_many_refused_edits_take_few_tries() -> None:
    lines = [f"a{i}: conv 1x1 8 bias=true -> bn" for i in range(100)]
    text = net(*lines, "init @a7 bias=0", "init @a61 bias=0")
    tries = 0

    def load(text: str) -> LoadedFile:
        nonlocal tries
        tries += 1
        return load_text(text)

    edited = fix_spec(load_text(text), load, networks)
    assert len(edited.done) == 98
    assert [each.advice.layers for each in edited.refused] == [("a61",), ("a7",)]
    assert edited.text.count("bias=true") == 2
    assert tries < 40


def test_safe_edits_keep_numbers_and_outputs() -> None:
    kept = net("seq { identity; conv 3x3 8 }", "relu")
    assert fixed(kept).text == kept
    moved = net("seq { conv 3x3 8; identity }", "relu")
    assert fixed(moved).text == net("seq { conv 3x3 8 }", "relu")
    ceil = net("conv 3x3 8 -> maxpool 2x2", size="3x7x7")
    assert fixed(ceil, unsafe=True).refused[0].reason == (
        "the output of Net would have another shape"
    )


def test_unsafe_edits_are_not_made_without_asking() -> None:
    text = RULES["W0101"].bad
    assert fixed(text).text == text
    assert fixed(text, unsafe=True).text != text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("conv 1x1 8; dropout 0; relu", "conv 1x1 8; relu"),
        ("dropout 0; relu", "relu"),
        ("relu; dropout 0", "relu"),
        ("{ relu; dropout 0 }", "{ relu }"),
        ("relu -> dropout 0 -> tanh", "relu -> tanh"),
        ("dropout 0 -> tanh", "tanh"),
        ("dropout 0 -> a: tanh", "a: tanh"),
        ('dropout 0 -> "a-b": tanh', '"a-b": tanh'),
        ("{ relu }  x2 -> tanh", None),
        ("conv 1x1 -> relu -> dropout 0  x2", None),
        ("dropout 0 if true -> relu", None),
        ("a: dropout 0 -> relu", None),
        ("residual { dropout 0 -> conv 1x1 } -> relu", "residual { conv 1x1 } -> relu"),
    ],
)
def test_leaving_a_layer_out(before: str, after: str | None) -> None:
    try:
        text = net("conv 1x1 4", before, "conv 1x1 4")
        load_text(text)
    except archdsl.SpecError:
        return
    wanted = text if after is None else net("conv 1x1 4", after, "conv 1x1 4")
    assert fixed(text, "W0113").text == wanted


def test_comments_are_never_dropped_with_a_layer() -> None:
    text = net("relu  # a", "-> dropout 0  # b", "-> tanh  # c")
    assert fixed(text, "W0113").text == text


# Additions after any layer that do not change what the network computes.
REDUNDANT = (" -> dropout 0", " -> scale 1", " -> dropout 0 -> scale 1.0", " bias=true")
_PLAIN_SPECS = [
    path.read_text("utf-8")
    for path in SHIPPED
    if path.stem in ("resnet", "densenet", "unet", "mobilenet_v2", "classifier", "dla")
]


def with_redundancies(text: str, random: Random) -> str:
    """Insert layers that do nothing, and biases that norms cancel."""
    places = [m.end() for m in re.finditer(r"conv \dx\d [\w]+(?=\s|$)", text)]
    for at in sorted(random.sample(places, min(4, len(places))), reverse=True):
        text = text[:at] + random.choice(REDUNDANT) + text[at:]
    return re.sub(r"\n +expect [^\n]*", "", text)


@pytest.mark.parametrize("seed", range(24))
def test_redundant_parts_are_removed(seed: int) -> None:
    random = Random(seed)
    plain = random.choice(_PLAIN_SPECS)
    text = with_redundancies(plain, random)
    try:
        before = networks(load_text(text))
    except archdsl.SpecError:
        return
    safe = fixed(text)
    after = networks(load_text(safe.text))
    assert [n.name for n in before] == [n.name for n in after]
    again = fixed(safe.text)
    assert not again.done
    assert again.text == safe.text
    assert _comments(safe.text) == _comments(text)
    for old, new in zip(before, after, strict=True):
        removed = _keys(old) - _keys(new)
        assert all(key.endswith(".bias") for key in removed)
        assert not _keys(new) - _keys(old)
    whole = fixed(text, unsafe=True)
    networks(load_text(whole.text))
    assert not fixed(whole.text, unsafe=True).done


def _comments(text: str) -> list[str]:
    return re.findall(r"#[^\n]*", text)


def _keys(network: Network) -> set[str]:
    return {
        f"{step.path}.{tensor.name}"
        for step in network.steps()
        for tensor in step.op.tensors(*step.input_shapes)
    }


def test_sizes_of_vectors() -> None:
    """Networks without a map, for all rules."""
    found = advice(net("linear 10 -> relu", "linear 4", size="32"))
    assert [each.span.text for each in found] == ["linear 10", "linear 4"]
