"""Names and strings in a spec can neither inject code nor break the emitted code.

Every hostile name, in every place that accepts one, is either refused, or gives a
module that runs and has the parameters that the analysis counts.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.layer import words
from archdsl.naming import MODULE_ATTRIBUTES
from tests.comparing import emitted_once

MODULES = (nn.Module(), nn.Sequential(), nn.ModuleDict(), nn.ModuleList())
IMPORTS = {
    "torch",
    "torch.nn",
    "torch.nn.functional",
    "torch.Tensor",
    "collections.OrderedDict",
    "typing.NamedTuple",
}

PYTHON = [*keyword.kwlist, *keyword.softkwlist]
TORCH = [n for module in MODULES for n in dir(module) if n[0] != "_"]
BUILTINS = [n for n in dir(builtins) if not n.endswith(("Error", "Warning"))]
EMITTED = """
    F Tensor nn torch OrderedDict NamedTuple Net NetOutput Unit Head Sequential Module
    Parameter self cls x x1 x2 xs out out1 output outputs i i1 j n k _ layer layers
    module modules network net model block blocks body name number count width channels
    in_channels mid_channels out_channels channels1 width1 stride kernel kernel_size
    padding bias groups dilation features classes input inputs value values result index
    use_shortcut downsample shortcut branch branch1 residual conv conv1 bn bn1 relu
    relu1 seq group add concat mul flatten forward_ init math os sys Any Callable
"""
LANGUAGE = """
    arch import from block network preset default input output training for in if else
    expect init seq residual same fn op true false and or not channels x x2 x10 e1 E
"""
ODD = """
    __import__ __init__ __class__ __dict__ __doc__ __name__ __call__ __getattr__
    __slots__ _private _modules _parameters __ a_ a__ a1 A aA Aa conv_bn convBn ConvBn
    l I O O0 l1
"""
NAMES = sorted(
    {*PYTHON, *TORCH, *BUILTINS, *EMITTED.split(), *LANGUAGE.split(), *ODD.split()}
)
# These are tried one by one, each in its own module.
CLOSE = """
    F Tensor nn torch OrderedDict Net NetOutput Unit Module Sequential self x x1 out
    output i layer module network in_channels mid_channels out_channels width stride
    bias forward_ a_ A l_1 conv1 downsample use_shortcut features train type half
    children print super range int named_tuple matchbox object id input other unit
