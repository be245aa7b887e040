"""What each error code means, with an example of it.

`archdsl explain` prints an entry, and `docs/errors.md` shows all of them.
"""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

from archdsl.limits import (
    MAX_BRANCHES,
    MAX_CHECKED,
    MAX_DEPTH,
    MAX_DRAWN,
    MAX_FILE_BYTES,
    MAX_FOLDERS,
    MAX_IMPORTS,
    MAX_NAMES,
    MAX_PARTS,
    MAX_REPEAT,
    MAX_STEPS,
    MAX_TOKENS,
    NETWORK_PARTS,
)


class Entry(NamedTuple):
    """The explanation of one code.

    Attributes:
        title: what is wrong, in a few words.
        text: when it is said and why, in a few plain sentences.
        wrong: a spec that has the error; empty where no short one can.
        right: the same spec, repaired.
        run: arguments of `archdsl` with which each of the two is shown, for an error
            of the command line; else empty.
        alone: whether the specs can be shown in print and need no other file.
    """

    title: str
    text: str
    wrong: str
    right: str
    run: tuple[str, str] = ("", "")
    alone: bool = True

    def __str__(self) -> str:
        parts = [self.title, textwrap.fill(self.text, 80)]
        for heading, spec, run in (
            ("Wrong:", self.wrong, self.run[0]),
            ("Right:", self.right, self.run[1]),
        ):
            if spec:
                lines = [*([f"$ archdsl {run}"] if run else []), *spec.splitlines()]
                parts.append("\n".join([heading, "", *(f"    {x}" for x in lines)]))
        return "\n\n".join(parts).replace("    \n", "\n")


def _net(*statements: str, before: str = "", after: str = "") -> str:
    """Return a spec of one small network."""
    body = "".join(f"    {line}\n" for line in statements)
    head = f"{before}\n\n" if before else ""
    tail = f"\n{after}\n" if after else ""
    return f"arch 1\n\n{head}network net {{\n    input 3x32x32\n{body}}}\n{tail}"


_UNIT = "block unit<width> {\n    conv 3x3 width -> bn -> relu\n}"

_SYNTAX: Final = {
    "A0001": Entry(
        "something is out of place",
        "The file does not follow the grammar at this place: a word, a sign or the "
        "end of a line comes where something else is needed. The message says what, "
        "if only a few things could stand there.",
        _net("conv 3x3, 16"),
        _net("conv 3x3 16"),
    ),
    "A0002": Entry(
        "a character means nothing here",
        "No word, number or sign of the language begins with this character. Often "
        "it is a sign of another language, or one that only looks like the right "
        "one, such as a typographic quote. Letters outside ASCII stand in comments "
        "only.",
        _net("conv 3x3 $width"),
        _net("conv 3x3 16"),
    ),
    "A0003": Entry(
        "a bracket is never closed",
        "Every `{`, `(`, `[` and `<` needs its partner. Where the indentation shows "
        "which one is left open, that one is named.",
        _net("conv 3x3 16").removesuffix("}\n"),
        _net("conv 3x3 16"),
    ),
    "A0004": Entry(
        "a bracket closes nothing",
        "A `}`, `)` or `]` stands here, and no bracket of its kind is open.",
        _net("conv 3x3 16") + "}\n",
        _net("conv 3x3 16"),
    ),
    "A0005": Entry(
        "the file is not UTF-8",
        "Specs are UTF-8 text. The message names the first byte that is not. Save "
        "the file in that encoding.",
        _net("conv 3x3 16  # für 16 Kanäle"),
        _net("conv 3x3 16  # für 16 Kanäle"),
        alone=False,
    ),
    "A0006": Entry(
        "the file has a control character",
        "Invisible characters, such as a form feed or a mark that turns the "
        "direction of writing, can make a spec mean something else than it shows. "
        "They are refused everywhere, in comments too.",
        _net("conv 3x3 16  # next page: \f"),
        _net("conv 3x3 16  # next page"),
        alone=False,
    ),
    "A0007": Entry(
        "the version of the language is missing or unknown",
        "The first line of a spec names the version of the language it is written "
        "in, once: `arch 1`. A later archdsl can then read it as it was meant.",
        "network net {\n    input 3x32x32\n    conv 3x3 16\n}\n",
        _net("conv 3x3 16"),
    ),
}

