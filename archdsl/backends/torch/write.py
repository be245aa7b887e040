"""The text of an emitted module, from the plans of its classes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from archdsl.backends.torch.classes import (
    ClassPlan,
    Flag,
    Item,
    Loop,
    camel,
    quoted,
    shown,
)
from archdsl.backends.torch.forward import HOLE, OPTIONAL, wrap
from archdsl.backends.torch.nodes import (
    INDEX,
    KEPT,
    WIDTH,
    Argument,
    Call,
    Leaf,
    Maybe,
    Node,
    Star,
    in_variables,
    lay_out,
    names_in,
    replaced,
    settled,
)
from archdsl.backends.torch.plan import Planner
from archdsl.initializers import SCHEMES
from archdsl.ir import Initializer, Network
from archdsl.symbolic import Poly
from archdsl.values import Shape, show_shape


def write(network: Network) -> str:
    """Return the text of a Python module that defines a network.

    The same network gives the same bytes, laid out as ruff's formatter would.
    """
    planner = Planner(network)
    plan = planner.run()
    body: list[str] = []
    for helper in planner.helpers.values():
        body += ["", "", *helper.strip().splitlines()]
    for one in planner.classes[:-1]:
        body += ["", "", *_class(one, _block_doc(one))]
    body += _outputs_class(network)
    body += ["", "", *_class(plan, _network_doc(network, plan), network)]
    body += _main(network, plan)
    lines = [*_header(network), *_imports(body, planner.imported), *body]
    return "\n".join(lines) + "\n"


# ---- the file's frame -------------------------------------------------------


def _header(network: Network) -> list[str]:
    title = f"{network.root.word}, as the spec of {network.name} describes it."
    return [f'"""{_prose(title)}"""', ""]


def _imports(body: Sequence[str], imported: Mapping[tuple[str, str], str]) -> list[str]:
    text = "\n".join(body)
    standard = []
    if "OrderedDict(" in text:
        standard.append("from collections import OrderedDict")
    if "NamedTuple" in text:
        standard.append("from typing import NamedTuple")
    lines = [*standard, ""] if standard else []
    lines.append("import torch")
    if "F." in text:
        lines.append("import torch.nn.functional as F")
    lines.append("from torch import Tensor, nn")
    foreign: dict[str, list[str]] = {}
    for (origin, name), own in sorted(imported.items(), key=_as_sorted_by_tools):
        names = foreign.setdefault(origin, [])
        names.append(name if own == name else f"{name} as {own}")
    if foreign:
        lines.append("")
    for origin, names in foreign.items():
        lines += _import_from(origin, names)
    return lines


def _as_sorted_by_tools(item: tuple[tuple[str, str], str]) -> tuple[Any, ...]:
    """Return where the usual tools sort an import: constants, classes, others."""
    (origin, name), _ = item
    constant = name.isupper() and len(name) > 1
    return origin, not constant, name[0].islower(), name.lower()


def _import_from(origin: str, names: list[str]) -> list[str]:
    line = f"from {origin} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {origin} import (", *(f"    {name}," for name in names), ")"]


def _main(network: Network, plan: ClassPlan) -> list[str]:
    inputs = [
        f"torch.randn(1, {', '.join(str(int(n)) for n in port.shape)})"
        for port in network.inputs
    ]
    always = [port for port in network.outputs if not port.training]
    run = f"network({', '.join(inputs)})"
    lines = [
        "",
        "",
        'if __name__ == "__main__":',
        f"    network = {plan.name}().eval()",
    ]
    if len(always) == 1:
        return [*lines, *wrap(f"print(tuple({run}.shape))", 4)]
    return [
        *lines,
        f"    for name, output in {run}._asdict().items():",
        "        print(name, tuple(output.shape))",
    ]


def _outputs_class(network: Network) -> list[str]:
    if len(network.outputs) < 2:
        return []
    training = any(port.training for port in network.outputs)
    when = " in training" if training else ""
    lines = ["", "", f"class {camel(network.root.word)}Output(NamedTuple):"]
    lines += [f'    """What the network returns{when}."""', ""]
    always = [port for port in network.outputs if not port.training]
    # With several outputs left, inference returns the tuple, too.
    optional = ": Tensor | None = None" if len(always) > 1 else ": Tensor"
    lines += [f"    {port.name}: Tensor" for port in always]
    return lines + [f"    {p.name}{optional}" for p in network.outputs if p.training]


# ---- one class --------------------------------------------------------------


def _class(
    plan: ClassPlan, doc: list[str], network: Network | None = None
) -> list[str]:
    return [
        f"class {plan.name}({plan.base}):",
        *doc,
        "",
        *_constructor(plan, network),
        *_forward(plan, network),
    ]


def _block_doc(plan: ClassPlan) -> list[str]:
    text = plan.doc or f"The {plan.role} `{plan.word}`."
    return _docstring(text, [f"Shape: {plan.shape}."])


def _network_doc(network: Network, plan: ClassPlan) -> list[str]:
    inputs = ", ".join(f"N x {_spaced(port.shape)}" for port in network.inputs)
    shown = [port for port in network.outputs if not port.training]
    outputs = ", ".join(f"N x {_spaced(port.shape)}" for port in shown)
    lines = [f"Shape: {inputs} to {outputs}."]
    extra = [port.name for port in network.outputs if port.training]
    if extra:
        lines.append(f"In training, it also returns {' and '.join(extra)}.")
    return _docstring(plan.doc or f"The network {network.name}.", lines)


def _spaced(shape: Shape) -> str:
    return show_shape(shape).replace("x", " x ")


def _docstring(text: str, facts: list[str]) -> list[str]:
    """Return a docstring: the spec's comment, then facts."""
    paragraphs = " ".join(_prose(text).split())
    summary, _, rest = _SENTENCE.sub(r"\1\n", paragraphs, count=1).partition("\n")
    summary = summary if summary.endswith((".", "!", "?")) else f"{summary}."
    head = textwrap.wrap(summary, WIDTH - 4 - 3)
    lines = [f'    """{head[0]}', *(f"    {line}" for line in head[1:])]
    if rest:
        lines += ["", *(f"    {line}" for line in textwrap.wrap(rest, WIDTH - 4))]
    lines.append("")
    for fact in facts:
        lines += [f"    {line}" for line in textwrap.wrap(_prose(fact), WIDTH - 4)]
    return [*lines, '    """']