"""


class Place(NamedTuple):
    """A place in a spec where a name can be written.

    Attributes:
        one: a spec with the name at `$`.
        many: the line or argument that is repeated for each name.
        all: a spec with these at `%`; empty if a spec can only have one name.
        between: the separator between them.
    """

    one: str
    many: str = ""
    all: str = ""
    between: str = "\n    "


def net(*lines: str, before: str = "", head: str = "Net") -> str:
    """Return a spec of one small network."""
    body = "\n    ".join(["input 3x4x4", *lines])
    return f"arch 1\n{before}\nnetwork {head} {{\n    {body}\n}}\n"


def both(line: str, *after: str) -> Place:
    """Return a place on a line of the network."""
    return Place(net(line, *after), line, net("%", *after))


def parameter(argument: str, value: str, use: str) -> Place:
    """Return a place among the parameters of a block."""

    def spec(params: str, uses: str) -> str:
        return net("unit", before=f"block unit<{params}> {{\n    {uses}\n}}")

    return Place(spec(f"${argument} = {value}", use))


PLACES = {
    "label of a layer": both("$: conv 1x1 4"),
    "label of a function": both("$: relu"),
    "label of braces": both("$: { conv 1x1 4 -> relu }"),
    "label of braces with a class": Place(net("$: { a: conv 1x1 4; add { | @a } }")),
    "label of a container": Place(net("$.0: { a: conv 1x1 4; add { | @a } }")),
    "label in a container": both("stages.0.$: { a: conv 1x1 4; add { | @a } }"),
    "label of numbered braces": both("$: seq { conv 1x1 4 -> relu }"),
    "label of a residual": both("$: residual { conv 3x3 -> bn }"),
    "label of a merge": both("$: concat { conv 1x1 1 | conv 1x1 2 }"),
    "label of a block": Place(
        net("$: unit<4>", before="block unit<width> { conv 1x1 width -> relu }"),
        "$: unit<4>",
        net("%", before="block unit<width> { conv 1x1 width -> relu }"),
    ),
    "label of a repeat": both("$: conv 1x1 4 -> bn  x2"),
    "label in a loop": both("for n in [4, 6] { ${n}: conv 1x1 n }"),
    "label in quotes": both('"$": conv 1x1 4'),
    "label that a tap reads": both("$: conv 1x1 4 -> relu -> concat { | @$ }"),
    "label in a block": Place(
        net("unit", before="block unit { $: conv 1x1 4 -> bn -> relu }"),
        "$: conv 1x1 4 -> bn",
        net("unit", before="block unit {\n    %\n}"),
    ),
    "block": Place(
        net("$<4>  x2", before="block $<width> { conv 1x1 width -> relu }"),
    ),
    "block without parameters": Place(
        net("$", "relu", "$", before="block $ { a: conv 1x1 4 -> bn -> relu }"),
    ),
    "numbered block": Place(
        net("$<4>  x2", before="block $<width> seq { conv 1x1 width -> relu }"),
    ),
    "network": Place(net("conv 1x1 4", head="$<width = 2>").replace("1 4", "1 width")),
    "network with outputs": Place(
        net("conv 1x1 4", "training output conv 1x1 2", head="$"),
    ),
    "preset": Place(net("conv 1x1 4") + "default preset $ = Net\n"),
    "width of a block": parameter("", "4", "conv 1x1 $ -> relu -> conv 1x1 ($ * 2)"),
    "float of a block": parameter("", "0.5", "conv 1x1 4 -> dropout $"),
    "kernel of a block": parameter(": kernel", "3x3", "conv $ 4 -> relu"),
    "kind of a block": parameter(": kind", "relu", "conv 1x1 4 -> $"),
    "block of a block": Place(
        net(
            "unit",
            before="block part { conv 1x1 4 -> bn }\n"
            "block unit<$: block = part> { $  x2 }",
        )
    ),
    "list of a block": parameter(
        ": list", "[4, 6]", "for width in $ { conv 1x1 width }"
    ),
    "test of a block": parameter(": bool", "true", "if $ { bn }\n    conv 1x1 4"),
    "count of a block": parameter("", "2", "conv 1x1 4 -> relu  x($)"),
    "required parameter": Place(
        net(
            "unit<4>",
            "unit<6>",
            before="block unit<$, b = 2> {\n    residual { conv 1x1 $ -> bn }\n"
            "    conv 1x1 ($ * b)\n}",
        )
    ),
    "parameter of a network": Place(net("conv 1x1 $", head="Net<$ = 4>")),
    "loop variable": both("for $ in [4, 6] { conv 1x1 $ -> relu }"),
    "index of a loop": both("for $, width in [4, 6] { conv 1x1 (width + $) }"),
    "part of an item": both(
        "for [$, width] in [[1, 4], [3, 6]] { conv $x$ width }".replace(
            "$x$", "1x1"
        ).replace("width }", "(width + $) }")
    ),
    "value": both("$ = 4", "conv 1x1 $"),
    "value of a block": Place(
        net(
            "unit<4>",
            "unit<8>",
            before="block unit<width> {\n    $ = width * 2 + 1\n    conv 1x1 $\n"
            "    relu\n    conv 1x1 $\n}",
        )
    ),
    "variable of a comprehension": Place(
        net("conv 1x1 (sum([$ for $ in [1, 2]]))"),
    ),
    "function": Place(
        net("conv 1x1 ($(4))", before="fn $(n) = n + 1"),
    ),
    "parameter of a function": Place(net("conv 1x1 (f(4))", before="fn f($) = $ + 1")),
    "input": Place(
        "arch 1\nnetwork Net {\n    input $ 3x4x4\n    input other 3x4x4\n"
        "    add { | @other }\n    conv 1x1 4\n}\n",
    ),
    "second input": Place(
        "arch 1\nnetwork Net {\n    input first 3x4x4\n    input $ 3x4x4\n"
        "    add { | @$ }\n    conv 1x1 4\n}\n",
    ),
    "output": Place(
        net("conv 1x1 4", "output $: conv 1x1 2"),
    ),
    "training output": Place(
        net("a: conv 1x1 4", "training output @a -> $: conv 1x1 2", "relu"),
    ),
}


# A keyword followed by a number is an ordinary name.
NUMBERED = {"label of a repeat", "label in a loop"}


# ---- the result for a spec -------------------------------------------------------


@cache
def refusal(text: str) -> frozenset[str]:
    """Return the codes of a spec's errors."""
    try:
        archdsl.loads(text)
    except archdsl.SpecError as error:
        return frozenset(d.code for d in error.diagnostics)
    return frozenset()


