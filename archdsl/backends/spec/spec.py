"""The text of a whole file: operations, blocks, the network and its preset."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from archdsl.backends.spec.express import (
    KindValue,
    RowScope,
    known_value,
    literal,
)
from archdsl.backends.spec.parts import (
    ANY,
    ItemChains,
    NetworkFacts,
    Reader,
    Unwritable,
    own_parameters,
)
from archdsl.backends.spec.rows import InnerRows, RowsDiffer, inner_of
from archdsl.backends.spec.write import BodyWriter, Header
from archdsl.elaborate.foreign import Foreign
from archdsl.ir import Expectation, Group, Initializer, Network
from archdsl.ir.graph import conditions_of
from archdsl.naming import LANGUAGE_WORDS
from archdsl.source import Source
from archdsl.syntax.format import format_source
from archdsl.values import show_shape

# A parameter: its name, its value in each call, and its default.
ParamValues = tuple[str, list[Any], Any]


class SpecText:
    """The text of the spec of a network.

    Attributes:
        words: for each block of the text, its name in the network.

    Args:
        network: the network.
        merged: whether different calls of a block share a definition where possible.
    """

    def __init__(self, network: Network, merged: bool) -> None:
        self.merged = merged
        self.names: dict[str, str] = {}
        self.network = network
        self.facts = NetworkFacts(network)
        self.words: dict[int, str] = {}
        self.further: dict[int, dict[str, Any]] = {}
        self.headers: dict[str, Header] = {}
        self.writer = BodyWriter(self.headers)
        self.blocks: dict[Hashable, str] = {}

    def text(self) -> str:
        root = self.network.root
        for calls in _defined_together(root):
            self._block(calls[0].word, calls)
        body = Reader(self.facts, self.words, self.further, root).body()
        try:
            lines, params, _ = self._definition([root], inner_of([[body]]))
        except RowsDiffer:
            raise Unwritable("the network cannot be written") from None
        header = ", ".join(
            f"{name} = {_default(values[0])}" for name, values, _ in params
        )
        ports = self.network.inputs
        named = len(ports) > 1 or ports[0].name != "x"
        inputs = [
            f"input {f'{port.name} ' * named}{show_shape(port.shape)}" for port in ports
        ]
        starts = list(_initializers(self.network.initializers))
        claims = list(_claims(self.network.expectations))
        own = self.network.name == root.word
        if own and claims:
            starts += [f"expect {claim}" for claim in claims]
        inner = "\n".join([*inputs, *lines, *starts])
        # In the order in which this text, too, would be written out.
        words = _in_order(root, lambda group: self.words[id(group)])
        blocks = [self.blocks[word] for word in words]
        texts = ["arch 1", *_ops(self.network), *blocks]
        shown = f"<{header}>" if header else ""
        head = f"network {root.word}{shown}{' seq' if root.indexed else ''}"
        texts.append(f"{_doc(root.doc)}{head} {{\n{inner}\n}}")
        if not own:
            preset = f"default preset {self.network.name} = {root.word}"
            if claims:
                preset += f"\n    expect {', '.join(claims)}"
            texts.append(preset)
        text = "\n\n".join(texts) + "\n"
        return format_source(Source("<expanded>", text))

    # ---- blocks

    def _block(self, word: str, groups: Sequence[Group]) -> None:
        """Write a block, in as many versions as its calls need."""
        bodies: dict[Any, tuple[Group, ItemChains]] = {}
        said: dict[int, Any] = {}
        for group in groups:
            body = Reader(self.facts, self.words, self.further, group).body()
            said[id(group)] = deep = _deep(body), _deep_values(group)
            bodies.setdefault(deep, (group, body))
        versions = self._versions(bodies)
        chosen = {
            key: next((v, v.seen[deep]) for v in versions if deep in v.seen)
            for key, deep in said.items()
        }
        for version in versions:
            self._add_block(self._free(word), version)
        for key, (version, row) in chosen.items():
            self.words[key] = version.word
            self.further[key] = {
                name: values[row]
                for name, values, _ in version.params
                if name in version.extra
            }

    def _versions(
        self, bodies: Mapping[Any, tuple[Group, ItemChains]]
    ) -> list[_Version]:
        """Return definitions that serve all calls, if possible a single one.

        Args:
            bodies: the different calls, by their contents.
        """
        whole = _Version()
        if self.merged and self._join(whole, bodies):
            return [whole]
        versions: list[_Version] = []
        for deep, (group, body) in bodies.items():
            one = {deep: (group, body)}
            if self.merged and any(self._join(known, one) for known in versions):
                continue
            versions.append(_Version())
            if not self._join(versions[-1], one):
                raise Unwritable(f"{group.path} cannot be written")
        return versions

    def _join(
        self, version: _Version, bodies: Mapping[Any, tuple[Group, ItemChains]]
    ) -> bool:
        """Extend a version to more calls, if possible."""
        joined = {**version.bodies, **bodies}
        groups = [group for group, _ in joined.values()]
        try:
            made = self._definition(groups, inner_of([[b] for _, b in joined.values()]))
        except RowsDiffer:
            return False
        version.bodies = joined
        version.seen = {deep: row for row, deep in enumerate(joined)}
        version.lines, version.params, version.extra = made
        return True

    def _free(self, word: str) -> str:
        name, number = word, 1
        # The library's block `residual` is named like a word of the language.
        while name in self.headers or name in LANGUAGE_WORDS:
            number += 1
            name = f"{word}{'_' * word[-1].isdigit()}{number}"
        self.headers[name] = Header(name, ())
        self.names[name] = word
        return name

    def _add_block(self, name: str, version: _Version) -> None:
        group, _ = next(iter(version.bodies.values()))
        version.word = name
        defaults: list[tuple[str, str | None]] = []
        shown = []
        # Parameters without a default come first.
        for param, values, default in version.params:
            kind = ": kind" if isinstance(values[0], KindValue) else ""
            text = None if default is None else _default(default)
            defaults.append((param, text))
            shown.append(f"{param}{kind}" if text is None else f"{param} = {text}")
        self.headers[name] = Header(name, tuple(defaults))
        head = f"<{', '.join(shown)}>" if shown else ""
        seq = " seq" if group.indexed else ""
        inputs = ", ".join(port.name for port in group.ports)
        head += f"({inputs}){seq}" if inputs else seq
        body = "\n".join(version.lines)
        self.blocks[name] = f"{_doc(group.doc)}block {name}{head} {{\n{body}\n}}"

    def _definition(
        self, groups: Sequence[Group], inner: InnerRows
    ) -> tuple[list[str], list[ParamValues], set[str]]:
        """Return statements for calls of a block, their parameters, and added ones.

        Added parameters, by name, are those that the block lacks in the network.

        Raises:
            RowsDiffer: if no text serves all calls.
        """
        columns = {
            param.name: [known_value(value) for value in _column(groups, param.name)]
            for param in own_parameters(groups[0])
        }
        is_block = groups[0].role == "block"
        while True:
            extra: dict[str, list[Any]] | None = {} if is_block else None
            scope = RowScope(
                len(groups),
                dict(columns),
                set(),
                set(columns),
                extra=extra,
                tests=[conditions_of(group) for group in groups],
            )
            lines = self.writer.body(inner, groups, scope)
            unused = columns.keys() - scope.used
            if not unused:
                break
            # The names of unused parameters are free again.
            for name in unused:
                del columns[name]
        defaults = {param.name: param.default for param in groups[0].parameters}
        params = [(name, column, defaults[name]) for name, column in columns.items()]
        # Before the first default, so that calls can pass them by position.
        at = next(
            (n for n, (_, _, d) in enumerate(params) if d is not None), len(params)
        )
        further = [(name, column, None) for name, column in (extra or {}).items()]
        return lines, [*params[:at], *further, *params[at:]], set(extra or {})


class _Version:
    """A definition of a block, which serves some of its calls.

    Attributes:
        word: its name.
        bodies: a call and its contents, by what identifies these contents.
        seen: the index of each of them.
        lines: the statements.
        params: the parameters.
        extra: those that the block lacks in the network.
    """

    def __init__(self) -> None:
        self.word = ""
        self.bodies: dict[Any, tuple[Group, ItemChains]] = {}
        self.seen: dict[Any, int] = {}
        self.lines: list[str] = []
        self.params: list[ParamValues] = []
        self.extra: set[str] = set()


def _column(groups: Sequence[Group], name: str) -> list[Any]:
    return [
        next((p.value for p in group.parameters if p.name == name), ANY)
        for group in groups
    ]


def _calls(root: Group) -> Iterator[Group]:
    """Yield the calls of blocks, in order; each comes before those inside of it."""
    for child in root.children:
        if isinstance(child, Group) and not child.shared:
            if child.role == "block":
                yield child
            yield from _calls(child)


def _in_order(
    root: Group, name: Callable[[Group], Hashable]
) -> dict[Hashable, list[Group]]:
    """Return the calls of each block, which comes after the blocks that it calls.

    Args:
        root: the network.
        name: what tells blocks apart.
    """
    calls: dict[Hashable, list[Group]] = {}
    for group in _calls(root):
        calls.setdefault(name(group), []).append(group)
    done: dict[Hashable, list[Group]] = {}
    begun: dict[Hashable, None] = {}

    def visit(key: Hashable) -> None:
        if key in done:
            return
        if key in begun:
            raise _Circular([*begun][[*begun].index(key) :])
        begun[key] = None
        for group in calls[key]:
            for inner in _called(group):
                visit(name(inner))
        del begun[key]
        done[key] = calls[key]

    for key in calls:
        visit(key)
    return done


class _Circular(Exception):
    """Some blocks are called in braces that other calls of them are given.

    Attributes:
        keys: these blocks.
    """

    def __init__(self, keys: Iterable[Hashable]) -> None:
        self.keys = frozenset(keys)


def _defined_together(root: Group) -> list[list[Group]]:
    """Return calls of a block that one definition may serve, the innermost first.

    Written out, a block does not take braces but calls what was in them. So if it is
    called in its own braces, the calls are told apart by how deep their contents are.
    """
    levels: dict[int, int] = {}
    for group in reversed([*_calls(root)]):
        inner = [levels[id(one)] for one in _called(group)]
        levels[id(group)] = 1 + max(inner, default=0)
    nested: frozenset[Hashable] = frozenset()

    def key(group: Group) -> Hashable:
        block = group.origin, group.word
        return (block, levels[id(group)]) if block in nested else block

    while True:
        try:
            return [*_in_order(root, key).values()]
        except _Circular as circle:
            nested |= circle.keys


def _called(group: Group) -> Iterator[Group]:
    """Yield the calls in a block's own statements."""
    for child in group.children:
        if isinstance(child, Group) and not child.shared:
            if child.role == "block":
                yield child
            else:
                yield from _called(child)