_NAMES: Final = {
    "A0101": Entry(
        "one name is given twice",
        "Blocks, networks, presets, functions and ops of a file share one set of "
        "names, with what it imports. Parameters of one block, inputs and outputs of "
        "a network, and values with a name must differ, too. Only one preset is the "
        "default.",
        _net("unit<16>", before=f"{_UNIT}\n\n{_UNIT.replace('3x3', '5x5')}"),
        _net(
            "unit<16>",
            "wide<16>",
            before=f"{_UNIT}\n\n{_UNIT.replace('3x3', '5x5').replace('unit', 'wide')}",
        ),
    ),
    "A0102": Entry(
        "two layers have the same path",
        "A layer's path is its name in reports and the key of its weights, so it "
        "must be the only one. A label can also take the name that a later layer "
        "without a label would get: the second unlabelled `conv` of a body is "
        "`conv2`.",
        _net("for width in [16, 32] {", "    stage: conv 3x3 width", "}"),
        _net("for i, width in [16, 32] {", "    stage{i}: conv 3x3 width", "}"),
    ),
    "A0103": Entry(
        "a name is reserved",
        "Names of a spec become attributes, arguments and classes in Python. "
        "Python's own words, attributes of torch's modules, names that compiled code "
        "uses for itself, and names that begin with an underscore would break it or "
        "mean something else.",
        _net("train: conv 3x3 16"),
        _net("stem: conv 3x3 16"),
    ),
    "A0104": Entry(
        "a name is not defined",
        "An expression reads a name that is no parameter, value, loop variable, "
        "block or layer kind here, or calls a function that does not exist. "
        "Functions call only those above them. A preset can name a network that the "
        "file does not have.",
        _net(
            "unit<16>", before="block unit<width> {\n    conv 3x3 widht\n    bn\n}"
        ).replace("bn\n", "conv 1x1 width\n"),
        _net("unit<16>", before="block unit<width> {\n    conv 3x3 width\n}"),
    ),
    "A0105": Entry(
        "something is never used",
        "A parameter, a value with a name or an imported name that nothing reads is "
        "most likely a slip: the network would not change with it.",
        _net(
            "unit<16, 2>",
            before="block unit<width, stride> {\n    conv 3x3 width\n}",
        ),
        _net(
            "unit<16, 2>",
            before="block unit<width, stride> {\n    conv 3x3 width /stride\n}",
        ),
    ),
    "A0106": Entry(
        "a word is not a layer or a block",
        "The first word of a layer is a layer kind, a block of the file or of its "
        "imports, a block of the library, or a parameter that stands for one.",
        _net("conv 3x3 16 -> maxpol 2x2"),
        _net("conv 3x3 16 -> maxpool 2x2"),
    ),
    "A0107": Entry(
        "a tap reads a label that is not there",
        "`@label` and `same label` stand for an earlier layer of the same block, in "
        "the same braces or in those around. Labels inside another block, and those "
        "that come later, cannot be read.",
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @erly }"),
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @early }"),
    ),
    "A0108": Entry(
        "a block calls itself",
        "Blocks cannot contain themselves, not even through other blocks, since that "
        "would have no end. Repeat by `x3` or by `for` instead.",
        _net("deep", before="block deep {\n    conv 3x3 -> relu\n    deep\n}"),
        _net("deep  x4", before="block deep {\n    conv 3x3 -> relu\n}"),
    ),
    "A0109": Entry(
        "there is a label in a numbered body",
        "The parts of `seq { ... }`, and of a block declared with `seq`, are named "
        "0, 1, 2 and so on, as in torch's Sequential. They take no labels.",
        _net("features: seq {", "    stem: conv 3x3 16", "    relu", "}"),
        _net("features: {", "    stem: conv 3x3 16", "    relu", "}"),
    ),
}