def check_runs(text: str) -> nn.Module:
    """Check that a spec's module runs and agrees with the analysis."""
    network = archdsl.loads(text)
    with emitted_once():
        emitted = archdsl.emit(network)
        check_harmless(emitted)
        module = archdsl.build(network)
    analysis = archdsl.analyze(network)
    counted = sum(p.numel() for p in module.parameters())
    assert counted == analysis.params, emitted
    inputs = [torch.rand(2, *port.shape) for port in network.inputs]
    module.eval()
    result = module(*inputs)
    results = [result] if isinstance(result, Tensor) else [*result.values()]
    always = [port for port in network.outputs if not port.training]
    assert [(2, *p.shape) for p in always] == [tuple(r.shape) for r in results]
    # The key of a bare parameter has no part after the layer's name.
    wanted = {
        f"{step.path}.{tensor.name}".rstrip(".")
        for step in network.steps()
        for tensor in step.op.tensors(*step.input_shapes)
    }
    assert set(module.state_dict()) == wanted
    return module


def check_harmless(emitted: str) -> None:
    """Check that a module only imports torch, and runs nothing on import."""
    tree = ast.parse(emitted)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {a.name for a in node.names} <= IMPORTS
        elif isinstance(node, ast.ImportFrom):
            assert {f"{node.module}.{a.name}" for a in node.names} <= IMPORTS
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name in ("__init__", "__name__", "_asdict") or name[0] != "_"
    for node in tree.body:
        guarded = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        defines = isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)
        assert guarded or text or defines, ast.unparse(node)


def fill(spec: str, name: str) -> str:
    return spec.replace("$", name)


# ---- names ----------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES, scope="module")
def test_every_name_is_refused_in_words(place: str) -> None:
    one = PLACES[place].one
    for name in NAMES:
        found = refusal(fill(one, name))
        assert "A0103" in found or len(found) <= 2, (name, found)
        if name[0] == "_" or (keyword.iskeyword(name) and place not in NUMBERED):
            assert found & {"A0103", "A0001"}, (name, found)


@pytest.mark.parametrize("place", PLACES, scope="module")
def test_close_names_run(place: str) -> None:
    one = PLACES[place].one
    for name in CLOSE.split():
        if not refusal(fill(one, name)):
            try:
                check_runs(fill(one, name))
            except Exception as error:
                error.add_note(fill(one, name))
                raise


@pytest.mark.parametrize("place", [p for p in PLACES if PLACES[p].all], scope="module")
def test_all_names_of_a_kind_at_once(place: str) -> None:
    one, many, all_, between = PLACES[place]
    kept = [n for n in NAMES if not refusal(fill(one, n))]
    # With numbers appended, names must not become equal.
    kept = [n for n in kept if not (n[-1].isdigit() or n[-1] == "_")]
    lines = [fill(many, n) for n in kept]
    for start in range(0, len(lines), 60):
        text = all_.replace("%", between.join(lines[start : start + 60]))
        text = fill(text, kept[start])
        if not refusal(text) & {"A0101", "A0105"}:
            check_runs(text)


def test_reserved_labels_are_the_attributes_of_modules() -> None:
    found = {n for module in MODULES for n in dir(module) if not n.startswith("_")}
    assert found == MODULE_ATTRIBUTES


