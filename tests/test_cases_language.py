"""Small specs that once went wrong, each with the right result.

Every case is a file of tests/cases, and a function that checks it. Refused specs are in
tests/broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import archdsl
from archdsl.backends.torch.verification import agree
from archdsl.elaborate import elaborate
from archdsl.elaborate.fitting import REACH, fitting_sizes
from archdsl.elaborate.layer_counts import SharedLayers, count_layers
from archdsl.elaborate.resolve import STRUCTURES
from archdsl.ir import Group, Network, Step
from archdsl.layer import all_kinds
from archdsl.layer import words as kind_words
from archdsl.limits import MAX_DEPTH
from archdsl.syntax.loader import load_file, load_text
from archdsl.values import Shape
from tests.conftest import ROOT
from tests.generated import specimen

CASES = ROOT / "tests" / "cases"
KIND_WORDS = kind_words()
SPECIMENS = 300
BATCH = 50


def words(network: Network) -> list[str]:
    return [step.op.word for step in network.steps()]


def params(network: Network) -> int:
    return archdsl.analyze(network).params


def net(*statements: str, before: str = "", size: str = "2x8x8") -> Network:
    body = "".join(f"    {line}\n" for line in statements)
    return archdsl.loads(
        f"arch 1\n{before}\nnetwork Net<yes = true, count = 1> {{\n"
        f"    input {size}\n"
        f"    if yes {{ identity x(count) }}\n{body}}}\n"
    )


def two_elaborations(network: Network) -> None:
    # Two convolutions of 2 x 2 x 3 x 3 without a bias, two norms of 2 channels.
    assert params(network) == 2 * (36 + 4)


def guard_channels(network: Network) -> None:
    assert words(network) == ["conv", "relu"]


def bias_before_distant_norm(network: Network) -> None:
    assert words(network) == ["conv", "relu", "bn"]
    # The norm does not cancel the biases: 2 x 3 x 3 weights and a bias, eight times.
    assert params(network) == 8 * (18 + 1) + 2 * 8


def braces_in_seq(network: Network) -> None:
    # Each part of a Sequential is one module, so the braces have the number.
    assert [step.path for step in network.steps()] == [
        "features.0",
        "features.1",
        *(f"features.{n}.{name}" for n in (2, 3) for name in ("conv1", "maxpool1")),
    ]


def dotted_keys(network: Network) -> None:
    # The keys of 2017, grouped by container.
    parts = {"norm": (64, 128), "conv": (128, 32)}
    state = archdsl.build(network).state_dict()
    weights = {name: len(t) for name, t in state.items() if name.endswith("weight")}
    assert weights == {
        f"denselayer1.{name}.{n}.weight": width
        for name, widths in parts.items()
        for n, width in enumerate(widths, 1)
    }


def parts_of_containers(network: Network) -> None:
    # The input, the image, and two units of 8 channels.
    concat = next(step for step in network.steps() if step.op.word == "concat")
    assert [shape[0] for shape in concat.input_shapes] == [4, 3, 8, 8]
    module = archdsl.build(network)
    middle = module.get_submodule("mid")
    assert [name for name, _ in middle.named_children()] == ["0", "1", "2", "last"]
    parameters = dict(module.named_parameters())
    for name, weight in parameters.items():
        if ".conv1.weight" in name or name == "mid.last.weight":
            # About 200 draws or more; 32 for the last one.
            assert 0.3 < float(weight.detach().std()) < 0.7
    assert parameters["mid.last.bias"].unique().tolist() == [1]
    assert parameters["other.0.weight"].unique().tolist() == [0]
    assert parameters["other.1.weight"].unique().tolist() == [2]


def words_of_kinds(network: Network) -> None:
    ops = [step.op for step in network.steps()]
    # Of both fields, where a kind has them.
    chosen = [(vars(op).get("pad"), vars(op).get("pad_mode")) for op in ops]
    assert chosen[0] == ("same", "reflect")
    assert chosen[-3:-1] == [("same", "circular"), ("same", "zeros")]
    assert [vars(op).get("channels") for op in ops[1:3]] == ["last", "first"]
    assert [vars(op).get("mode") for op in (ops[3], ops[-1])] == ["bilinear", "nearest"]
    assert words(archdsl.loads(archdsl.expand(network))) == words(network)


def aggregation(network: Network) -> None:
    joined = {
        step.path: [shape[0] for shape in step.input_shapes]
        for step in network.steps()
        if step.op.arity is None
    }
    assert joined == {
        # The input of each block, and its units of 8 in order.
        "osa1.concat1": [4, 8, 8, 8],
        "osa1.inner.concat1": [16, 4],
        "osa2.concat1": [16, 8, 8],
        "osa2.inner.concat1": [16, 16],
        "numbered1.1.concat1": [16, 16],
        "add1": [6, 6, 6],
        "mul1": [6, 6],
        "concat1": [6, 3],
    }
    kernels = [
        vars(step.op)["kernel"]
        for step in network.steps()
        if step.path.startswith("seq") and step.op.word == "conv"
    ]
    assert kernels == [(1, 1), (3, 3), (5, 5)]
    # Counting without the graph gives the same.
    module = load_file(CASES / "aggregation.arch")
    params = {"layers": 4}
    uses = count_layers(module, SharedLayers(), params=params)
    steps = list(elaborate(module, params=params).steps())
    assert uses is not None and len([*uses.lines.uses()]) == len(steps)


RIGHT: dict[str, Callable[[Network], None]] = {
    check.__name__: check
    for check in (
        two_elaborations,
        guard_channels,
        bias_before_distant_norm,
        braces_in_seq,
        dotted_keys,
        parts_of_containers,
        aggregation,
        words_of_kinds,
    )
}


@pytest.mark.parametrize("name", RIGHT)
def test_case(name: str) -> None:
    network = archdsl.load(Path(CASES, f"{name}.arch"))
    RIGHT[name](network)
    assert not agree(network).differences


# ---- `channels`: the input channels, wherever it is used
# -------------------------------

UNIT = """
block wide { conv 1x1 8 }
block scaled<n> { scale n }
block handed<body: block> { body }
"""
# Each makes 8 channels from 2, and then uses `channels`, which scales by it show.
PLACES = {
    "guard": ("conv 1x1 8 -> scale channels if channels == 8",),
    "guard on the next line": ("conv 1x1 8", "scale channels if channels == 8"),
    "guard before a repeat": (
        "conv 1x1 8 -> relu  x(1)",
        "scale channels  x(channels - 7) if channels == 8",
    ),
    "guard in a chain that repeats": (
        "conv 1x1 8 -> scale channels if channels == 8 -> relu  x2",
    ),
    "behind a guard that fails": (
        "conv 1x1 8 -> conv 1x1 3 if channels < 8 -> scale channels if channels == 8",
    ),
    "branch": ("concat { conv 1x1 8 -> scale channels if channels == 8 | }",),
    "second branch": (
        "concat { conv 1x1 4 | conv 1x1 8 -> scale channels if channels == 8 }",
    ),
    "behind a merge": (
        "concat { conv 1x1 4 | conv 1x1 4 } -> scale channels if channels == 8",
    ),
    "behind a block": ("wide -> scale channels if channels == 8",),
    "behind braces": ("{ conv 1x1 3; conv 1x1 8 } -> scale channels if channels == 8",),
    "behind labelled braces": (
        "g: { conv 1x1 3; conv 1x1 8 } -> scale channels if channels == 8",
    ),
    "behind a residual": (
        "residual { conv 1x1 8 } -> scale channels if channels == 8",
    ),
    "behind a tap": (
        "a: conv 1x1 8 -> conv 1x1 3",
        "add { conv 1x1 8 | @a -> scale channels if channels == 8 }",
    ),
    "argument of a layer": ("conv 1x1 8 -> scale channels",),
    "argument of a block": ("conv 1x1 8 -> scaled<channels>",),
    "braces of a block": ("handed { conv 1x1 8 -> scale channels if channels == 8 }",),
    "loop": ("conv 1x1 8", "for n in [channels] { scale n if n == channels }"),
    "in a loop": ("for n in [4, 8] { conv 1x1 n -> scale channels if channels == 8 }",),
    "condition": ("conv 1x1 8", "if channels == 8 { scale channels }"),
    "value": ("conv 1x1 8", "n = channels", "scale n if n == 8"),
    "repeat": ("conv 1x1 8", "scale 8  x(channels - 7)"),
    "label": ("conv 1x1 8 -> l{channels}: scale channels",),
    "seq": ("s: seq { conv 1x1 8 -> scale channels if channels == 8 }",),
    "output": (
        "a: conv 1x1 8",
        "output @a -> b: scale channels if channels == 8",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_channels_are_those_that_flow_in(place: str) -> None:
    for symbolic in (True, False):
        network = archdsl.loads(
            f"arch 1\n{_used(PLACES[place])}\nnetwork Net {{\n    input 2x4x4\n"
            + "".join(f"    {line}\n" for line in PLACES[place])
            + "}\n",
            symbolic=symbolic,
        )
        scales = [s.op for s in network.steps() if s.op.word == "scale"]
        factors = [op.factor for op in scales]  # type: ignore[attr-defined]
        assert factors
        assert set(factors) == {8}


def _used(lines: tuple[str, ...]) -> str:
    """Return the blocks that some lines call; others would be unused."""
    blocks = [b for b in UNIT.splitlines() if b]
    return "\n".join(b for b in blocks if b.split()[1].split("<")[0] in " ".join(lines))


# ---- a bias that a norm cancels --------------------------------------------------

NORM = """
block normed { bn -> relu }
block narrow { conv 3x3 4 }
block handing<body: block> { body -> bn }
"""
# What follows `conv 3x3 4` in a network, and whether the conv has a bias then.
BEHIND: dict[str, tuple[tuple[str, ...], bool]] = {
    "chain": (("conv 3x3 4 -> bn",), False),
    "next line": (("conv 3x3 4", "bn"), False),
    "label": (("conv 3x3 4 -> n: bn",), False),
    "braces": (("conv 3x3 4", "{ bn }"), False),
    "labelled braces": (("conv 3x3 4", "n: { bn -> relu }"), False),
    "seq": (("conv 3x3 4", "n: seq { bn -> relu }"), False),
    "inside braces": (("{ conv 3x3 4 } -> bn",), False),
    "inside labelled braces": (("c: { conv 3x3 4 } -> bn",), False),
    "condition": (("conv 3x3 4", "if yes { bn }"), False),
    "value between": (("conv 3x3 4", "n = 1", "bn", "relu x(n)"), False),
    "claim between": (("conv 3x3 4", "expect depth == 1", "bn"), False),
    "guard": (("conv 3x3 4 -> bn if yes",), False),
    "guard on channels": (("conv 3x3 4 -> bn if channels == 4",), False),
    "guard that fails": (("conv 3x3 4 -> bn if not yes",), True),
    "guard between that fails": (("conv 3x3 4 -> relu if not yes -> bn",), False),
    "repeated norm": (("conv 3x3 4", "bn x2"), False),
    "loop": (("conv 3x3 4", "for i in range(2) { bn -> scale i }"), False),
    "loop without rounds": (
        ("conv 3x3 4", "for i in range(count - 1) { scale i }", "bn"),
        False,
    ),
    "in a copy": (("conv 3x3 4 -> bn  x2",), False),
    "behind its copies": (("conv 3x3 4 x2", "bn"), True),
    "first of a copy": (("bn -> conv 3x3 4  x2",), True),
    "two norms": (("c: conv 3x3 4", "add { @c -> bn | @c -> bn }"), False),
    "branch": (("concat { conv 3x3 4 -> bn | }",), False),
    "behind a merge": (("concat { conv 3x3 4 | } -> bn",), True),
    "residual": (("conv 3x3 4", "residual { bn -> relu }"), True),
    "skip": (("c: conv 3x3 4 -> bn", "add { | @c }"), True),
    "output": (("c: conv 3x3 4 -> bn", "output @c"), True),
    "last": (("conv 3x3 4",), True),
    "relu": (("conv 3x3 4 -> relu -> bn",), True),
    "other norm": (("conv 3x3 4 -> layernorm",), True),
    "norm of a block": (("conv 3x3 4", "normed"), True),
    "conv of a block": (("narrow", "bn"), True),
    "braces of a block": (("handing { conv 3x3 4 }",), False),
    "shared before norms": (("c: conv 3x3 2 -> bn", "same c -> bn"), False),
    "shared before a norm and not": (("c: conv 3x3 2 -> bn", "same c"), True),
    "said": (("conv 3x3 4 bias=true -> bn",), True),
    "denied": (("conv 3x3 4 bias=false -> relu",), False),
    "transposed": (("convtranspose 3x3 4 -> bn",), False),
    "linear": (("globalavgpool -> linear 4 -> bn",), False),
    "linear alone": (("globalavgpool -> linear 4 -> relu",), True),
}


@pytest.mark.parametrize("case", BEHIND)
def test_a_bias_that_a_norm_cancels_is_left_out(case: str) -> None:
    lines, has_bias = BEHIND[case]
    text = " ".join(lines)
    blocks = [b for b in NORM.splitlines() if b and b.split()[1].split("<")[0] in text]
    network = net(*lines, before="\n".join(blocks))
    found = {_has_bias(step) for step in network.steps() if "bias" in step.op.fields}
    assert found == {has_bias}
    assert not agree(network).differences


def _has_bias(step: Step) -> bool:
    return any(t.name == "bias" for t in step.op.tensors(*step.input_shapes))


class _Place(NamedTuple):
    """A step, with the block and the copies of repeats that contain it."""

    step: Step
    block: int
    copies: tuple[int, ...]


def _places(group: Group, block: int = 0, copies: tuple[int, ...] = ()) -> Iterator:
    for child in group.children:
        if isinstance(child, Step):
            yield _Place(child, block, copies)
        elif child.role == "block":
            yield from _places(child, id(child), ())
        else:
            more = (id(child),) if child.role == "copy" else ()
            yield from _places(child, block, (*copies, *more))


def _expected(network: Network) -> dict[str, bool]:
    """Return which layers should have a bias, by path, from the finished network."""
    places = list(_places(network.root))
    outputs = {port.value for port in network.outputs}
    found: dict[str, bool] = {}
    for step, block, copies in places:
        if "bias" not in step.op.fields:
            continue
        readers = [p for p in places if step.output in p.step.inputs]
        cancelled = bool(readers) and step.output not in outputs
        for reader in readers:
            inside = reader.copies[: len(copies)] == copies
            norm = reader.step.op.word == "bn"
            cancelled = cancelled and norm and inside and reader.block == block
        if re.search(r"downsample\d*\.0$", step.path):
            # An automatic projection leaves its bias to the norm that it copies.
            cancelled = any(p.step.op.family == "norm" for p in readers)
        found[step.path] = found.get(step.path, False) or not cancelled
    return found


@pytest.mark.parametrize("first", range(0, SPECIMENS, BATCH))
def test_biases_of_random_specs(first: int) -> None:
    for case in range(first, first + BATCH):
        text = specimen(case)
        if "bias" in text:
            continue
        network = archdsl.loads(text, symbolic=bool(case % 2))
        found = {s.path: _has_bias(s) for s in network.steps() if "bias" in s.op.fields}
        assert found == _expected(network), f"specimen {case}:\n{text}"


# ---- shared layers on inputs of another rank
# -----------------------------------------------

# Kinds with what they need, on a map and then on a vector of its channels.
ONCE_MORE = {
    "bn": False,
    "layernorm": False,
    "layerscale": False,
    "instancenorm": False,
    "dropout2d": False,
    "conv 3x3": False,
    "maxpool 3x3": False,
    "groupnorm 2": True,
    "prelu": True,
    "prelu per_channel=true": True,
    "dropout": True,
    "gelu": True,
    "softmax": True,
    "{ relu -> groupnorm 2 }": True,
    "{ relu -> bn }": False,
}


@pytest.mark.parametrize("layer", ONCE_MORE)
def test_a_shared_layer_takes_a_vector_where_torch_does(layer: str) -> None:
    lines = (f"k: {layer}", "globalavgpool -> same k", "linear 3")
    if not ONCE_MORE[layer]:
        with pytest.raises(archdsl.SpecError, match="A0302"):
            net(*lines, size="4x9x5")
        return
    assert not agree(net(*lines, size="4x9x5")).differences


# ---- other names of kinds -----------------------------------------------------


def test_other_names_mean_one_kind_each() -> None:
    names = [name for each in all_kinds() for name in each.also]
    assert len(names) == len(set(names))
    assert not set(names) & {*KIND_WORDS, *STRUCTURES}
    assert all(name == name.lower() and "_" not in name for name in names)


@pytest.mark.parametrize(
    ("word", "kind"),
    # `dense` is a block of the library.
    [(n, each.word) for each in all_kinds() for n in each.also if n != "dense"],
)
def test_other_names_are_told_the_word(word: str, kind: str) -> None:
    with pytest.raises(archdsl.SpecError) as refused:
        net(word)
    assert [d.help for d in refused.value.diagnostics] == [f"did you mean `{kind}`?"]


# ---- input sizes that fit -------------------------------------------------


def unet(levels: int, size: str) -> str:
    return f"""arch 1