_ARGUMENTS: Final = {
    "A0201": Entry(
        "an argument is unknown",
        "The layer, block, op or function has no argument or setting of this name. "
        "Layer kinds take their arguments after the word, blocks take theirs in < >.",
        _net("conv 3x3 16 padding=1"),
        _net("conv 3x3 16 pad=1"),
    ),
    "A0202": Entry(
        "an argument is missing",
        "An argument without a default must be given.",
        _net("globalavgpool", "linear"),
        _net("globalavgpool", "linear 10"),
    ),
    "A0203": Entry(
        "there are too many arguments",
        "More arguments stand without a name than there are places for, or a "
        "function gets another number of them than it takes.",
        _net("conv 3x3 16 2"),
        _net("conv 3x3 16 /2"),
    ),
    "A0204": Entry(
        "a value is of the wrong type",
        "An integer, a number with a fraction, sizes such as 3x3, a truth value, a "
        "string, a list, a layer kind and a block are not taken for one another, "
        "except that an integer serves as a number. A parameter has the type that it "
        "declares, or that of its default.",
        _net("conv 3 16"),
        _net("conv 3x3 16"),
    ),
    "A0205": Entry(
        "a value is out of range",
        "The argument has a smallest and perhaps a largest value, which the message "
        "names.",
        _net("conv 3x3 16", "dropout 50"),
        _net("conv 3x3 16", "dropout 0.5"),
    ),
    "A0206": Entry(
        "an argument is given twice",
        "It stands once by its place and once by its name, or twice by name.",
        _net("conv 3x3 16 width=32"),
        _net("conv 3x3 32"),
    ),
    "A0207": Entry(
        "an expression has no value",
        "The operation is not defined for what it gets: a division by zero, an index "
        "outside a list, a sum with a list, a loop over items of another length.",
        _net("conv 3x3 ([16, 32][2])"),
        _net("conv 3x3 ([16, 32][1])"),
    ),
    "A0208": Entry(
        "braces are out of place, or missing",
        "Only `seq`, merges, `residual` and blocks with a parameter `body` take "
        "layers in braces, and braces that were passed to a block take no arguments.",
        _net("relu { conv 3x3 16 }"),
        _net("{ conv 3x3 16 -> relu }"),
    ),
    "A0209": Entry(
        "a repeat makes no sense",
        "A literal count of 0 would silently drop layers, a negative one means "
        "nothing, and `{}` in a label needs something that repeats. A computed count "
        "may be 0.",
        _net("conv 3x3 16 -> relu  x0"),
        _net("conv 3x3 16 -> relu  x2"),
    ),
    "A0210": Entry(
        "branches are not joined, or there is only one",
        "`|` separates branches, and a merge says how they are joined: `concat`, "
        "`add` or `mul`. A merge needs two branches at least, of which one may be "
        "empty. A residual has its body and at most one shortcut.",
        _net("{ conv 1x1 16 | conv 3x3 16 }"),
        _net("concat { conv 1x1 16 | conv 3x3 16 }"),
    ),
    "A0211": Entry(
        "a statement belongs to the network itself",
        "`input`, `output` and `expect` apply to a whole network, so they cannot "
        "be in a block, in a branch or in labelled braces.",
        _net("unit", before="block unit {\n    conv 3x3 16\n    expect depth == 1\n}"),
        _net("unit", "expect depth == 1", before="block unit {\n    conv 3x3 16\n}"),
    ),
}

