"""Writes the text of an emitted module from the plans of its classes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from archdsl.backends.torch import recomputed
from archdsl.backends.torch.classes import (
    Choice,
    ClassPlan,
    ConstructorItem,
    Flag,
    Loop,
    Member,
    creation,
    every,
)
from archdsl.backends.torch.layout import (
    WIDTH,
    attribute_text,
    lay_out,
    lay_out_statements,
    lay_out_test,
)
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Attribute,
    CallExpr,
    Invoke,
    LiteralExpr,
    Maybe,
    PyExpression,
    Star,
    Text,
    in_variables,
    names_in,
    settled,
)
from archdsl.backends.torch.plan import Planner
from archdsl.backends.torch.style import DEFAULT, Style
from archdsl.backends.torch.unpacking import cut_once
from archdsl.conditions import (
    LabelTemplate,
    Test,
    label_parameters,
    opposite,
    with_names,
)
from archdsl.initializers import SCHEMES
from archdsl.ir import Initializer, Network, Step
from archdsl.naming import IMPORTED, containers_of, short_name
from archdsl.spectral import within
from archdsl.symbolic import Poly
from archdsl.torch.calls import is_bare
from archdsl.torch.forms import base
from archdsl.values import Shape, show_shape


def write_module(network: Network, note: str = "", style: Style = DEFAULT) -> str:
    """Return the text of a Python module that defines a network.

    The same network gives the same bytes, laid out as ruff's formatter would.

    Args:
        network: the network.
        note: a paragraph for the module's docstring.
        style: how it is written.
    """
    planner = Planner(network, style)
    plan = planner.run()
    body: list[str] = []
    helpers = [*planner.helpers.values()]
    if planner.again:
        helpers.append(recomputed.TEXT)
    for helper in helpers:
        body += ["", "", *helper.strip().splitlines()]
    for one in planner.classes[:-1]:
        body += ["", "", *_class(one, _block_doc(one))]
    body += ["", "", *_class(plan, _network_doc(network, plan), network)]
    body += _main(network, plan)
    imports = _imports(body, helpers, planner.imported)
    lines = [*_header(network, note), *imports, *body]
    return "\n".join(lines) + "\n"


# ---- the file's frame -------------------------------------------------------


def _header(network: Network, note: str) -> list[str]:
    title = f"{network.root.word}, as the spec of {network.name} describes it."
    if not note:
        return [f'"""{_prose(title)}"""', ""]
    lines = textwrap.wrap(_prose(note), WIDTH, break_on_hyphens=False)
    return [f'"""{_prose(title)}', "", *lines, '"""', ""]


def _imports(
    body: Sequence[str],
    helpers: Sequence[str],
    imported: Mapping[tuple[str, str], str],
) -> list[str]:
    text = "\n".join(body)
    standard = []
    if "OrderedDict(" in text:
        standard.append("from collections import OrderedDict")
    if any(": Any" in helper for helper in helpers):
        standard.append("from typing import Any")
    lines = [*standard, ""] if standard else []
    lines.append("import torch")
    if "F." in text:
        lines.append("import torch.nn.functional as F")
    lines.append("from torch import Tensor, nn")
    called = {name: own for name, own in IMPORTED.items() if _is_called(name, text)}
    for origin in dict.fromkeys(called.values()):
        names = [name for name, own in called.items() if own == origin]
        lines += _import_from(origin, names)
    if f"class {recomputed.NAME}(" in text:
        lines.append(recomputed.IMPORT)
    foreign: dict[str, list[str]] = {}
    for (origin, name), own in sorted(imported.items(), key=_as_sorted_by_tools):
        names = foreign.setdefault(origin, [])
        names.append(name if own == name else f"{name} as {own}")
    if foreign:
        lines.append("")
    for origin, names in foreign.items():
        lines += _import_from(origin, names)
    return lines


def _is_called(name: str, text: str) -> bool:
    """Return whether a text calls a function that is not an attribute."""
    return re.search(rf"(?<![.\w]){name}\(", text) is not None


def _as_sorted_by_tools(item: tuple[tuple[str, str], str]) -> tuple[Any, ...]:
    """Return the sort key of an import in common tools: constants, classes, others."""
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
        CallExpr("torch.randn", tuple(_sizes(port.shape))) for port in network.inputs
    ]
    always = [port for port in network.outputs if not port.training]
    run = CallExpr("network", tuple([Argument("", made) for made in inputs]))
    lines = [
        "",
        "",
        'if __name__ == "__main__":',
        f"    network = {plan.name}().eval()",
    ]
    if len(always) == 1:
        return [*lines, *lay_out(_printed(Attribute(run, "shape")), 4)]
    items = Invoke(Attribute(run, "items"), ())
    return [
        *lines,
        *lay_out(items, 4, "for name, output in ", ":"),
        *lay_out(_printed(LiteralExpr("output.shape"), LiteralExpr("name")), 8),
    ]


def _sizes(shape: Shape) -> list[Argument]:
    return [Argument("", LiteralExpr(str(int(n)))) for n in (1, *shape)]


def _printed(shape: PyExpression, *before: PyExpression) -> CallExpr:
    """Return a call that prints a shape as a tuple."""
    shown = CallExpr("tuple", (Argument("", shape),))
    return CallExpr("print", tuple([Argument("", node) for node in (*before, shown)]))


def _class(
    plan: ClassPlan, doc: list[str], network: Network | None = None
) -> list[str]:
    base = f"{recomputed.NAME}, {plan.base}" if plan.again else plan.base
    return [
        f"class {plan.name}({base}):",
        *doc,
        "",
        *_constructor(plan, network),
        *_forward(plan, network),
    ]


def _block_doc(plan: ClassPlan) -> list[str]:
    text = plan.doc or f"The {plan.role} `{plan.word}`."
    extras = "".join([f", and {name} {shape}" for name, shape in plan.extras.items()])
    inputs, to, outputs = plan.shape.partition(" to ")
    known = {field.name for field in plan.signature()} | _numbers(inputs)
    # Between signs, and words such as those before the name of another output.
    parts = re.split(r"( x | or |, and \w+ |the same)", f"{outputs}{extras}")
    for place in range(0, len(parts), 2):
        if not _numbers(parts[place]) <= known:
            parts[place] = (
                "C"  # no argument of the constructor tells how many there are
            )
    return _docstring(text, [f"Shape: {inputs}{to}{''.join(parts)}."])


def _numbers(text: str) -> set[str]:
    """Return the names of numbers, but not of functions, in the text of a shape."""
    return {*re.findall(r"\b[a-z_]\w*\b(?!\()", text)}


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
    """Return a docstring: the spec's comment, followed by figures."""
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