network n {{
    input {size}
    for i in range({levels}) {{
        skip{{i}}: conv 3x3 4
        maxpool 2x2
    }}
    for i in range({levels}) {{
        upsample 2x2
        concat {{ | @skip{{{levels} - 1 - i}} }}
    }}
}}
"""


def notes(text: str) -> list[str]:
    with pytest.raises(archdsl.SpecError) as refused:
        archdsl.loads(text)
    return [note for d in refused.value.diagnostics for note in d.notes]


@pytest.mark.parametrize("levels", range(1, 6))
def test_sizes_that_fit_a_merge_are_multiples(levels: int) -> None:
    step = 2**levels
    low, high = 3 * step, 4 * step
    found = notes(unet(levels, f"1x{low + 1}x{high + 1}"))
    assert found == [
        f"heights and widths that are multiples of {step} fit, such as "
        f"1x{low}x{high} and 1x{high}x{high + step}"
    ]
    for size in (low, high):
        archdsl.loads(unet(levels, f"1x{size}x{size}"))


NEVER = "block never { concat { conv 3x3 | conv 3x3 pad=0 } }"


def test_no_size_is_named_where_none_fits() -> None:
    text = f"arch 1\n{NEVER}\nnetwork n {{\n    input 1x9x9\n    never\n}}\n"
    assert notes(text) == ["in never1: never, line 5"]


@pytest.mark.parametrize(
    ("given", "rest", "said"),
    [
        # The original U-Net takes 16 n + 12.
        ((1, 570, 570), 12, "inputs of 1x556x556 and 1x572x572 fit"),
        ((1, 5, 5), 12, "an input of 1x12x12 fits"),
        (
            (3, 33, 50),
            0,
            "heights and widths that are multiples of 16 fit, such as "
            "3x32x48 and 3x48x64",
        ),
    ],
)
def test_sizes_are_found(given: Shape, rest: int, said: str) -> None:
    def fits(shape: Shape) -> bool:
        return all(n % 16 == rest for n in shape[1:])

    assert fitting_sizes(given, fits) == said


def test_few_sizes_are_tried() -> None:
    tried: list[Shape] = []

    def fits(shape: Shape) -> bool:
        tried.append(shape)
        return False

    assert not fitting_sizes((3, 500, 600), fits)
    assert len(tried) <= 4 * REACH


# ---- nothing is silently ignored -------------------------------------------------

STATEMENTS = {
    "layer": "conv 3x3 4",
    "value": "n = 3; scale n",
    "input": "input more 3x8x8; concat { | @more }",
    "unread input": "input more 3x8x8",
    "output": "output @base -> e: conv 1x1 2",
    "training output": "training output @base -> e: conv 1x1 2",
    "claim": "expect depth == 1",
    "init of a kind": "init conv weight=0",
    "init of a layer": "init @base weight=0",
    "loop": "for i in range(2) { scale 2 }",
    "condition": "if true { scale 2 }",
    "tap": "@base",
    "chain from a tap": "@base -> conv 3x3 4",
    "shared": "conv 1x1 3 -> same base",
}
PLACED = {
    "network": "{}",
    "loop": "for k in range(1) {{ {} }}",
    "condition": "if true {{ {} }}",
    "otherwise": "if false {{ relu }} else {{ {} }}",
    "braces": "{{ {} }}",
    "labelled braces": "g: {{ {} }}",
    "seq": "g: seq {{ {} }}",
    "repeat": "{{ {} }}  x2",
    "branch": "concat {{ {} | identity }}",
    "body": "residual {{ {} }}",
    "shortcut": "residual {{ sigmoid | {} }}",
    "optional": "residual<shortcut = optional> {{ {} }}",
    "projected": "residual<shortcut = projection> {{ {} }}",
    "guarded": "{{ {} }} if true",
    "block": "unit",
    "braces of a block": "handing {{ {} }}",
    "output": "output @base -> f: {{ {} }}",
}


def _written(place: str, statement: str) -> str:
    before = {
        "block": f"block unit {{ base: conv 1x1 4\n relu\n {statement} }}\n",
        "braces of a block": "block handing<body: block> { body }\n",
    }.get(place, "")
    line = PLACED[place].format(statement)
    return (
        f"arch 1\n{before}network Net {{\n    input 3x8x8\n"
        f"    base: conv 1x1 4\n    relu\n    {line}\n}}\n"
    )


def _told(network: Network) -> object:
    """Return everything that a statement can change."""
    return (
        [(s.path, s.op, s.inputs) for s in network.steps()],
        (network.inputs, network.outputs, network.initializers),
        [(e.measure, e.value) for e in network.expectations],
    )


@pytest.mark.parametrize("place", PLACED)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_counts_or_is_refused(statement: str, place: str) -> None:
    without = archdsl.loads(_written(place, ""))
    try:
        network = archdsl.loads(_written(place, STATEMENTS[statement]))
    except archdsl.SpecError as refused:
        assert all(d.help and d.span for d in refused.diagnostics)
        return
    assert _told(network) != _told(without)
    assert not agree(network).differences


# ---- lists -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "widths"),
    [
        ("[4] * 2 + [8]", [4, 4, 8]),
        ("2 * [4, 8]", [4, 8, 4, 8]),
        ("[4] * 0 + [8]", [8]),
        ("[w + 1 for w in [4] * 2 + range(2)]", [5, 5, 1, 2]),
        ("[4] + [[8, 12][1]]", [4, 12]),
    ],
)
def test_lists_add_up_and_repeat(written: str, widths: list[int]) -> None:
    network = net(f"for width in {written} {{ conv 1x1 width }}")
    found = [int(s.shape[0]) for s in network.steps() if s.op.word == "conv"]
    assert found == widths


def test_a_list_of_kinds_and_blocks() -> None:
    network = net(
        "for unit in [relu, unit] * 2 { unit }",
        before="block unit { conv 3x3 -> bn }",
    )
    words = [step.op.word for step in network.steps()]
    assert words[1:] == ["relu", "conv", "bn"] * 2


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0.2 * 3", "0.6"),
        ("0.2 * 3 / 40", "0.015"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 3", "0.333333333333333"),
        ("10.0 ** -5", "1e-05"),
        ("1 - 0.9", "0.1"),
    ],
)
def test_arithmetic_keeps_fifteen_digits(written: str, number: str) -> None:
    network = archdsl.loads(
        f"arch 1\nnetwork Net {{\n    input 3x8x8\n    scale ({written})\n}}\n"
    )
    assert f"x * {number}\n" in archdsl.emit(network)


def nested(opening: str, closing: str) -> str:
    deep = opening * (MAX_DEPTH - 1) + "conv 3x3 3" + closing * (MAX_DEPTH - 1)
    return f"arch 1\n\nnetwork n {{\n    input 3x8x8\n    {deep}\n}}\n"


def called(body: str) -> str:
    blocks = ["block b0 {\n    conv 3x3 3\n}\n"]
    blocks += [
        f"block b{n} {{\n    {body.replace('$', f'b{n - 1}')}\n}}\n"
        for n in range(1, MAX_DEPTH - 1)
    ]
    net = f"network n {{\n    input 3x8x8\n    b{MAX_DEPTH - 2}\n}}\n"
    return "\n".join(["arch 1\n", *blocks, net])


@pytest.mark.parametrize(
    "text",
    [
        nested("seq { ", " }"),
        nested("residual { ", " }"),
        nested("concat { ", " | }").replace("conv 3x3 3", "conv 3x3 1"),
        nested("for i in range(1) { ", " }"),
        nested("if true { ", " }"),
        called("$"),
        called("relu -> $"),
    ],
)
def test_what_nests_as_deep_as_allowed_is_elaborated(text: str) -> None:
    module = load_text(text)
    for symbolic in (True, False):
        steps = list(elaborate(module, symbolic=symbolic).steps())
        assert [step.op.word for step in steps].count("conv") == 1
    assert count_layers(module, SharedLayers(), input=(3, 8, 8)) is not None


# ---- kinds and blocks with arguments in expressions ------------------------------


def test_kinds_with_arguments_are_values_everywhere() -> None:
    text = """arch 1