_SHAPES: Final = {
    "A0301": Entry(
        "branches do not fit each other",
        "`add` and `mul` need branches of one shape, `concat` of one height and "
        "width. The message gives the shape of both, the layer that makes it, and "
        "the calls of blocks that lead there. A residual without a written shortcut "
        "projects its input by a strided 1x1 convolution, which cannot reach every "
        "shape.",
        _net("add { conv 3x3 16 | conv 1x1 8 }"),
        _net("add { conv 3x3 16 | conv 1x1 16 }"),
    ),
    "A0302": Entry(
        "a layer does not fit its input",
        "A convolution or a pool needs a feature map, a linear layer a vector, and "
        "some arguments exclude each other.",
        _net("conv 3x3 16", "linear 10"),
        _net("conv 3x3 16", "globalavgpool", "linear 10"),
    ),
    "A0303": Entry(
        "a window is larger than its input",
        "The kernel, with its dilation, reaches over more than the input and its "
        "padding have, so there is no position for it. Most often too many layers "
        "have halved the size before.",
        _net("maxpool 16x16", "conv 3x3 16 pad=0"),
        _net("maxpool 8x8", "conv 3x3 16 pad=0"),
    ),
    "A0304": Entry(
        "groups do not divide the channels",
        "Each group of a convolution gets the same number of input channels and "
        "makes the same number of output channels.",
        _net("conv 3x3 16 groups=2"),
        _net("conv 1x1 16", "conv 3x3 16 groups=2"),
    ),
    "A0305": Entry(
        "a result is never used",
        "What a layer makes, and what flows in, must reach an output. A chain that "
        "begins with a tap leaves the value before it, which something else has to "
        "read.",
        _net("early: conv 3x3 16", "conv 3x3 16", "@early -> relu"),
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @early } -> relu"),
    ),
    "A0306": Entry(
        "there is no input",
        "A network begins with `input` and the shape of one sample, before any layer.",
        "arch 1\n\nnetwork net {\n    conv 3x3 16\n}\n",
        _net("conv 3x3 16"),
    ),
}

_CLIP: Final = """op clip {
    torch = "torch.nn.Hardtanh"
    pointwise = true
}"""

_CLAIMS: Final = {
    "A0401": Entry(
        "a claim does not hold",
        "`expect` states a figure, and the network has another one. Either the spec "
        "or the claim is wrong. Claims are not checked when parameters or the input "
        "are changed from outside.",
        _net("conv 3x3 16", "expect params == 432"),
        _net("conv 3x3 16", "expect params == 448"),
    ),
    "A0402": Entry(
        "a claim cannot be checked",
        "A claim compares a figure of the network with an expression, such as "
        "`params == 1_000`, or names sizes after it, such as `output 16x32x32`.",
        _net("conv 3x3 16", "expect weights == 448"),
        _net("conv 3x3 16", "expect params == 448"),
    ),
    "A0403": Entry(
        "a claim can be neither proven nor refuted",
        "A foreign op may read any of its input, unless the spec says that it is "
        "pointwise. So of the receptive fields after it only an upper bound is known: "
        "no unit sees more. Only a claim that they are no larger can be proven.",
        _net(
            "conv 3x3 16 -> clip",
            "expect receptive_field == 3x3",
            before=_CLIP.replace("    pointwise = true\n", ""),
        ),
        _net(
            "conv 3x3 16 -> clip",
            "expect receptive_field == 3x3",
            before=_CLIP,
        ),
    ),
}

_FILES: Final = {
    "A0501": Entry(
        "a file or library is not there",
        "The path or name leads to no regular file. Imports are relative to the file "
        "they stand in; a name without quotes is a library that comes with archdsl.",
        _net("conv 3x3 16", before="import inception from preludes"),
        _net("inception<8, 4, 8, 4, 8, 8>", before="import inception from prelude"),
    ),
    "A0502": Entry(
        "an import leaves the spec's folder",
        "A spec reads files in its own folder and below, and no others, so that a "
        "spec from elsewhere can do no harm. A spec that is no file itself imports "
        "none.",
        _net("unit<16>", before='import unit from "../units.arch"'),
        _net("unit<16>", before=_UNIT),
    ),
    "A0503": Entry(
        "the imports form a circle",
        "A file imports itself, directly or through others. Move what both need "
        "into a third file.",
        _net("unit<16>", before=f'import unit from "net.arch"\n\n{_UNIT}'),
        _net("unit<16>", before=_UNIT),
        alone=False,
    ),
    "A0504": Entry(
        "a file does not define what is imported",
        "Blocks, functions and ops can be imported by their names, networks and "
        "presets cannot.",
        _net("inceptions<8, 4, 8, 4, 8, 8>", before="import inceptions from prelude"),
        _net("inception<8, 4, 8, 4, 8, 8>", before="import inception from prelude"),
    ),
}

