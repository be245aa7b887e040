"""The explanation of each error code, with an example.

`archdsl explain` prints one, and `docs/errors.md` has all of them.
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
    MAX_RUN,
    MAX_RUN_MACS,
    MAX_STEPS,
    MAX_TOKENS,
    MAX_WRITTEN,
    NETWORK_PARTS,
)


class Entry(NamedTuple):
    """The explanation of one code.

    Attributes:
        title: what is wrong, in a few words.
        text: when the error occurs and why, in a few sentences.
        wrong: a spec with the error; empty if no short spec has it.
        right: the same spec, repaired.
        run: for errors that depend on the command line, the arguments of `archdsl`
            for each of the two specs; otherwise empty.
        alone: whether the specs are printable and need no other file.
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
        "The file does not follow the grammar here: there is a word, a symbol or the "
        "end of a line where something else is expected. If there are only a few "
        "possibilities, the message lists them.",
        _net("conv 3x3, 16"),
        _net("conv 3x3 16"),
    ),
    "A0002": Entry(
        "a character means nothing here",
        "No word, number or symbol of the language begins with this character. Often "
        "it is a symbol from another language, or one that only looks like the right "
        "one, such as a typographic quote. Letters outside ASCII are only allowed in "
        "comments.",
        _net("conv 3x3 $width"),
        _net("conv 3x3 16"),
    ),
    "A0003": Entry(
        "a bracket is never closed",
        "Every `{`, `(`, `[` and `<` needs a matching closing bracket. If the "
        "indentation shows which one is left open, the message points at it.",
        _net("conv 3x3 16").removesuffix("}\n"),
        _net("conv 3x3 16"),
    ),
    "A0004": Entry(
        "a bracket closes nothing",
        "There is a `}`, `)` or `]` here, but no bracket of its kind is open.",
        _net("conv 3x3 16") + "}\n",
        _net("conv 3x3 16"),
    ),
    "A0005": Entry(
        "the file is not UTF-8",
        "Specs are UTF-8 text. The message gives the first byte that is not valid. "
        "Save the file as UTF-8.",
        _net("conv 3x3 16  # für 16 Kanäle"),
        _net("conv 3x3 16  # für 16 Kanäle"),
        alone=False,
    ),
    "A0006": Entry(
        "the file has a control character",
        "Invisible characters, such as a form feed or a mark that changes the "
        "direction of writing, can make a spec look different from what it means. "
        "They are refused everywhere, even in comments.",
        _net("conv 3x3 16  # next page: \f"),
        _net("conv 3x3 16  # next page"),
        alone=False,
    ),
    "A0007": Entry(
        "the version of the language is missing or unknown",
        "The first line of a spec gives the version of the language that it is written "
        "in: `arch 1`. Later versions of archdsl can then still read it as intended.",
        "network net {\n    input 3x32x32\n    conv 3x3 16\n}\n",
        _net("conv 3x3 16"),
    ),
}