# A full stop that ends a sentence, not one after an abbreviation such as "et al.".
_SENTENCE = re.compile(r"(?<!\bal)(?<!\bcf)(?<!\be\.g)(?<!\bi\.e)([.!?]) ")


def _prose(text: str) -> str:
    """Return text that cannot end the docstring that contains it."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return kept.replace("\\", "/").replace('"', "'")


def _constructor(plan: ClassPlan, network: Network | None) -> list[str]:
    args = [
        f"{f.name}: {f.type}{f' = {f.default}' if f.default else ''}"
        for f in plan.signature()
    ]
    lines = _signature_lines("__init__", args, "None")
    variables = plan.locals()
    assigned = [f"        {name} = {poly.text()}" for poly, name in variables.items()]
    if plan.sequential and not any(_has_name(item) for item in plan.items):
        entries = [e for item in plan.items if (e := _entry(item, variables))]
        shown_args = tuple(settled([Argument("", entry) for entry in entries]))
        call = CallExpr("super().__init__", shown_args, spread=len(shown_args) > 1)
        return [*lines, *assigned, *_with_list(call, "", plan, declared=False)]
    lines += ["        super().__init__()", *assigned]
    lines += [f"        self.{attr} = {n}" for n, attr in plan.settings().items()]
    declared = False
    containers: set[str] = set()
    for item in plan.items:
        for container in _containers(item):
            if container not in containers:
                containers.add(container)
                lines.append(f"        {attribute_text(container)} = nn.ModuleDict()")
        lines += _item(item, variables, plan, declared)
        declared = declared or _needs_list(creation(item))
    return [*lines, *_initialisation(network)]


def _containers(item: ConstructorItem) -> list[str]:
    """Return the containers in a submodule's dotted label, the outermost first."""
    if isinstance(item, Choice):
        both = *item.there, *item.otherwise
        return [name for one in both for name in _containers(one)]
    return containers_of(item.attr) if isinstance(item, Member) else []


def _needs_list(node: PyExpression | None) -> bool:
    """Return whether some arguments of a call are conditional."""
    if not isinstance(node, CallExpr):
        return False
    return any(isinstance(argument.value, Maybe) for argument in settled(node.args))