_FAMILY = _net("conv 3x3 width").replace("net {", "net<width = 16> {")

_TWO = _net("conv 3x3 16") + _net("conv 3x3 32").removeprefix("arch 1\n").replace(
    "network net", "network wide"
)

_CHOICE: Final = {
    "A0601": Entry(
        "it is not clear which network is meant",
        "The file defines no network, or several and no default. Name one after a "
        "colon, or mark a preset as the default.",
        _TWO,
        f"{_TWO}\ndefault preset small = net\n",
    ),
    "A0602": Entry(
        "there is no such preset",
        "The name after the colon is neither a preset nor a network of the file.",
        f"{_FAMILY}\npreset small = net<8>\n",
        f"{_FAMILY}\npreset small = net<8>\n",
        ("analyze net.arch:large", "analyze net.arch:small"),
    ),
    "A0603": Entry(
        "the network has no such parameter",
        "`-D` sets a parameter of the network by its name.",
        _FAMILY,
        _FAMILY,
        ("analyze net.arch -D depth=8", "analyze net.arch -D width=8"),
    ),
}

_PRELU = """arch 1

# nn.PReLU has one parameter, unless it is told of more.
op prelu_ {{
    torch = "{name}"
    params = {params}
    pointwise = true
}}

network net {{
    input 3x32x32
    conv 3x3 8 -> prelu_
}}
"""

_AGREEMENT: Final = {
    "A0701": Entry(
        "the analysis and torch differ",
        "`archdsl check --torch` builds the module and compares every figure. What a "
        "spec declares of a foreign layer may be wrong; otherwise archdsl is.",
        _PRELU.format(name="torch.nn.PReLU", params=8),
        _PRELU.format(name="torch.nn.PReLU", params=1),
        ("check --torch net.arch", "check --torch net.arch"),
    ),
    "A0702": Entry(
        "the class of an op cannot be imported",
        "`archdsl check --torch --allow-foreign` imports what the spec's `op`s name. "
        "The module is not where Python looks, lacks the class, or fails when it is "
        "imported. Nothing is known then about the layer.",
        _PRELU.format(name="no_such_module.PReLU", params=1),
        _PRELU.format(name="torch.nn.PReLU", params=1),
        (
            "check --torch --allow-foreign net.arch",
            "check --torch --allow-foreign net.arch",
        ),
    ),
    "A0703": Entry(
        "it is not known how another tool counts something",
        "`--count` gives the figure of another tool to the unit. Where its rules for a "
        "function are not known, there is no figure, rather than a wrong one.",
        "",
        "",
    ),
}

_LARGE: Final = "arch 1\n\n" + "\n".join(
    f"network {name} {{{{\n    input 3x8x8\n    relu  x{{count}}\n"
    "    relu  x{count}\n}}\n"
    for name in ("one", "two", "three")
)

_PICTURES: Final = {
    "A0801": Entry(
        "the network is no chain",
        "`--style volumes` draws a network in which each layer reads the one before "
        "it. Blocks are closed where that leaves a chain, but here it does not, or "
        "`--depth` keeps them open.",
        _net("concat { conv 3x3 8 | conv 1x1 8 }"),
        _net("conv 3x3 8"),
        ("render --style volumes net.arch", "check net.arch"),
    ),
    "A0802": Entry(
        "the network is no U",
        "`--style unet` draws a network of maps that get smaller and then larger, "
        "where two arrows or more lead from the way down to the way up, the first to "
        "the last. Blocks are closed until it is one; here it is none even then, or "
        "`--depth` or `--unfold` keeps them open.",
        _net("conv 3x3 8 -> conv 3x3 8"),
        _net(
            "a: conv 3x3 8\n    maxpool 2x2 /2 -> b: conv 3x3 8\n"
            "    maxpool 2x2 /2 -> conv 3x3 8 -> upsample 2x2\n"
            "    concat { | @b } -> conv 3x3 8 -> upsample 2x2\n"
            "    concat { | @a } -> conv 3x3 8"
        ),
        ("render --style unet net.arch", "render --style unet net.arch"),
    ),
}