def _deep(body: ItemChains) -> Any:
    """Return the contents of a body as a tuple, to find equal ones."""
    return tuple(
        (
            chain.output,
            tuple(
                (
                    repr(item.key),
                    repr([(n, _shown(v)) for n, v in item.values.items()]),
                    _shown(item.channels),
                    item.implied,
                    item.tapped,
                    item.name and (item.name.text, repr(item.name.pattern)),
                    tuple(tuple(map(_deep, copies)) for copies in item.bodies),
                )
                for item in chain.items
            ),
        )
        for chain in body
    )


def _deep_values(group: Group) -> str:
    return repr([(p.name, _shown(p.value)) for p in group.parameters]) + repr(
        [(n, _shown(v)) for n, v in group.lets]
    )


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shown(v) for v in value)
    poly = getattr(value, "poly", None)
    if poly is not None:
        return int(value), poly.text()
    name = getattr(value, "text", None)
    if name is not None and hasattr(value, "pattern"):
        return name, value.pattern
    return type(value).__name__, getattr(value, "name", ""), repr(known_value(value))


# ---- the rest of a file ----------------------------------------------------------


def _doc(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _default(value: Any) -> str:
    return literal(known_value(value))[0]


def _ops(network: Network) -> Iterator[str]:
    """Yield the declarations of foreign layers."""
    seen: set[type] = set()
    for step in network.steps():
        op = step.op
        if isinstance(op, Foreign) and type(op) not in seen:
            seen.add(type(op))
            yield _op(op)


def _op(op: Foreign) -> str:
    definition = op.definition
    params = []
    for param in definition.params:
        type_ = f": {param.type}" if param.type else ""
        default = f" = {param.default.span.text}" if param.default is not None else ""
        params.append(f"{param.name}{type_}{default}")
    head = f"<{', '.join(params)}>" if params else ""
    if definition.inputs:
        head += f"({', '.join(name for name, _ in definition.inputs)})"
    lines = [f"{s.name} = {s.value.span.text}" for s in definition.settings]
    return f"op {definition.name}{head} {{\n" + "\n".join(lines) + "\n}"


def _initializers(initializers: Sequence[Initializer]) -> Iterator[str]:
    """Yield `init` statements, one for the weights and biases of one kind or layer."""
    line, last = "", Initializer(tensor="", scheme="")
    for one in initializers:
        goes_on = line and (one.kind, one.path) == (last.kind, last.path)
        if goes_on and f" {one.tensor}=" not in line:
            line += f" {one.tensor}={_scheme(one)}"
            continue
        if line:
            yield line
        where = " ".join(filter(None, (one.path and f"@{one.path}", one.kind)))
        line, last = f"init {where} {one.tensor}={_scheme(one)}", one
    if line:
        yield line


def _scheme(one: Initializer) -> str:
    arguments = dict(one.arguments)
    if one.scheme == "constant" and list(arguments) == ["val"]:
        value = arguments["val"]
        whole = isinstance(value, float) and value.is_integer()
        return str(int(value)) if whole else literal(value)[0]
    given = ", ".join(f"{name} = {literal(value)[0]}" for name, value in one.arguments)
    return f"{one.scheme}({given})" if given else one.scheme


def _claims(claims: Sequence[Expectation]) -> Iterator[str]:
    for claim in claims:
        value = claim.value
        if claim.op == "==" and isinstance(value, tuple):
            yield f"{claim.measure} {show_shape(value)}"
        elif isinstance(value, tuple):
            yield f"{claim.measure} {claim.op} {show_shape(value)}"
        else:
            number = f"{value:_}" if isinstance(value, int) and value > 9_999 else ""
            yield f"{claim.measure} {claim.op} {number or literal(value)[0]}"