def _with_list(
    call: CallExpr, before: str, plan: ClassPlan, declared: bool, indent: int = 8
) -> list[str]:
    """Return a call whose arguments are first collected in a list, if some are
    conditional.

    The type of the list is only declared at its first assignment: `declared` says that
    it has been.
    """
    args = settled(call.args)
    pad = " " * indent
    if not _needs_list(call):
        return lay_out(call, indent, before)
    typed = "" if declared else ": list[nn.Module]"
    name = "layers"
    while any(field.name == name for field in plan.fields):
        name += "_"
    lines: list[str] = []
    for tested, group in groupby(args, lambda a: isinstance(a.value, Maybe)):
        nodes = [argument.value for argument in group]
        if tested:
            lines += [] if lines else [f"{pad}{name}{typed} = []"]
            for _, alike in groupby(nodes, _test_of):
                lines += _appended([*alike], name, indent)
        elif lines and len(nodes) == 1:
            lines += lay_out(
                CallExpr(f"{name}.append", (Argument("", nodes[0]),)), indent
            )
        else:
            opening = f"{name} +=" if lines else f"{name}{typed} ="
            lines.append(f"{pad}{opening} [")
            for node in nodes:
                lines += lay_out(node, indent + 4, "", ",")
            lines.append(f"{pad}]")
    return [*lines, f"{pad}{before}{call.function}(*{name})"]


def _test_of(node: PyExpression) -> Test | None:
    return node.test if isinstance(node, Maybe) else None


def _appended(nodes: Sequence[PyExpression], name: str, indent: int) -> list[str]:
    """Return the lines that append what depends on one condition to a list."""
    lines: list[str] = []
    for node in nodes:
        assert isinstance(node, Maybe) and node.node is not None
        lines += [] if lines else lay_out_test(node.test, indent, "if ", ":")
        call = CallExpr(f"{name}.append", (Argument("", node.node),))
        lines += lay_out(call, indent + 4)
    return lines


def _has_name(item: ConstructorItem) -> bool:
    if isinstance(item, Loop):
        return bool(item.labels or item.label)
    return isinstance(item, Flag | Choice) or bool(item.label)


def _entry(item: ConstructorItem, variables: Mapping[Poly, str]) -> PyExpression | None:
    """Return the argument of a Sequential for an item."""
    if isinstance(item, Flag | Choice):
        return None
    node = creation(item)
    if node is None:
        return None
    # With a single copy, there is no sign that others would differ.
    if isinstance(item, Loop):
        node = Star(node, item.times, INDEX in names_in(node))
    return in_variables(node, variables)


def _signature_lines(name: str, args: Sequence[str], returned: str) -> list[str]:
    """Return the head of a method."""
    head, tail = f"    def {name}(", f") -> {returned}:"
    inner = ", ".join(["self", *args])
    if len(f"{head}{inner}{tail}") <= WIDTH:
        return [f"{head}{inner}{tail}"]
    if 8 + len(inner) <= WIDTH:
        return [head, f"        {inner}", f"    {tail}"]
    return [head, "        self,", *(f"        {a}," for a in args), f"    {tail}"]


def _item(
    item: ConstructorItem,
    variables: Mapping[Poly, str],
    plan: ClassPlan,
    declared: bool,
    indent: int = 8,
    typed: str = "",
) -> list[str]:
    """Return the lines that create a submodule, or several similar ones.

    Args:
        item: the item.
        variables: numbers that are in variables.
        plan: plan of the class.
        declared: whether the type of the list of conditional arguments is declared.
        indent: indentation of the lines.
        typed: the type of the attribute, with a colon before it.
    """
    if isinstance(item, Flag):
        lines: list[str] = []
        for one in item.extra:
            lines += _item(one, variables, plan, declared, indent)
        if len(item.states) > 1:
            test = with_names(item.condition, variables)
            lines += lay_out_test(test, indent, f"self.{item.attr} = ")
        return lines
    if isinstance(item, Choice):
        return _choice(item, variables, plan, declared, indent)
    if isinstance(item, Loop):
        return _loop(item, indent)
    if item.node is None:
        return []
    node = in_variables(item.node, variables)
    own = attribute_text(item.attr)
    if item.condition is None:
        if isinstance(node, CallExpr) and own and not label_parameters(item.label):
            return _with_list(node, f"{own}{typed} = ", plan, declared, indent)
        return _submodule(item.label, node, indent, typed)
    test = with_names(item.condition, variables)
    return [
        _declared(item.attr, indent),
        *lay_out_test(test, indent, "if ", ":"),
        *lay_out(node, indent + 4, f"{own} = "),
    ]


def _declared(name: str, indent: int, hole: bool = True) -> str:
    """Return the line that declares a submodule which not all instances have."""
    kind, value = "nn.Module", "nn.Identity()"
    if not hole:
        kind, value = "nn.Module | None", "None"
    typed = "" if "." in name else f": {kind}"
    return f"{' ' * indent}{attribute_text(name)}{typed} = {value}"