# A full stop that ends a sentence, and no abbreviation such as "et al.".
_SENTENCE = re.compile(r"(?<!\bal)(?<!\bcf)(?<!\be\.g)(?<!\bi\.e)([.!?]) ")


def _prose(text: str) -> str:
    """Return text that cannot end the docstring it stands in."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return kept.replace("\\", "/").replace('"', "'")


def _constructor(plan: ClassPlan, network: Network | None) -> list[str]:
    args = [
        f"{f.name}: {f.type}{f' = {f.default}' if f.default else ''}"
        for f in plan.signature()
    ]
    lines = wrap(f"def __init__({', '.join(['self', *args])}) -> None:", 4)
    if len(lines) > 1:
        lines = _signature_lines(args)
    variables = plan.locals()
    assigned = [f"        {name} = {poly.text()}" for poly, name in variables.items()]
    if plan.base == "nn.Sequential" and not any(_has_name(i) for i in plan.items):
        entries = [e for item in plan.items if (e := _entry(item, variables))]
        shown_args = tuple(settled([Argument("", entry) for entry in entries]))
        call = Call("super().__init__", shown_args, spread=len(shown_args) > 1)
        return [*lines, *assigned, *_with_list(call, "", plan)]
    lines += ["        super().__init__()", *assigned]
    lines += [f"        self.{attr} = {n}" for n, attr in plan.kept().items()]
    for item in plan.items:
        lines += _item(item, variables, plan)
    return [*_declared_once(lines), *_initialisation(network)]


def _declared_once(lines: list[str]) -> list[str]:
    """Give the type of a variable only where it first gets a value."""
    found: list[str] = []
    for line in lines:
        plain = line.replace(": list[nn.Module] =", " =")
        head = line.partition(" =")[0]
        seen = plain != line and any(other.startswith(head) for other in found)
        found.append(plain if seen else line)
    return found


def _with_list(call: Call, before: str, plan: ClassPlan) -> list[str]:
    """Return a call whose arguments are first put into a list, if some need a test."""
    args = settled(call.args)
    if not any(isinstance(a.value, Maybe) for a in args):
        return lay_out(call, 8, before)
    name = "layers"
    while any(field.name == name for field in plan.fields):
        name += "_"
    lines: list[str] = []
    for tested, group in groupby(args, lambda a: isinstance(a.value, Maybe)):
        nodes = [argument.value for argument in group]
        if tested:
            lines += [] if lines else [f"        {name}: list[nn.Module] = []"]
            for node in nodes:
                lines += _appended(node, name)
        elif lines and len(nodes) == 1:
            lines += lay_out(Call(f"{name}.append", (Argument("", nodes[0]),)), 8)
        else:
            opening = f"{name} +=" if lines else f"{name}: list[nn.Module] ="
            lines.append(f"        {opening} [")
            for node in nodes:
                lines += lay_out(node, 12, "", ",")
            lines.append("        ]")
    return [*lines, f"        {before}{call.function}(*{name})"]


def _appended(node: Node, name: str) -> list[str]:
    assert isinstance(node, Maybe) and node.node is not None
    return [
        f"        if {node.test}:",
        *lay_out(Call(f"{name}.append", (Argument("", node.node),)), 12),
    ]


def _has_name(item: Item) -> bool:
    return bool(item.attrs) if isinstance(item, Loop) else bool(item.attr)


def _entry(item: Item, variables: Mapping[Poly, str]) -> Node | None:
    """Return the argument of a Sequential that an item stands for."""
    if isinstance(item, Flag):
        return None
    node = shown(item)
    if node is None:
        return None
    # Of one copy alone nothing says that others would differ.
    if isinstance(item, Loop):
        node = Star(node, item.times, INDEX in names_in(node))
    return replaced(node, variables)


def _signature_lines(args: list[str]) -> list[str]:
    inner = ", ".join(["self", *args])
    if 8 + len(inner) <= WIDTH:
        return ["    def __init__(", f"        {inner}", "    ) -> None:"]
    return [
        "    def __init__(",
        "        self,",
        *(f"        {a}," for a in args),
        "    ) -> None:",
    ]


def _item(item: Item, variables: Mapping[Poly, str], plan: ClassPlan) -> list[str]:
    if isinstance(item, Flag):
        lines = [text for one in item.extra for text in _item(one, variables, plan)]
        if len(item.states) > 1:
            test = in_variables(item.condition, variables)
            lines += wrap(f"self.{item.attr} = {test}", 8)
        return lines
    if isinstance(item, Loop):
        return _loop(item)
    if item.node is None:
        return []
    node = replaced(item.node, variables)
    if not item.condition:
        if isinstance(node, Call) and item.attr.isidentifier():
            return _with_list(node, f"self.{item.attr} = ", plan)
        return _submodule(item.attr, node)
    return [
        f"        self.{item.attr}: nn.Module = nn.Identity()",
        f"        if {in_variables(item.condition, variables)}:",
        *lay_out(node, 12, f"self.{item.attr} = "),
    ]


def _submodule(attr: str, node: Node) -> list[str]:
    if attr.isidentifier():
        return lay_out(node, 8, f"self.{attr} = ")
    args = (Argument("", Leaf(quoted(attr))), Argument("", node))
    return lay_out(Call("self.add_module", args), 8)


def _loop(item: Loop) -> list[str]:
    node = shown(item)
    if node is None:
        return []
    if item.node is None or item.attr is None:
        # Only one is known: the loop runs once.
        return _submodule(item.attrs[0], node)
    args = (Argument("", Leaf(quoted(item.attr))), Argument("", node))
    return [
        f"        for {INDEX} in range({item.times.text()}):",
        *lay_out(Call("self.add_module", args), 12),
    ]


def _forward(plan: ClassPlan, network: Network | None) -> list[str]:
    if not plan.forward:
        return []
    returned = "Tensor"
    if network is not None and len(network.outputs) > 1:
        returned = f"{camel(network.root.word)}Output"
        if sum(not port.training for port in network.outputs) == 1:
            returned = f"Tensor | {returned}"
    inputs = ", ".join(["self", *(f"{name}: Tensor" for name in plan.inputs)])
    lines = ["", *wrap(f"def forward({inputs}) -> {returned}:", 4)]
    for text in _joined(_filled(plan)):
        indent = len(text) - len(text.lstrip())
        lines += wrap(text.lstrip(), 8 + indent)
    return lines


def _joined(lines: list[str]) -> list[str]:
    """Write a value that is only passed on into the variable it is passed on to."""
    found: list[str] = []
    for place, line in enumerate(lines):
        name = line.removeprefix("x = ")
        read_later = re.compile(rf"\b{re.escape(name)}\b").search
        only = name != line and not any(map(read_later, lines[place + 1 :]))
        if only and name.isidentifier() and found:
            before = found[-1].removeprefix(f"{name} = ")
            if before != found[-1]:
                found[-1] = f"x = {before}"
                continue
        found.append(line)
    return found


def _filled(plan: ClassPlan) -> list[str]:
    """Decide about projections and optional shortcuts, now that all calls are known."""
    missing, flags, kept = plan.holes(), plan.flags(), plan.kept()

    def own(match: re.Match[str]) -> str:
        return f"self.{kept[match[1]]}"

    def hole(match: re.Match[str]) -> str:
        return match[2] if match[1] in missing else f"self.{match[1]}({match[2]})"

    def optional(match: re.Match[str]) -> str:
        states = flags[match[1]]
        if len(states) > 1:
            return f"{match[2]} if self.{match[1]} else {match[3]}"
        return match[2] if True in states else match[3]

    return [
        OPTIONAL.sub(optional, HOLE.sub(hole, KEPT.sub(own, line)))
        for line in plan.forward
    ]


# ---- how parameters start ---------------------------------------------------


def _initialisation(network: Network | None) -> list[str]:
    if network is None or not network.initializers:
        return []
    settings: dict[str, tuple[Initializer, ...]] = {}
    for initializer in network.initializers:
        if initializer.path:
            continue
        for module in _modules_of(network, initializer.kind):
            settings[module] = (*settings.get(module, ()), initializer)
    alike: dict[tuple[tuple[Any, ...], ...], list[str]] = {}
    for module, found in settings.items():
        key = tuple((i.tensor, i.scheme, i.arguments) for i in found)
        alike.setdefault(key, []).append(module)
    lines = ["", "        for module in self.modules():"] if alike else []
    for number, modules in enumerate(alike.values()):
        word = "elif" if number else "if"
        test = f"isinstance(module, {' | '.join(modules)})"
        found = settings[modules[0]]
        if all(initializer.tensor == "bias" for initializer in found):
            test, guarded = f"{test} and module.bias is not None", False
        else:
            guarded = True
        lines.append(f"            {word} {test}:")
        for initializer in found:
            lines += _initializer(initializer, guarded)
    single = [i for i in network.initializers if i.path]
    if single and not lines:
        lines = [""]
    for initializer in single:
        target = f'self.get_parameter("{initializer.path}.{initializer.tensor}")'
        lines += lay_out(_starting(initializer, target), 8)
    return lines


def _modules_of(network: Network, kind: str) -> Iterator[str]:
    found = {
        form.module.name: None
        for step in network.steps()
        if step.op.word == kind
        and (form := step.op.torch(step.input_shapes, step.shape)).module is not None
    }
    yield from found


_CONSTANTS = {0.0: "zeros_", 1.0: "ones_"}


def _initializer(initializer: Initializer, guarded: bool) -> list[str]:
    call = _starting(initializer, f"module.{initializer.tensor}")
    if initializer.tensor == "bias" and guarded:
        return [
            "                if module.bias is not None:",
            *lay_out(call, 20),
        ]
    return lay_out(call, 16)


def _starting(initializer: Initializer, tensor: str) -> Call:
    """Return the call that gives a tensor its first values."""
    function = SCHEMES[initializer.scheme].function
    arguments = dict(initializer.arguments)
    if initializer.scheme == "constant" and arguments.get("val") in _CONSTANTS:
        function = _CONSTANTS[float(arguments.pop("val"))]
    args = [Argument(name, _value(value)) for name, value in arguments.items()]
    return Call(f"nn.init.{function}", (Argument("", Leaf(tensor)), *args))


def _value(value: Any) -> Leaf:
    return Leaf(f'"{value}"' if isinstance(value, str) else repr(value))