_NAMES: Final = {
    "A0101": Entry(
        "a name is defined twice",
        "The blocks, networks, presets, functions and ops of a file, and what it "
        "imports, must all have different names. So must the parameters of a block, "
        "the inputs and outputs of a network, and named values. Only one preset can "
        "be the default.",
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
        "must be unique. A label can also clash with the name that a layer without a "
        "label gets: the second unlabelled `conv` of a body is `conv2`.",
        _net("for width in [16, 32] {", "    stage: conv 3x3 width", "}"),
        _net("for i, width in [16, 32] {", "    stage{i}: conv 3x3 width", "}"),
    ),
    "A0103": Entry(
        "a name is reserved",
        "The names in a spec become attributes, arguments and classes in Python. "
        "Keywords of Python, attributes of torch modules, names that compiled code "
        "uses itself, and names that begin with an underscore would break the code or "
        "change its meaning.",
        _net("train: conv 3x3 16"),
        _net("stem: conv 3x3 16"),
    ),
    "A0104": Entry(
        "a name is not defined",
        "An expression uses a name that is not a parameter, value, loop variable, "
        "block or layer kind here, or it calls a function that does not exist. A "
        "function can only call functions defined above it. The error also occurs if a "
        "preset refers to a network that the file does not define.",
        _net(
            "unit<16>", before="block unit<width> {\n    conv 3x3 widht\n    bn\n}"
        ).replace("bn\n", "conv 1x1 width\n"),
        _net("unit<16>", before="block unit<width> {\n    conv 3x3 width\n}"),
    ),
    "A0105": Entry(
        "something is never used",
        "A parameter, named value or import that is never used is most likely a "
        "mistake: changing it would not change the network.",
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
        "A layer begins with a layer kind, a block that the file defines or imports, a "
        "library block, or a parameter that stands for one of these.",
        _net("conv 3x3 16 -> maxpol 2x2"),
        _net("conv 3x3 16 -> maxpool 2x2"),
    ),
    "A0107": Entry(
        "a tap reads a label that does not exist",
        "`@label` and `same label` refer to an earlier layer of the same block, in "
        "the same braces or in enclosing ones. Labels inside other blocks, and labels "
        "that come later, cannot be used.",
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @erly }"),
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @early }"),
    ),
    "A0108": Entry(
        "a block calls itself",
        "Blocks cannot contain themselves, not even through other blocks, since the "
        "network would never end. Use `x3` or `for` to repeat something.",
        _net("deep", before="block deep {\n    conv 3x3 -> relu\n    deep\n}"),
        _net("deep  x4", before="block deep {\n    conv 3x3 -> relu\n}"),
    ),
    "A0109": Entry(
        "there is a label in a numbered body",
        "The parts of `seq { ... }`, and of a block declared with `seq`, are named "
        "0, 1, 2 and so on, as in torch's Sequential, so they cannot have labels.",
        _net("features: seq {", "    stem: conv 3x3 16", "    relu", "}"),
        _net("features: {", "    stem: conv 3x3 16", "    relu", "}"),
    ),
    "A0110": Entry(
        "an older name of a layer is wrong",
        "`renamed from` says what a layer or block was called in older checkpoints, "
        "in place of its name now. It must follow something that has a name, and two "
        "parts of a body cannot have the same older name.",
        _net(
            'norm1: bn renamed from "norm.1"',
            "conv 3x3 16",
            'norm2: bn renamed from "norm.1"',
        ),
        _net(
            'norm1: bn renamed from "norm.1"',
            "conv 3x3 16",
            'norm2: bn renamed from "norm.2"',
        ),
    ),
    "A0111": Entry(
        "the parts to register first are wrong",
        "`register` names parts of its body in the order that they have in the "
        "`state_dict`; the others follow in the order in which they run. Each must "
        "have weights or buffers, and some part must change its place, in at least one "
        "call of the block. A body has one such statement, which names each part once.",
        _net("register conv1", "conv 3x3 16", "conv 3x3 16"),
        _net("register conv2", "conv 3x3 16", "conv 3x3 16"),
    ),
}