def _choice(
    item: Choice,
    variables: Mapping[Poly, str],
    plan: ClassPlan,
    declared: bool,
    indent: int,
) -> list[str]:
    """Return the lines that create the submodules of some calls, and of the others.

    An identity is registered when it is declared, so one that comes after other
    submodules is created beside them.
    """
    sides = [tuple(filter(_creates, side)) for side in (item.there, item.otherwise)]
    test = with_names(item.test, variables)
    if not any(sides):
        return []
    if not sides[0]:
        sides, test = [sides[1], ()], opposite(test)
    names = [[one.attr for one in every(s) if isinstance(one, Member)] for s in sides]
    lines: list[str] = []
    for place, name in ((p, n) for p, own in enumerate(names) for n in own):
        if name in names[1 - place] or plan.sequential:
            continue
        hole = name in plan.holes
        if not hole or (not sides[1] and name == names[0][0]):
            lines.append(_declared(name, indent, hole))
        else:
            none = Member((name,), CallExpr("nn.Identity", ()))
            sides[1 - place] = (*sides[1 - place], none)
    typed = {one.attr for one in sides[1] if isinstance(one, Member)}
    lines += lay_out_test(test, indent, "if ", ":")
    for place, side in enumerate(sides):
        if place and side:
            lines.append(f"{' ' * indent}else:")
        for one in side:
            # Where a submodule is made in two ways, its type is that of both.
            both = not place and isinstance(one, Member) and one.attr in typed
            kind = ": nn.Module" if both else ""
            lines += _item(one, variables, plan, declared, indent + 4, kind)
    return lines


def _creates(item: ConstructorItem) -> bool:
    """Return whether an item creates anything: no instance needs some projections."""
    if isinstance(item, Choice):
        return any(map(_creates, (*item.there, *item.otherwise)))
    return not isinstance(item, Member) or item.node is not None


def _submodule(
    label: LabelTemplate, node: PyExpression, indent: int, typed: str = ""
) -> list[str]:
    if not label_parameters(label) and (
        own := attribute_text("".join(map(str, label)))
    ):
        return lay_out(node, indent, f"{own}{typed} = ")
    return lay_out(_added(label, node), indent)


def _added(label: LabelTemplate, node: PyExpression) -> CallExpr:
    args = (Argument("", Text(label)), Argument("", node))
    return CallExpr("self.add_module", args)


def _loop(item: Loop, indent: int) -> list[str]:
    node = creation(item)
    if node is None:
        return []
    if item.is_single:
        return _submodule(item.labels[0], node, indent)
    assert item.label is not None
    return [
        f"{' ' * indent}for {INDEX} in range({item.times.text()}):",
        *lay_out(_added(item.label, node), indent + 4),
    ]


def _forward(plan: ClassPlan, network: Network | None) -> list[str]:
    if not plan.forward:
        return []
    returned = "Tensor"
    if plan.extras:
        returned = f"tuple[{', '.join(['Tensor'] * (1 + len(plan.extras)))}]"
    if network is not None and len(network.outputs) > 1:
        returned = "dict[str, Tensor]"
        if sum(not port.training for port in network.outputs) == 1:
            returned = f"Tensor | {returned}"
    inputs = [f"{name}: Tensor" for name in plan.inputs]
    head = _signature_lines("forward", inputs, returned)
    return ["", *head, *lay_out_statements(cut_once(plan.statements()), 8)]


# ---- initial values of parameters -------------------------------------------


def _initialisation(network: Network | None) -> list[str]:
    if network is None or not network.initializers:
        return []
    lines = [""]
    kinds = [i for i in network.initializers if i.kind]
    for path, ways in groupby(kinds, attrgetter("path")):
        lines += _of_kinds(network, path, list(ways))
    for initializer in network.initializers:
        if not initializer.kind:
            lines += _of_layer(network, initializer)
    return lines if len(lines) > 1 else []


def _of_layer(network: Network, way: Initializer) -> list[str]:
    """Return the lines that initialise a tensor of a single layer."""
    start = lay_out(_starting(way, f'self.get_parameter("{way.path}.{way.tensor}")'), 8)
    step = next(step for step in network.steps() if step.path == way.path)
    if way.tensor != "weight" or _class_of(step).wrapper is None:
        return start
    return _as_itself(_submodule_of(way.path), start, _class_of(step), 8)


def _submodule_of(path: str) -> str:
    """Return the expression of a submodule of the network."""
    return f"self.{path}" if path.isidentifier() else f'self.get_submodule("{path}")'