_LIMITS: Final = {
    "A0901": Entry(
        "the file is too large",
        f"A spec has at most {MAX_FILE_BYTES:,} bytes, and {MAX_TOKENS:,} words and "
        "signs. Networks of any depth fit into less by `x`, `for` and blocks.",
        "",
        "",
    ),
    "A0902": Entry(
        "something nests too deep",
        f"Brackets, operators, blocks and braces nest at most {MAX_DEPTH} levels "
        "deep, each "
        "for itself. Give the parts names, or repeat by `x` or `for`.",
        _net(f"conv 3x3 {'(' * 65}16{')' * 65}"),
        _net("conv 3x3 16"),
    ),
    "A0903": Entry(
        "a number is too large",
        "Integers, and the sizes of a tensor along each axis, fit into 31 bits.",
        _net("conv 3x3 16_000_000_000"),
        _net("conv 3x3 16"),
    ),
    "A0904": Entry(
        "the network is too large",
        f"A network has at most {MAX_PARTS:,} layers and blocks. They are counted "
        "before they "
        "are made, so that a short spec cannot ask for endless work.",
        _net("relu  x10_000", "relu  x10_000", "relu  x10_000").replace("_", ""),
        _net("relu  x100"),
    ),
    "A0905": Entry(
        "too many files are imported",
        f"One spec imports at most {MAX_IMPORTS} files, directly or not.",
        "",
        "",
    ),
    "A0906": Entry(
        "a repeat, a list or a merge is too long",
        f"A repeat, a range and a list have at most {MAX_REPEAT:,} items, those "
        "of the lists in "
        f"a list included. A merge has at most {MAX_BRANCHES:,} branches.",
        _net("relu  x1000000000"),
        _net("relu  x10"),
    ),
    "A0907": Entry(
        "the spec asks for too much work",
        f"Loops, expressions and calls together take at most {MAX_STEPS:,} steps, "
        "and a single "
        "expression of parameters cannot grow beyond what a constructor could carry.",
        _net(
            "for i in range(10_000) {",
            "    for j in range(10_000) {",
            "        relu if i == j + 1",
            "    }",
            "}",
        ),
        _net("relu  x10"),
    ),
    "A0908": Entry(
        "a block has too many names",
        "Parameters, values with a name and loop variables of one block are at most "
        f"{MAX_NAMES}. Lists hold many values under one name.",
        "",
        "",
    ),
    "A0909": Entry(
        "there is too much to check at once",
        "All presets and networks of a file that are checked at once have at most "
        f"{MAX_CHECKED:,} layers together, where each of them counts as "
        f"{NETWORK_PARTS} more. Check them by their names, `SPEC:NAME`, or in files of "
        f"their own. A folder that stands for its specs has at most {MAX_FOLDERS:,} "
        "folders below it.",
        _LARGE.format(count=7000),
        _LARGE.format(count=70),
        ("check net.arch", "check net.arch"),
    ),
    "A0910": Entry(
        "the picture is too large",
        f"The arrows of a picture cross at most {MAX_DRAWN:,} rows together, since the "
        "time of a layout engine grows faster than these. Folded repeats count once. "
        "The dot text, which needs no engine, has no such limit.",
        _net("conv 3x3 3  x3000"),
        _net("conv 3x3 3  x30"),
        ("render --unfold net.arch -o net.svg", "check net.arch"),
    ),
}

CODES: Final = {
    **_SYNTAX,
    **_NAMES,
    **_ARGUMENTS,
    **_SHAPES,
    **_CLAIMS,
    **_FILES,
    **_CHOICE,
    **_AGREEMENT,
    **_PICTURES,
    **_LIMITS,
}

SECTIONS: Final = {
    "A00": "Syntax",
    "A01": "Names",
    "A02": "Arguments, expressions and statements",
    "A03": "Shapes and the graph",
    "A04": "Claims",
    "A05": "Files",
    "A06": "The choice of a network",
    "A07": "Agreement with torch",
    "A08": "Pictures",
    "A09": "Limits",
}
