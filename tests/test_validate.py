"""Translation validation: emitted text must compute the network that it was made for.

That correct texts are accepted needs no test here: other tests build every shipped
network and hundreds of random specs, and every build validates its text.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import archdsl
import archdsl.backends.torch as backend
from archdsl.backends.torch.validate import (
    Demands,
    Miscompiled,
    compare,
    parse_module,
    validate,
)
from archdsl.backends.torch.validate.signatures import bound, signature
from archdsl.cli import main
from archdsl.ir import Network
from archdsl.torch.functions import entries
from tests.conftest import ROOT
from tests.generated import specimen
from tests.injected import KINDS, alike, inject
from tests.oracle import EMITTED, Emitted
from tests.timing import cpu_seconds

MODELS = ROOT / "tests" / "golden" / "models"
CASES = 2000
BATCH = 100


def hold(text: str, network: Network) -> None:
    validate(parse_module(text), network)


def refusal(text: str, network: Network) -> str:
    with pytest.raises(Miscompiled) as caught:
        hold(text, network)
    return str(caught.value)


def net(*statements: str, input: str = "3x8x8", before: str = "") -> Network:
    body = "".join(f"    {line}\n" for line in statements)
    text = f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"
    return archdsl.loads(text, name="net.arch")


def module(init: str, forward: str, *classes: str, inputs: str = "x: Tensor") -> str:
    """Return the text of a network, with the lines of its two methods."""
    lines = [
        "from collections import OrderedDict",
        "from typing import NamedTuple",
        "import torch",
        "import torch.nn.functional as F",
        "from torch import Tensor, nn",
        *(textwrap.dedent(one) for one in classes),
        "class Net(nn.Module):",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        textwrap.indent(textwrap.dedent(init).strip(), " " * 8),
        f"    def forward(self, {inputs}) -> Tensor:",
        textwrap.indent(textwrap.dedent(forward).strip(), " " * 8),
    ]
    return "\n".join(lines) + "\n"


# ---- correct texts ------------------------------------------------------------------


@pytest.mark.parametrize("emitted", EMITTED.values(), ids=EMITTED.keys())
def test_what_a_person_reviewed_is_accepted(emitted: Emitted) -> None:
    hold((MODELS / f"{emitted.id}.py").read_text(encoding="utf-8"), emitted.load())


TWO = ("conv1: conv 3x3 4", "conv2: conv 3x3 4 -> relu")
MADE = """
self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
self.conv2 = nn.Conv2d(4, 4, kernel_size=(3, 3), padding=(1, 1), stride=1)
"""


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        (MADE, "return F.relu(self.conv2(self.conv1(x)), inplace=True)"),
        (MADE, "x = self.conv1(x)\nx = self.conv2(x)\nreturn F.relu(x, True)"),
        (
            MADE,
            "for layer in self.children():\n    x = layer(x)\nreturn F.relu(x, True)",
        ),
        (
            "for n, i in enumerate([3, 4], 1):\n"
            "    self.add_module(f'conv{n}', nn.Conv2d(i, 4, 3, padding=1))",
            "for _, one in self.named_children():\n    x = one(x)\n"
            "return F.relu(x, True)",
        ),
        (
            f"{MADE}self.last = True",
            "x = self.conv2(self.get_submodule('conv1')(x))\n"
            "return F.relu(x, True) if self.last else x",
        ),
    ],
)
def test_the_same_network_may_be_written_in_other_ways(init: str, forward: str) -> None:
    hold(module(init, forward), net(*TWO))


def test_what_can_run_in_place_does() -> None:
    text = module(MADE, "return F.relu(self.conv2(self.conv1(x)))")
    assert "write over its input" in refusal(text, net(*TWO))


ROUNDS = {
    # The first round reads the class's input, so no round may overwrite it.
    "block unit { relu -> conv 1x1  x3 }": (0, 0),
    "block unit { conv 1x1 -> relu  x3 }": (1, 3),
}


@pytest.mark.parametrize("block", ROUNDS)
def test_all_rounds_of_a_loop_write_in_place_or_none(block: str) -> None:
    network = net("conv 3x3", "unit", "conv 1x1", before=block)
    text = archdsl.emit(network)
    written, steps = ROUNDS[block]
    assert (text.count("inplace=True"), len(Demands(network).inplace)) == (
        written,
        steps,
    )
    if written:
        plain = text.replace(", inplace=True", "")
        assert "write over its input" in refusal(plain, network)


@pytest.mark.parametrize(
    "init",
    [
        "self.s = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(2)), nn.Tanh())",
        "self.s = nn.ModuleList([nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)])\n"
        "self.s.append(nn.Tanh())",
        "layers: list[nn.Module] = []\n"
        "layers += [nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)]\n"
        "layers.append(nn.Tanh())\n"
        "self.s = nn.Sequential(*layers)",
        "self.s = nn.Sequential(OrderedDict([(str(i), layer) for i, layer in "
        "enumerate([nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Tanh()])]))",
    ],
)
def test_containers_number_their_parts(init: str) -> None:
    network = net("s: seq { conv 3x3 pad=0 -> conv 3x3 pad=0 -> tanh }")
    hold(module(init, "for layer in self.s:\n    x = layer(x)\nreturn x"), network)
    forward = "x = self.s[0](x)\nx = self.s[1](x)\nreturn self.s[-1](x)"
    hold(module(init, forward), network)


def test_parts_of_one_value_may_be_taken_at_once() -> None:
    network = net("concat { chunk 1 of=2 | chunk 2 of=2 -> tanh }", input="4x8x8")
    pair = "a, b = x.chunk(2, 1)\nreturn torch.cat([{0}, torch.tanh({1})], 1)"
    hold(module("pass", pair.format("a", "b")), network)
    assert "`tanh1`" in refusal(module("pass", pair.format("b", "a")), network)


OUTPUTS = """
class Out(NamedTuple):
    output: Tensor
    side: Tensor