def _as_itself(
    module: str, start: list[str], one: _ModuleClass, indent: int
) -> list[str]:
    """Return the lines that initialise a weight that is replaced, and replace it anew.

    What replaces it estimates singular vectors, which are those of the new weight then.
    """
    pad = " " * indent
    return [
        f'{pad}remove_parametrizations({module}, "weight")',
        *start,
        f"{pad}{one.wrapper}({module})",
    ]


class _ModuleClass(NamedTuple):
    """The class of a module as `isinstance` sees it.

    Attributes:
        name: its name.
        base: name of the class that it derives from, if it is defined in the text.
        wrapper: name of the function that replaced its weight; None if none did.
    """

    name: str
    base: str
    wrapper: str | None


def _class_of(step: Step) -> _ModuleClass:
    form = step.form
    assert form.module is not None
    call = within(form.module)
    wrapper = None if call is form.module else short_name(form.module.name)
    return _ModuleClass(call.name, base(form.helper) if form.helper else "", wrapper)


def _of_kinds(network: Network, path: str, ways: Sequence[Initializer]) -> list[str]:
    """Return the loop that initialises layers by their kind.

    Args:
        network: whose layers they are.
        path: path of the part that contains them; empty for the network itself.
        ways: how their tensors are initialised.
    """
    settings: dict[_ModuleClass, tuple[Initializer, ...]] = {}
    every = dict.fromkeys(
        _class_of(step)
        for step in network.steps()
        if step.path.startswith(f"{path}." if path else "")
        and step.form.module is not None
        and not is_bare(step.form)
    )
    for initializer in ways:
        for one in _classes_of(network, initializer):
            settings[one] = (*settings.get(one, ()), initializer)
    alike: dict[tuple[Any, ...], list[_ModuleClass]] = {}
    for one, found in settings.items():
        key = (*((i.tensor, i.scheme, i.arguments) for i in found), one.wrapper)
        alike.setdefault(key, []).append(one)
    if not alike:
        return []
    owner = _submodule_of(path) if path else "self"
    lines = [f"        for module in {owner}.modules():"]
    for number, classes in enumerate(alike.values()):
        word = "elif" if number else "if"
        tests = _is_one_of(classes, [one for one in every if one not in classes])
        found = settings[classes[0]]
        guarded = any(initializer.tensor != "bias" for initializer in found)
        if not guarded:
            tests.append("module.bias is not None")
        lines += _asked(word, tests, 12)
        for initializer in found:
            start = _initializer(initializer, guarded)
            if classes[0].wrapper and initializer.tensor == "weight":
                start = _as_itself("module", start, classes[0], 16)
            lines += start
    return lines


def _is_one_of(
    classes: Sequence[_ModuleClass], others: Sequence[_ModuleClass]
) -> list[str]:
    """Return what to test of a module to know that it is of some classes."""
    names = dict.fromkeys(one.name for one in classes)
    tests = [f"isinstance(module, {' | '.join(names)})"]
    if classes[0].wrapper:
        return [*tests, "is_parametrized(module)"]
    derived = dict.fromkeys(one.name for one in others if one.base in names)
    if derived:
        tests.append(f"not isinstance(module, {' | '.join(derived)})")
    if any(one.wrapper and one.name in names for one in others):
        tests.append("not is_parametrized(module)")
    return tests


def _asked(word: str, tests: Sequence[str], indent: int) -> list[str]:
    """Return the head of a condition; a long one gets brackets."""
    pad = " " * indent
    line = f"{pad}{word} {' and '.join(tests)}:"
    if len(line) <= WIDTH:
        return [line]
    first, *rest = tests
    inner = [f"{pad}    {first}", *(f"{pad}    and {one}" for one in rest)]
    return [f"{pad}{word} (", *inner, f"{pad}):"]


def _classes_of(network: Network, way: Initializer) -> Iterator[_ModuleClass]:
    found = {
        _class_of(step): None
        for step in network.steps()
        if way.is_about(step.path, step.op.word) and step.form.module is not None
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


def _starting(initializer: Initializer, tensor: str) -> CallExpr:
    """Return the call that initialises a tensor."""
    function = SCHEMES[initializer.scheme].function
    arguments = dict(initializer.arguments)
    if initializer.scheme == "constant" and arguments.get("val") in _CONSTANTS:
        function = _CONSTANTS[float(arguments.pop("val"))]
    args = [Argument(name, _value(value)) for name, value in arguments.items()]
    return CallExpr(f"nn.init.{function}", (Argument("", LiteralExpr(tensor)), *args))


def _value(value: Any) -> LiteralExpr:
    return LiteralExpr(f'"{value}"' if isinstance(value, str) else repr(value))