_ARGUMENTS: Final = {
    "A0201": Entry(
        "an argument is unknown",
        "The layer, block, op or function has no argument or setting with this name. "
        "Arguments of layers follow the layer kind; those of blocks are in < >.",
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
        "There are more unnamed arguments than the layer or block accepts, or a "
        "function is called with the wrong number of arguments.",
        _net("conv 3x3 16 2"),
        _net("conv 3x3 16 /2"),
    ),
    "A0204": Entry(
        "a value is of the wrong type",
        "Integers, numbers with a fraction, sizes such as 3x3, truth values, strings, "
        "lists, layer kinds and blocks are different types. Only an integer is also "
        "accepted as a number. A parameter has the type that it declares, or that of "
        "its default.",
        _net("conv 3 16"),
        _net("conv 3x3 16"),
    ),
    "A0205": Entry(
        "a value is out of range",
        "The argument has a smallest and possibly a largest value, which the message "
        "gives.",
        _net("conv 3x3 16", "dropout 50"),
        _net("conv 3x3 16", "dropout 0.5"),
    ),
    "A0206": Entry(
        "an argument is given twice",
        "It is given both by position and by name, or twice by name.",
        _net("conv 3x3 16 width=32"),
        _net("conv 3x3 32"),
    ),
    "A0207": Entry(
        "an expression has no value",
        "The operation is not defined for these operands: a division by zero, an index "
        "outside a list, a sum with a list, or a loop over items of another length.",
        _net("conv 3x3 ([16, 32][2])"),
        _net("conv 3x3 ([16, 32][1])"),
    ),
    "A0208": Entry(
        "braces are out of place, or missing",
        "Only `seq`, merges, `residual` and blocks with a parameter `body` take "
        "layers in braces. Braces that were passed to a block take no arguments.",
        _net("relu { conv 3x3 16 }"),
        _net("{ conv 3x3 16 -> relu }"),
    ),
    "A0209": Entry(
        "a repeat makes no sense",
        "A literal count of 0 would silently remove layers, and a negative count has "
        "no meaning. `{}` in a label needs a repeat. A computed count can be 0.",
        _net("conv 3x3 16 -> relu  x0"),
        _net("conv 3x3 16 -> relu  x2"),
    ),
    "A0210": Entry(
        "branches are not joined, or there is only one",
        "`|` separates branches, and a merge defines how they are joined: `concat`, "
        "`add` or `mul`. A merge needs at least two branches, one of which can be "
        "empty. A residual takes a body and at most one shortcut.",
        _net("{ conv 1x1 16 | conv 3x3 16 }"),
        _net("concat { conv 1x1 16 | conv 3x3 16 }"),
    ),
    "A0211": Entry(
        "a statement belongs to the network itself",
        "`input`, `training output` and `expect` apply to a whole network, so they "
        "cannot be in a block, in a branch or in labelled braces. `output` belongs in "
        "a network, a block or labelled braces, not in a branch or a `seq`.",
        _net("unit", before="block unit {\n    conv 3x3 16\n    expect depth == 1\n}"),
        _net("unit", "expect depth == 1", before="block unit {\n    conv 3x3 16\n}"),
    ),
}

_SHAPES: Final = {
    "A0301": Entry(
        "branches do not fit each other",
        "`add` and `mul` need branches with the same shape, `concat` needs the same "
        "height and width. The message gives both shapes, the layers that produce "
        "them, and the block calls that lead there. If a residual has no explicit "
        "shortcut, its input is projected by a strided 1x1 convolution, which cannot "
        "produce every shape.",
        _net("add { conv 3x3 16 | conv 1x1 8 }"),
        _net("add { conv 3x3 16 | conv 1x1 16 }"),
    ),
    "A0302": Entry(
        "a layer does not fit its input",
        "A convolution or pool needs a feature map, and a linear layer needs a vector. "
        "The error also occurs for arguments that exclude each other.",
        _net("conv 3x3 16", "linear 10"),
        _net("conv 3x3 16", "globalavgpool", "linear 10"),
    ),
    "A0303": Entry(
        "a window is larger than its input",
        "The kernel, including its dilation, is larger than the padded input, so there "
        "is no position for it. Most often, too many earlier layers have halved the "
        "size.",
        _net("maxpool 16x16", "conv 3x3 16 pad=0"),
        _net("maxpool 8x8", "conv 3x3 16 pad=0"),
    ),
    "A0304": Entry(
        "groups do not divide the channels",
        "All groups of a convolution have the same number of input channels and the "
        "same number of output channels.",
        _net("conv 3x3 16 groups=2"),
        _net("conv 1x1 16", "conv 3x3 16 groups=2"),
    ),
    "A0305": Entry(
        "a result is never used",
        "Every layer's output, and every input, must be used on the way to an output "
        "of the network. A chain that begins with a tap does not use the value before "
        "it, so something else must.",
        _net("early: conv 3x3 16", "conv 3x3 16", "@early -> relu"),
        _net("early: conv 3x3 16", "conv 3x3 16", "concat { | @early } -> relu"),
    ),
    "A0306": Entry(
        "there is no input",
        "A network begins with `input` and the shape of one sample.",
        "arch 1\n\nnetwork net {\n    conv 3x3 16\n}\n",
        _net("conv 3x3 16"),
    ),
    "A0307": Entry(
        "two outputs of a block are one value",
        "Each output of a block or labelled braces must be a separate value that is "
        "computed inside. So the main output cannot be the input, and no other output "
        "can be the input, the main output or another one. An `identity` makes a "
        "separate value.",
        _net("a: { conv 3x3 16; c: relu; output @c }", "add { | @a.c }"),
        _net("a: { conv 3x3 16; c: relu; output @c; identity }", "add { | @a.c }"),
    ),
}