"""


@pytest.mark.parametrize(
    ("returned", "right"),
    [
        ("Out(a, b)", True),
        ("Out(b, a)", False),
        ("Out(side=b, output=a)", True),
        ("(a, b)", True),
        ("(b, a)", False),
        ("{'output': a, 'side': b}", True),
        ("{'side': b, 'output': a}", False),
        ("{'output': a, 'other': b}", False),
        ("a", False),
    ],
)
def test_outputs_have_their_order_and_names(returned: str, right: bool) -> None:
    network = net("l: relu", "output @l -> side: tanh", "sigmoid")
    made = "self.l = nn.ReLU()\nself.side = nn.Tanh()"
    lines = "l = self.l(x)\na = torch.sigmoid(l)\nb = self.side(l)"
    text = module(made, f"{lines}\nreturn {returned}", OUTPUTS)
    if "Out" not in returned:
        text = text.replace(OUTPUTS, "")
    if right:
        hold(text, network)
    else:
        assert "output" in refusal(text, network)


def test_deep_networks_are_followed() -> None:
    blocks = ["block b0 { conv 1x1 }"]
    blocks += [f"block b{n} {{ b{n - 1} -> relu }}" for n in range(1, 40)]
    archdsl.emit(net("b39", before="\n".join(blocks)))
    wide = " | ".join(["tanh"] * 1500)
    archdsl.emit(net(f"add {{ {wide} }}"))


def test_time_grows_linearly() -> None:
    def proof(layers: int) -> Callable[[], None]:
        network = net(*["conv 3x3 16"] * layers)
        tree = parse_module(archdsl.emit(network))
        return lambda: validate(tree, network)

    small, large = proof(100), proof(1000)
    assert cpu_seconds(large) < 30 * cpu_seconds(small)  # quadratic time would be 100


# ---- wrong texts ------------------------------------------------------------------

# Each was once emitted, but does not compute what its spec says.
ONE_COPY = module(
    "self.conv1 = nn.Conv2d(3, 3, 3, padding=1)\n"
    "self.conv2 = nn.Conv2d(3, 3, 3, padding=1)",
    "for layer in self.children():\n    x = layer(x)\nreturn x + self.conv2(x)",
)
SILENT = module(
    "self.unit1 = Unit()",
    "return self.unit1(x)",
    """
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Identity()
            self.k0 = nn.Conv2d(3, 3, 3, padding=1)
            self.side = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.x(x)
            out = x
            for layer in self.children():
                out = layer(out)
            return out + self.side(x)
    """,
)
SIBLING = module(
    "self.unit1 = Unit()",
    "return self.unit1(x)",
    """
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 3, 3, padding=1)
            self.conv2 = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.children():
                x = torch.tanh(layer(x))
            return self.conv2(x)
    """,
)
SAME_IN_BLOCK = module(
    "self.unit1 = Unit()",
    "return self.unit1(x)",
    """
    class Unit(nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Conv2d(3, 3, 3, padding=1)
    """,
)
IN_ANOTHER_ORDER = module(
    "self.l = nn.{}",
    "out = self.l(F.relu(x))\nreturn self.l(x) + out",
)
UNIT = "block unit<count> {{\n{}\n}}\n"


@pytest.mark.parametrize(
    ("text", "statements", "block", "step"),
    [
        (ONE_COPY, ("conv 3x3  x1", "add { | conv 3x3 }"), "", "add1"),
        (
            SILENT,
            ("unit<1>",),
            "    x: identity\n    for i in range(count) { k{i}: conv 3x3 }\n"
            "    add { | @x -> side: conv 3x3 }",
            "unit1.add1",
        ),
        (
            SIBLING,
            ("unit<1>",),
            "    conv 3x3 -> tanh  x(count)\n    conv 3x3",
            "unit1.conv2",
        ),
        (
            SAME_IN_BLOCK,
            ("unit<1>",),
            "    c: conv 3x3\n    same c  x(count)",
            "unit1.c",
        ),
    ],
    ids=["loop_one_copy", "loop_silent", "loop_and_sibling", "same_in_block"],
)
def test_what_was_emitted_wrong_is_refused(
    text: str, statements: tuple[str, ...], block: str, step: str
) -> None:
    network = net(*statements, before=UNIT.format(block) if block else "")
    assert f"`{step}`" in refusal(text, network)


@pytest.mark.parametrize(
    ("layer", "made", "refused"),
    [
        ("bn", "BatchNorm2d(3)", True),
        ("dropout 0.3", "Dropout(0.3)", True),
        ("conv 1x1", "Conv2d(3, 3, 1)", False),
    ],
)
def test_calls_that_change_or_draw_have_their_order(
    layer: str, made: str, refused: bool
) -> None:
    network = net(f"add {{ l: {layer} | relu -> same l }}")
    text = IN_ANOTHER_ORDER.replace("nn.{}", f"nn.{made}")
    if refused:
        assert "in another order" in refusal(text, network)
    else:
        hold(text, network)


CONV = "self.conv1 = nn.Conv2d(3, 4, 3, padding=1)"


@pytest.mark.parametrize(
    ("init", "forward", "why"),
    [
        (f"{CONV}.half()", "return self.conv1(x)", "no method `half`"),
        (CONV, "while x:\n    pass", "While is not understood"),
        (CONV, "return (lambda y: y)(self.conv1(x))", "Lambda is not understood"),
        (CONV, "return self.conv1(x) if x else x", "a condition on a tensor"),
        (CONV, "return self.conv1(x) if x > 0 else x", "a tensor is compared"),
        (CONV, "x += self.conv1(x)\nreturn x", "would write over its tensor"),
        (CONV, "return self.conv1(x).mul_(2)", "would write over its tensor"),
        (CONV, "self.kept = x\nreturn self.conv1(x)", "a module keeps a tensor"),
        (CONV, "return eval('self').conv1(x)", "the name `eval` is not known"),
        (CONV, "return self.conv1(x, x=x)", "called with keywords"),
        ("self.conv1 = nn.Conv2d(3, 4)", "return self.conv1(x)", "`kernel_size`"),
        (f"{CONV}\nself.other = self.conv1", "return self.conv1(x)", "again"),
        (f"{CONV}\nself.conv9 = nn.Conv2d(3, 4, 3)", "return self.conv1(x)", "conv9"),
        ("self.conv1 = [nn.Conv2d(3, 4, 3)]", "return self.conv1[0](x)", "`conv1`"),
        (
            f"{CONV}\nnn.init.ones_(self.conv1.weight)",
            "return self.conv1(x)",
            "its weight starts as",
        ),
    ],
)
def test_what_is_not_understood_is_refused(init: str, forward: str, why: str) -> None:
    hold(module(CONV, "return self.conv1(x)"), net("conv 3x3 4"))
    found = refusal(module(init, forward), net("conv 3x3 4"))
    assert why in found
    assert "emitted code is not the network" in found


def test_no_class_is_left_over() -> None:
    text = module(CONV, "return self.conv1(x)", "class Old(nn.Module):\n    pass")
    assert "nothing uses the class Old" not in refusal(
        text.replace("pass", "x = 1"), net("conv 3x3 4")
    )
    text = text.replace("pass", "def forward(self, x: Tensor) -> Tensor: return x")
    assert "nothing uses the class Old" in refusal(text, net("conv 3x3 4"))


def test_the_example_runs() -> None:
    network = net("conv 3x3 4")
    text = module(CONV, "return self.conv1(x)")
    example = (
        '{}if __name__ == "__main__":\n    print(Net().{}(torch.randn({})).shape)\n'
    )
    hold(example.format(text, "eval()", "1, 3, 8, 8"), network)
    assert "other inputs" in refusal(
        example.format(text, "eval()", "1, 3, 9, 8"), network
    )
    assert "no attribute `cuda`" in refusal(
        example.format(text, "cuda()", "1, 3, 8, 8"), network
    )


def test_each_mode_has_its_steps() -> None:
    network = net("l: relu", "training output @l -> aux: tanh", "sigmoid")
    classes = "class Out(NamedTuple):\n    output: Tensor\n    aux: Tensor"
    init = "self.l = nn.ReLU()\nself.aux = nn.Tanh()"
    forward = (
        "l = self.l(x)\nx = torch.sigmoid(l)\nif {}:\n"
        "    return Out(x, self.aux(l))\nreturn x"
    )
    hold(module(init, forward.format("self.training"), classes), network)
    for test in ("True", "False", "not self.training"):
        refusal(module(init, forward.format(test), classes), network)


# ---- 2,000 mistakes -----------------------------------------------------------------

SMALL = (
    "densenet121",
    "googlenet",
    "merge_concat",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "residual20",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "two_inputs",
)
SPECIMENS = 40


class Source(NamedTuple):
    """A text to make mistakes in."""

    name: str
    network: Network
    demands: Demands
    text: str


@cache
def source(place: int) -> Source:
    if place < len(SMALL):
        name = SMALL[place]
        network = archdsl.load(name)
    else:
        name = f"specimen {place - len(SMALL)}"
        network = archdsl.loads(specimen(place - len(SMALL)), name=name)
    return Source(name, network, Demands(network), archdsl.emit(network))


def verdict(case: int, *, large: bool) -> bool:
    """Return whether a mistake is refused; if not, look for its effect in torch.

    Args:
        case: its number.
        large: whether torch also runs shipped networks, not only random ones.
    """
    place = case % (len(SMALL) + SPECIMENS)
    of = source(place)
    wrong = inject(of.text, f"spoiling {case}")
    try:
        compare(parse_module(wrong.text), of.demands)
    except Miscompiled:
        return True
    if large or place >= len(SMALL):
        assert alike(of.text, wrong.text, of.network), (
            f"spoiling {case} of {of.name} ({wrong.kind}) is accepted:\n{wrong.text}"
        )
    return False


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_mistakes_are_refused_unless_torch_sees_none(first: int) -> None:
    found = [verdict(case, large=False) for case in range(first, first + BATCH)]
    assert sum(found) > 0.8 * BATCH


@pytest.mark.slow
@pytest.mark.parametrize("first", range(CASES, 2 * CASES, BATCH))
def test_more_mistakes_are_refused_unless_torch_sees_none(first: int) -> None:
    for case in range(first, first + BATCH):
        verdict(case, large=True)


def test_mistakes_of_each_kind_are_made() -> None:
    kinds = {
        inject(source(SMALL.index("googlenet")).text, f"kind {n}").kind
        for n in range(300)
    }
    assert kinds == KINDS.keys() - {"renamed_part", "swapped_parts", "other_range"}


# ---- parameters of torch's callables
# -----------------------------------------------------

# torch has no readable signatures for these; they are from its documentation.
_BUILTIN: Mapping[str, str] = {
    "F.avg_pool2d": "input, kernel_size, stride=None, padding=0, ceil_mode=False, "
    "count_include_pad=True, divisor_override=None",
    "F.adaptive_avg_pool1d": "input, output_size",
    "F.channel_shuffle": "input, groups",
    "F.gelu": "input, approximate='none'",
    "F.pixel_shuffle": "input, upscale_factor",
    "F.pixel_unshuffle": "input, downscale_factor",
    "F.adaptive_max_pool2d": "input, output_size, return_indices=False",
    "F.max_pool2d": "input, kernel_size, stride=None, padding=0, dilation=1, "
    "ceil_mode=False, return_indices=False",
}
_IGNORED = ("device", "dtype", "generator", "_stacklevel")


def _declared(name: str) -> list[tuple[str, Any]]:
    known = _BUILTIN.get(name) or _BUILTIN.get(re.sub(r"[13]d$", "2d", name))
    if known is not None:
        scope: dict[str, Any] = {}
        exec(f"def f({known}): pass", scope)
        return _parameters(scope["f"])
    parts = name.split(".")
    found: Any = {"nn": nn, "F": nn.functional, "torch": torch}[parts[0]]
    for part in parts[1:]:
        found = getattr(found, part)
    return _parameters(found)


def _parameters(found: Any) -> list[tuple[str, Any]]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(found).parameters.items()
        if parameter.kind not in kinds and name not in _IGNORED
    ]


def _names() -> Iterator[str]:
    """Yield torch's callables, separately for one, two and three axes."""
    for name, entry in entries().items():
        if entry.parameters is None:
            continue
        names = [name, *(f"{name}{axes}d" for axes in (1, 2, 3))]
        module, _, last = name.partition(".")
        owner = {"nn": nn, "F": nn.functional}.get(module)
        if owner is not None:
            known = [n for n in names if _has(owner, n.partition(".")[2])]
            assert known, last
            yield from known


def _has(owner: Any, path: str) -> bool:
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner is not None


@pytest.mark.parametrize("name", [*_names()])
def test_signatures_are_those_of_torch(name: str) -> None:
    known = signature(name)
    assert known is not None
    theirs = _declared(name)
    given = [p for p in theirs if p[1] is inspect.Parameter.empty]
    # Required arguments are given as a tensor's name.
    args = [f"<{n}>" for n, _ in given]
    values = dict(zip(known.names, known.bind(args, {}), strict=True))
    for (label, default), own in zip(theirs, known.names, strict=False):
        assert label == own
        if default is inspect.Parameter.empty:
            assert values[own] == f"<{own}>"
        elif default is None and own == "stride":
            assert values[own] == "<kernel_size>"
        else:
            assert bound("", [values[own]], {}) == bound("", [default], {})
    missing = [n for n, _ in theirs[len(known.names) :]]
    assert missing in ([], ["bias"])  # of norms: their bias goes with `affine`


# ---- the command --------------------------------------------------------------------

NET = """arch 1

network net {
    input 3x16x16
    conv 3x3 8
    conv 5x5 8 /2
}
"""


def test_a_difference_is_a_bug_of_ours_and_leaves_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = backend.write_module

    def wrong(network: Network, *how: Any) -> str:
        return write(network, *how).replace("stride=2", "stride=1")

    monkeypatch.setattr(backend, "write_module", wrong)
    spec, out = tmp_path / "net.arch", tmp_path / "net.py"
    spec.write_text(NET)
    assert main(["compile", str(spec), "-o", str(out)]) == 70
    err = capsys.readouterr().err
    assert f"{spec}:6:5: the emitted code is not the network at `conv2`" in err
    assert "nn.Conv2d(8, 8, 5, 1, 2," in err and "nn.Conv2d(8, 8, 5, 2, 2," in err
    assert "Traceback" not in err
    assert not out.exists()
    out.write_text("as before")
    assert main(["compile", str(spec), "-o", str(out)]) == 70
    assert out.read_text() == "as before"
    with pytest.raises(Miscompiled):
        archdsl.build(archdsl.load(spec))