@pytest.mark.parametrize("name", sorted(MODULE_ATTRIBUTES))
def test_attributes_of_modules_are_no_labels(name: str) -> None:
    plain = fill(PLACES["label of a layer"].one, name)
    assert refusal(plain) == {"A0001" if name == "training" else "A0103"}
    quoted = fill(PLACES["label in quotes"].one, name)
    assert refusal(quoted) == {"A0103"}


@pytest.mark.parametrize("word", sorted(words()))
def test_layer_kinds_cannot_be_defined_again(word: str) -> None:
    assert "A0103" in refusal(fill(PLACES["block"].one, word))


PAIRS = [
    ("conv_bn", "convBn"),
    ("conv_bn", "ConvBn"),
    ("unit", "Unit"),
    ("net", "Net"),
    ("a_b_c", "aBC"),
    ("tensor", "Tensor"),
    ("named_tuple", "NamedTuple"),
    ("ordered_dict", "OrderedDict"),
    ("net_output", "NetOutput"),
    ("unit2", "unit_2"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_blocks_whose_classes_would_collide(first: str, second: str) -> None:
    text = net(
        f"a: {first}<4>",
        f"b: {second}<6>",
        f"c: {first}<8>",
        "output head: conv 1x1 1",
        before=f"block {first}<width> {{ conv 1x1 width -> relu }}\n"
        f"block {second}<width> {{ conv 3x3 width -> bn -> relu }}",
    )
    if refusal(text) & {"A0101", "A0103"}:
        return
    module = check_runs(text)
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    assert shapes["a.conv1.weight"] == (4, 3, 1, 1)
    assert shapes["b.conv1.weight"] == (6, 4, 3, 3)


@pytest.mark.parametrize("network", ["unit", "Unit", "tensor", "Tensor", "F", "nn"])
def test_a_network_named_like_a_class(network: str) -> None:
    text = net(
        "unit<4>",
        "output aux: conv 1x1 1",
        before="block unit<width> { conv 1x1 width -> relu }",
        head=network,
    )
    if not refusal(text) & {"A0101", "A0103"}:
        check_runs(text)


@pytest.mark.parametrize("name", ["x", "x1", "out", "i", "width", "module", "layer"])
def test_one_name_everywhere(name: str) -> None:
    """A label, a parameter, a value and a loop variable can have the same name."""
    text = f"""arch 1
block unit<{name}, b = 2> {{
    {name}: conv 1x1 {name} -> bn -> relu
    concat {{ | @{name} }}
    conv 1x1 ({name} * b)
}}
network Net<{name} = 4> {{
    input 3x4x4
    {name}: unit<{name}>
    residual {{ conv 3x3 {name} -> bn | @{name} -> conv 1x1 {name} }}
    output @{name} -> aux: conv 1x1 1
}}
"""
    if not refusal(text) & {"A0001", "A0103"}:
        check_runs(text)


@pytest.mark.parametrize(
    "label",
    [
        "a b",
        "a.b",
        "a\\nb",
        "a'b",
        "a`b",
        "",
        " ",
        "-",
        "1",
        "a-b",
        "a--b",
        "a-b.0",
        "a.b-0",
        "-a",
        "a{1}",
        "{1}",
        "a{{1}}",
        "a);import os;(",
        "__import__('os')",
        "a\\",
        "%s",
        "{x}",
        "é",
        "\uff41",
        "a\u200db",
        "a" * 100,
        "a" * 101,
    ],
)
def test_labels_in_quotes(label: str) -> None:
    text = net(f'"{label}": conv 1x1 4', "relu")
    found = refusal(text)
    assert found <= {"A0103", "A0001", "A0002", "A0104"}
    if not found:
        module = check_runs(text)
        name = next(iter(dict(module.named_children())))
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name)


@pytest.mark.parametrize("label", ["blocks.0", "stage.blocks.0", '"a-b"', '"a.b-c"'])
def test_a_parameter_has_no_label_that_only_a_module_can_have(label: str) -> None:
    assert refusal(net(f"{label}: layerscale")) == {"A0302"}
    check_runs(net(f"{label}: {{ layerscale; relu }}"))


# ---- comments and strings -------------------------------------------------------

HOSTILE = [
    '"""',
    "'''",
    'a """ b',
    '"',
    'ends with a quote"',
    "\\",
    "ends with a backslash\\",
    '\\"""',
    "\\N{BULLET} \\x41 \\u0041 \\101 \\n",
    "{x} {0} {} %s %(x)s $x",
    "f\"{__import__('os').system('true')}\"",
    "*/ --> ]]> -- ; DROP TABLE",
    "# more # signs ###",
    "an \ufb01 ligature, ñ, 漢字, 🙂, \u00a0nbsp, \u2028line, \u2029paragraph",
    "homoglyphs: \u0441l\u0430ss N\u0435t",
    "x" * 500,
    "word " * 200,
    "    indented",
    "\ttab\tin\tit",
    ">>> import os",
    "Args:\n#     x: nothing.\n#\n# Raises:\n#     all",
    '"""\n# import os\n# """',
    "",
]


COMMENTS = [
    *(f"{sign}{text}" for text in HOSTILE for sign in ("#", "# ")),
    "\n".join(f"# {text}" for text in HOSTILE[:8]),
]


@pytest.mark.parametrize("comment", COMMENTS)
def test_comments_become_docstrings_and_nothing_else(comment: str) -> None:
    plain = net("unit<4>", "relu", before="block unit<width> { conv 1x1 width }")
    text = plain.replace("block", f"{comment}\nblock", 1).replace(
        "network", f"{comment}\nnetwork", 1
    )
    emitted = archdsl.emit(archdsl.loads(text))
    check_runs(text)
    without = archdsl.emit(archdsl.loads(plain))
    assert code_of(emitted) == code_of(without)


def code_of(emitted: str) -> str:
    """Return a module without its docstrings."""
    tree = ast.parse(emitted)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body[0] = ast.Pass()
    return ast.unparse(tree)


STRINGS = [
    "bn",
    "",
    "'",
    "a'b",
    "\\",
    "\\n",
    "\\'",
    "a\\",
    "{x}",
    "%s",
    "');import os;('",
    "漢字 🙂",
    "x" * 1000,
    "# no comment",
    "} network n {",
]


@pytest.mark.parametrize("string", STRINGS)
def test_strings(string: str) -> None:
    text = f"""arch 1
block unit<norm = "{string}", width = 4> {{
    conv 1x1 width
    if norm == "{string}" {{
        bn
    }}
}}
network Net<kind = "{string}"> {{
    input 3x4x4
    unit
    unit<kind>
    unit<"other", 6>
    relu if kind in ["{string}", "x"]
}}
"""
    module = check_runs(text)
    norms = [n for n, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == ["unit1.bn1", "unit2.bn1"]


@pytest.mark.parametrize(
    "path",
    [
        "os",
        "os; import sys",
        "os.system('true')",
        "a.b\\nimport os",
        "a..b",
        ".a.b",
        "a.b.",
        "a b.c",
        "a-b.c",
        "__import__.b",
        "a.__class__",
        "a._b",
        "class.b",
        "a.import",
        "",
        "a.b # c",
        "\u0430.b",
    ],
)
def test_paths_of_foreign_layers(path: str) -> None:
    text = net("gate", before=f'op gate {{ torch = "{path}" }}')
    assert refusal(text) <= {"A0204", "A0103"} and refusal(text)


@pytest.mark.parametrize("name", CLOSE.split())
def test_foreign_layers(name: str) -> None:
    text = net(
        f"{name} 4",
        f"conv 1x1 8 -> {name} 6",
        before=f"op {name}<width: int> {{\n"
        f'    torch = "layers.{name}"\n'
        "    shape = [width, in_height, in_width]\n}",
    )
    if not refusal(text):
        emitted = archdsl.emit(archdsl.loads(text))
        compile(emitted, "module", "exec")
        assert f"from layers import {name}\n" in emitted


def test_foreign_layers_are_not_built_unasked() -> None:
    text = net("gate", before='op gate { torch = "os.path" }')
    with pytest.raises(Exception, match=r"os\.path"):
        archdsl.build(archdsl.loads(text))