_CLIP: Final = """op clip {
    torch = "torch.nn.Hardtanh"
    pointwise = true
}"""

_CLAIMS: Final = {
    "A0401": Entry(
        "a claim does not hold",
        "`expect` states a figure, but the network has a different one. Either the "
        "spec or the claim is wrong. Claims are not checked if parameters or the input "
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
        "A foreign op may read all of its input, unless the spec says that it is "
        "pointwise. So only an upper bound is known for the receptive fields after it, "
        "and only a claim that they are no larger than something can be proven.",
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
        "a file or library does not exist",
        "There is no regular file at this path. Imports are relative to the file that "
        "contains them; a name without quotes is a library that comes with archdsl.",
        _net("conv 3x3 16", before="import inception from preludes"),
        _net("inception<8, 4, 8, 4, 8, 8>", before="import inception from prelude"),
    ),
    "A0502": Entry(
        "an import leaves the spec's folder",
        "A spec can only import files in its own folder and below, so that a spec from "
        "an unknown source can do no harm. A spec that is not a file cannot import "
        "files.",
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
        "Blocks, functions and ops can be imported by name. Networks and presets "
        "cannot be imported.",
        _net("inceptions<8, 4, 8, 4, 8, 8>", before="import inceptions from prelude"),
        _net("inception<8, 4, 8, 4, 8, 8>", before="import inception from prelude"),
    ),
    "A0505": Entry(
        "a file does not hold a network as JSON",
        "A `.json` file holds one network, as `archdsl expand -o net.json` writes "
        "it. The message names the field that is wrong: `root.children[3].shape` is "
        "the shape of the fourth part. `archdsl schema network` prints the schema. A "
        "network in a file has no parameters or presets any more, and layers of an "
        "`op` cannot be in one.",
        "",
        "",
    ),
    "A0506": Entry(
        "no spec can describe the network",
        "`archdsl expand` found no spec that, when read again, gives this network. "
        "That happens only to networks made in code or read from JSON. An example is "
        "an unnamed layer without weights whose output is read by a layer that does "
        "not follow it: the spec would need a tap, and the tap a label, which would "
        "turn the layer into a module. Give such a layer a name.",
        "",
        "",
    ),
}

_FAMILY = _net("conv 3x3 width").replace("net {", "net<width = 16> {")

_TWO = _net("conv 3x3 16") + _net("conv 3x3 32").removeprefix("arch 1\n").replace(
    "network net", "network wide"
)

_CHOICE: Final = {
    "A0601": Entry(
        "it is not clear which network is meant",
        "The file defines no network, or several but no default. Name one after a "
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
        "`archdsl check --torch` builds the module and compares every figure. Either "
        "the spec declares something wrong about a foreign layer, or there is a bug "
        "in archdsl.",
        _PRELU.format(name="torch.nn.PReLU", params=8),
        _PRELU.format(name="torch.nn.PReLU", params=1),
        ("check --torch net.arch", "check --torch net.arch"),
    ),
    "A0702": Entry(
        "the class of an op cannot be imported",
        "`archdsl check --torch --allow-foreign` imports the classes that the `op`s "
        "of the spec name. This error means that Python does not find the module, "
        "that the module does not have the class, or that importing it fails. The "
        "layer was then not checked.",
        _PRELU.format(name="no_such_module.PReLU", params=1),
        _PRELU.format(name="torch.nn.PReLU", params=1),
        (
            "check --torch --allow-foreign net.arch",
            "check --torch --allow-foreign net.arch",
        ),
    ),
    "A0703": Entry(
        "another tool's way of counting a function is not known",
        "`--count` gives the exact figure of another tool. If it is not known how the "
        "tool counts a function, this error is reported instead of a wrong figure.",
        "",
        "",
    ),
    "A0704": Entry(
        "a layer has no form in ONNX",
        "`archdsl export` writes each layer as ONNX operators. A foreign layer "
        "(`op`) is Python code, for which there are none; `--torch` and `--check` do "
        "not run it, either. Replace it with layer kinds of the language.",
        _PRELU.format(name="torch.nn.PReLU", params=1),
        _net("conv 3x3 8 -> prelu"),
        ("export --random 0 net.arch -o net.onnx", "check net.arch"),
    ),
}