block plain<width, norm: kind = bn, act: kind = relu> {
    conv 3x3 width -> norm -> act
}

network Net<
    units = [plain<act = leakyrelu<slope = 0.3>>, plain<norm = groupnorm<groups = 2>>],
    acts = [gelu] + [leakyrelu<slope = 0.2>] * 2,
    exact = true,
> {
    input 3x9x9
    for i, unit in units {
        unit<4 * 2 ** i>
    }
    for [width, act] in [[4, acts[1]], [8, elu<alpha = 0.5>]] {
        conv 1x1 width -> act
    }
    for norm in [bn<eps = e> for e in [0.1, 0.2]] {
        conv 1x1 -> norm
    }
    last = bn<eps = 0.001> if exact else identity
    conv 1x1 -> last
    conv 1x1 8 if last != bn and last == bn<eps = 1e-3>
    conv 1x1 -> relu  x(acts.COUNT)
}
""".replace("acts.COUNT", "count(acts, acts[2])")
    network = archdsl.loads(text)
    ops = [step.op for step in network.steps()]
    assert [op.word for op in ops if op.word != "conv"] == [
        *("bn", "leakyrelu", "groupnorm", "relu", "leakyrelu", "elu"),
        *("bn", "bn", "bn", "relu", "relu"),
    ]
    found = [vars(op) for op in ops if op.word in ("leakyrelu", "elu")]
    assert found == [{"slope": 0.3}, {"slope": 0.2}, {"alpha": 0.5}]
    epsilons = [vars(op)["eps"] for op in ops if op.word == "bn"]
    assert epsilons == [1e-5, 0.1, 0.2, 0.001]
    assert archdsl.format(text) == text
    assert not agree(network).differences
    again = archdsl.loads(archdsl.expand(network))
    assert [step.op for step in again.steps()] == ops
    plain = archdsl.loads(text, params={"acts": "[elu<alpha = 0.1>, relu, relu]"})
    assert [s.op.word for s in plain.steps()].count("elu") == 1