_LARGE: Final = "arch 1\n\n" + "\n".join(
    f"network {name} {{{{\n    input 3x8x8\n    relu  x{{count}}\n"
    "    relu  x{count}\n}}\n"
    for name in ("one", "two", "three")
)

_PICTURES: Final = {
    "A0801": Entry(
        "the network is not a chain",
        "`--style volumes` can only draw a network in which each layer reads the one "
        "before it. Blocks are closed if that leaves a chain, but here it does not, or "
        "`--depth` keeps them open.",
        _net("concat { conv 3x3 8 | conv 1x1 8 }"),
        _net("conv 3x3 8"),
        ("render --style volumes net.arch", "check net.arch"),
    ),
    "A0802": Entry(
        "the network is not a U",
        "`--style unet` draws a network whose maps get smaller and then larger, with "
        "at least two skip connections from the way down to the way up, the first of "
        "which leads to the last stage. Blocks are closed until the network has this "
        "form. Here it does not have it even then, or `--depth` or `--unfold` keeps "
        "blocks open.",
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
        f"A spec can have at most {MAX_FILE_BYTES:,} bytes, and {MAX_TOKENS:,} words "
        "and symbols. With `x`, `for` and blocks, even very deep networks need less.",
        "",
        "",
    ),
    "A0902": Entry(
        "something is nested too deeply",
        "Brackets, operators, blocks and braces can each be nested at most "
        f"{MAX_DEPTH} levels deep. Name some parts, or repeat them with `x` or `for`.",
        _net(f"conv 3x3 {'(' * 65}16{')' * 65}"),
        _net("conv 3x3 16"),
    ),
    "A0903": Entry(
        "a number is too large",
        "Integers, and the sizes of a tensor along each axis, must fit into 31 bits.",
        _net("conv 3x3 16_000_000_000"),
        _net("conv 3x3 16"),
    ),
    "A0904": Entry(
        "the network is too large",
        f"A network can have at most {MAX_PARTS:,} layers and blocks. They are counted "
        "before they are created, so that a short spec cannot cause endless work.",
        _net("relu  x10_000", "relu  x10_000", "relu  x10_000").replace("_", ""),
        _net("relu  x100"),
    ),
    "A0905": Entry(
        "too many files are imported",
        f"A spec can import at most {MAX_IMPORTS} files, directly or indirectly.",
        "",
        "",
    ),
    "A0906": Entry(
        "a repeat, a list or a merge is too long",
        f"A repeat, range or list can have at most {MAX_REPEAT:,} items, including the "
        f"items of nested lists. A merge can have at most {MAX_BRANCHES:,} branches.",
        _net("relu  x1000000000"),
        _net("relu  x10"),
    ),
    "A0907": Entry(
        "the spec asks for too much work",
        f"Loops, expressions and calls can take at most {MAX_STEPS:,} steps in total. "
        "The size of a single expression of parameters is limited, too, since it is "
        "written into the constructor of a class.",
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
        "A block can have at most "
        f"{MAX_NAMES} parameters, named values and loop variables. Use a list to keep "
        "many values under one name.",
        "",
        "",
    ),
    "A0909": Entry(
        "there is too much to check at once",
        "The presets and networks of a file that are checked at once can have at most "
        f"{MAX_CHECKED:,} layers in total, where each network counts as "
        f"{NETWORK_PARTS} more. Check them one by one, as `SPEC:NAME`, or split the "
        f"file. A folder given in place of its specs can have at most {MAX_FOLDERS:,} "
        "folders below it.",
        _LARGE.format(count=7000),
        _LARGE.format(count=70),
        ("check net.arch", "check net.arch"),
    ),
    "A0910": Entry(
        "the picture is too large",
        f"The arrows of a picture can cross at most {MAX_DRAWN:,} rows in total, since "
        "the time that layout takes grows even faster than this number. Folded repeats "
        "count once. dot text, which needs no layout, has no such limit.",
        _net("conv 3x3 3  x3000"),
        _net("conv 3x3 3  x30"),
        ("render --unfold net.arch -o net.svg", "check net.arch"),
    ),
    "A0911": Entry(
        "the data are too large",
        "Arrays of training data are unpacked into memory, so a file may not declare "
        "more than 16 GiB of them. Images in a folder are read one by one.",
        "",
        "",
    ),
    "A0912": Entry(
        "the network is too large to be compiled, drawn or run",
        f"A network that is compiled, expanded, exported, trained or drawn can have at "
        f"most {MAX_WRITTEN:,} layers, which take some seconds; one that `check "
        f"--torch` or `analyze --gradients` runs, {MAX_RUN:,}. Larger ones can be "
        "checked, linted and analysed. All runs of `--gradients` together may take "
        f"{MAX_RUN_MACS / 1e12:.0f} T MACs, that is samples times the network's MACs.",
        _net("relu  x6000", "relu  x6000"),
        _net("relu  x60", "relu  x60"),
        ("compile net.arch", "compile net.arch"),
    ),
}

_TRAINING: Final = {
    "A1101": Entry(
        "a recipe is not TOML",
        "A recipe for `archdsl train` is a TOML file: `key = value` on each line, "
        "and tables such as `[optimizer]`. Strings are quoted. `--set` takes the "
        "same form, `optimizer.lr=0.05`, where a word needs no quotes.",
        "",
        "",
    ),
    "A1102": Entry(
        "a recipe has no such key",
        "The key is misspelt, or it is in the wrong table. Keys before the first "
        "table belong to the recipe itself.",
        "",
        "",
    ),
    "A1103": Entry(
        "a value of a recipe is wrong",
        "It has the wrong type, is out of range, is missing, or does not go with the "
        "others: some keys belong to one kind of optimizer or schedule, and would do "
        "nothing with another.",
        "",
        "",
    ),
    "A1104": Entry(
        "the data cannot be used",
        "`--data` names a folder with a folder for each class, either directly or "
        "within `train` and `val`; an .npz file with `images` (N x height x width x "
        "channels) and `labels`; `digits` or `synthetic`. If a folder vanishes "
        "during a run, the run ends, too, with its state saved.",
        "",
        "",
    ),
    "A1105": Entry(
        "network, data and recipe do not fit together",
        "A network that is trained must take one image, and return one score for "
        "each class of the data. Images in arrays must have the size of the "
        "network's input; image files are scaled to it. Some augmentations need "
        "colour images.",
        "",
        "",
    ),
    "A1106": Entry(
        "the loss is not finite",
        "The loss became infinite or NaN, and the next update would make all weights "
        "so, too. The step was run again to find the first layer whose output is not "
        "finite. Most often the learning rate is too high: lower it, warm up longer, "
        "or clip gradients. The last state is kept.",
        "",
        "",
    ),
    "A1107": Entry(
        "a run cannot be resumed",
        "`--resume` continues a run exactly where it stopped, so network, recipe, "
        "data and seed must be the same. To continue with others, start a new run "
        "with `--weights`.",
        "",
        "",
    ),
}

_WEIGHTS: Final = {
    "A1001": Entry(
        "a file cannot be read as weights",
        "`archdsl weights` and `build(weights=...)` read safetensors files, the "
        "index of several such files, and a `state_dict` written by `torch.save`. A "
        "pickle that would call anything else is refused before it is run. So is a "
        "file that claims to hold more data than it has. Save `model.state_dict()`, "
        "not the model.",
        "",
        "",
    ),
    "A1002": Entry(
        "a line is not a rule",
        "A file for `--map` has a rule `FROM -> TO` on each line. `{name}` stands "
        "for one part of a name, without dots, or a piece of it, and `{name...}` at "
        "the end for the rest. TO can use these placeholders, and `{name + 1}` for "
        "the next number. `#` begins a comment.",
        "",
        "",
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
    **_WEIGHTS,
    **_TRAINING,
}

SECTIONS: Final = {
    "A00": "Syntax",
    "A01": "Names",
    "A02": "Arguments, expressions and statements",
    "A03": "Shapes and the graph",
    "A04": "Claims",
    "A05": "Files",
    "A06": "The choice of a network",
    "A07": "Agreement with torch and other tools",
    "A08": "Pictures",
    "A09": "Limits",
    "A10": "Weights",
    "A11": "Training",
}
