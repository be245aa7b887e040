"""The verifier of networks: each kind of violation is reported.

That elaborated networks are valid is checked by tests/test_specs.py for the presets,
and by `tests.comparing` for random specs. A violation is made at a random place, by a
fixed seed. Each must be reported with its own message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import pytest

import archdsl
from archdsl.conditions import Not
from archdsl.ir import (
    Expectation,
    Group,
    Initializer,
    Network,
    OldName,
    Port,
    Step,
    unchecked,
)
from archdsl.ir.nodes import OWNERS, holds_tensors
from archdsl.ir.verify import InvalidNetwork, Location, problems, verify
from archdsl.layer import kind
from archdsl.symbolic import Poly, Sym
from archdsl.values import Last
from tests import generated, manual_specs

# Everything that a network can have.
ALL = """arch 1

block unit<width, stride = 1> {
    residual {
        conv 3x3 width /stride -> bn -> relu -> conv 3x3 width -> bn
    }
    relu
}

block fuse<width>(high, low) {
    conv 3x3 width -> add { | @low -> conv 1x1 width }
}

network All<width = 8> {
    input 3x16x16
    conv 3x3 width -> stem: conv 3x3 width -> relu
    training output @stem -> aux: conv 1x1 3 -> relu
    output @stem -> low: conv 1x1 5
    tower: { conv 3x3 width; inner: { conv 1x1 width; tanh } }
    layer{}: unit<2 * width> x2
    unit{width}: unit<width, 2>
    parts.0: conv 1x1
    rest: seq { conv 3x3; relu; bn }
    enc: conv 3x3
    same enc
    conv 1x1 16 -> deep: unit<16>
    same deep
    add { conv 1x1 4 | permute last -> linear 4 -> permute first }
    skip: relu
    fused: fuse<12> { conv 1x1 | @skip }
    globalavgpool -> linear 10
    init conv weight=kaiming_normal(mode = "fan_out")
    init @stem bias=0
}
"""


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep small specs out of the cache of syntax trees."""
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


# ---- what is elaborated -----------------------------------------------------------


def test_a_network_with_everything_is_valid() -> None:
    network = archdsl.loads(ALL)
    assert verify(network) is network
    roles = {node.role for _, node in nodes(network) if isinstance(node, Group)}
    assert roles >= {"block", "group", "repeat", "copy", "structure", "shortcut"}
    assert any(isinstance(n, Group) and n.condition for _, n in nodes(network))
    assert any(node.pattern for _, node in nodes(network))


# ---- violations ----------------------------------------------------------------

Nodes = list[tuple[Location, Step | Group]]


def nodes(network: Network) -> Nodes:
    """Return every node with its location, in order."""

    def walk(
        place: Location, node: Step | Group
    ) -> Iterator[tuple[Location, Step | Group]]:
        yield place, node
        if isinstance(node, Group):
            for number, child in enumerate(node.children):
                yield from walk((*place, "children", number), child)

    return list(walk(("root",), network.root))


def changed(node: Any, **fields: Any) -> Any:
    """Return a node with changed fields, without validation."""
    kept = {name: getattr(node, name) for name in type(node).model_fields}
    return unchecked(type(node))(**{**kept, **fields})


def edited(network: Network, place: Location, change: Callable[[Any], Any]) -> Network:
    """Return a network with another node at a location."""

    def at(node: Any, rest: Location) -> Any:
        if not rest:
            return change(node)
        _, number, *further = rest
        assert isinstance(number, int)
        children = list(node.children)
        made = at(children[number], tuple(further))
        children[number : number + 1] = made if isinstance(made, list) else [made]
        return changed(node, children=tuple(children))

    return changed(network, root=at(network.root, place[1:]))


def with_fields(network: Network, place: Location, **fields: Any) -> Network:
    """Return a network in which the node at a location has other fields."""
    return edited(network, place, lambda node: changed(node, **fields))


@cache
def subjects() -> tuple[Network, ...]:
    texts = [
        *map(generated.specimen, range(12)),
        *map(manual_specs.specimen, range(12)),
    ]
    drawn = [archdsl.loads(t, params=manual_specs.params_of(t)) for t in texts]
    return (
        archdsl.loads(ALL),
        archdsl.load("resnet18"),
        archdsl.load("googlenet"),
        *drawn,
    )


Violations = Iterator[Callable[[], Network]]
VIOLATIONS: dict[str, tuple[Callable[[Network, Random], Violations], str]] = {}


def violation(says: str) -> Callable[[Any], Any]:
    def keep(function: Any) -> Any:
        VIOLATIONS[function.__name__] = function, says
        return function

    return keep


def steps(network: Network) -> list[tuple[Location, Step]]:
    return [(p, n) for p, n in nodes(network) if isinstance(n, Step)]


def groups(network: Network) -> list[tuple[Location, Group]]:
    return [(p, n) for p, n in nodes(network)[1:] if isinstance(n, Group)]


def each(network: Network, found: Any, **fields: Any) -> Violations:
    """Yield networks in which one of some nodes has other, computed fields."""
    for place, node in found:
        values = {name: make(node) for name, make in fields.items()}
        yield lambda p=place, v=values: with_fields(network, p, **v)


def fed(network: Network) -> list[tuple[Location, Group]]:
    return [(p, g) for p, g in groups(network) if g.ports]


def with_port(group: Group, at: int, **fields: Any) -> tuple[Port, ...]:
    """Return the inputs of a block, with other fields in one of them."""
    ports = list(group.ports)
    ports[at] = changed(ports[at], **fields)
    return tuple(ports)


@violation("two are the same value")
def one_value_for_two_inputs(network: Network, random: Random) -> Violations:
    same = lambda g: (g.ports[0], changed(g.ports[0], name=g.ports[1].name))  # noqa: E731
    return each(network, fed(network), ports=same)


@violation("two ports are named")
def one_name_for_two_inputs(network: Network, random: Random) -> Violations:
    again = lambda g: with_port(g, 1, name=g.ports[0].name)  # noqa: E731
    return each(network, fed(network), ports=again)


@violation("the first is the block's input")
def inputs_in_another_order(network: Network, random: Random) -> Violations:
    return each(network, fed(network), ports=lambda group: group.ports[::-1])


@violation("if it has two or more")
def a_single_input_with_a_name(network: Network, random: Random) -> Violations:
    return each(network, fed(network), ports=lambda group: group.ports[:1])


@violation(", and here ")
def another_shape_of_an_input(network: Network, random: Random) -> Violations:
    grown = lambda g: with_port(g, 1, shape=(*g.ports[1].shape[:-1], 77))  # noqa: E731
    return each(network, fed(network), ports=grown)


@violation("no parameter has the channels of")
def an_input_without_its_channels(network: Network, random: Random) -> Violations:
    return each(network, fed(network), ports=lambda g: with_port(g, 1, name="other"))


@violation("exists only in training")
def an_input_of_training(network: Network, random: Random) -> Violations:
    return each(network, fed(network), ports=lambda g: with_port(g, 1, training=True))


@violation("is an attribute of torch's modules")
def an_input_that_no_argument_can_be(network: Network, random: Random) -> Violations:
    return each(network, fed(network), ports=lambda g: with_port(g, 0, name="train"))


def parted(network: Network) -> list[tuple[Location, Group]]:
    return [(p, g) for p, g in groups(network) if g.extras]


def with_extra(group: Group, **fields: Any) -> tuple[Port, ...]:
    """Return the additional outputs of a part, with other fields in the first."""
    return changed(group.extras[0], **fields), *group.extras[1:]


@violation("two outputs are the same value")
def one_value_for_two_outputs(network: Network, random: Random) -> Violations:
    same = lambda g: with_extra(g, value=g.output, shape=g.shape)  # noqa: E731
    return each(network, parted(network), extras=same)


@violation("two extras are named")
def one_name_for_two_outputs(network: Network, random: Random) -> Violations:
    again = lambda g: (*g.extras, g.extras[0])  # noqa: E731
    return each(network, parted(network), extras=again)


@violation("an output is a value from outside")
def an_output_from_outside(network: Network, random: Random) -> Violations:
    entry = lambda g: with_extra(g, value=g.input, shape=g.input_shape)  # noqa: E731
    return each(network, parted(network), extras=entry)


@violation("is inside")
def an_output_less(network: Network, random: Random) -> Violations:
    return each(network, parted(network), extras=lambda group: group.extras[1:])


@violation(", and here ")
def another_shape_of_an_output(network: Network, random: Random) -> Violations:
    shape = lambda g: (*g.extras[0].shape[:-1], 77)  # noqa: E731
    return each(
        network, parted(network), extras=lambda g: with_extra(g, shape=shape(g))
    )


@violation("exists only in training")
def an_output_of_training(network: Network, random: Random) -> Violations:
    return each(network, parted(network), extras=lambda g: with_extra(g, training=True))


@violation("is an attribute of torch's modules")
def an_output_that_nothing_can_be(network: Network, random: Random) -> Violations:
    return each(network, parted(network), extras=lambda g: with_extra(g, name="train"))


@violation("modules of one output")
def several_outputs_of_a_seq(network: Network, random: Random) -> Violations:
    return each(network, parted(network), indexed=lambda _: True)


@violation("it owns nothing")
def outputs_of_what_owns_no_names(network: Network, random: Random) -> Violations:
    own = [(p, g) for p, g in groups(network) if g.role == "copy"]
    port = lambda g: (Port(name="p", value=g.output, shape=g.shape),)  # noqa: E731
    return each(network, own, extras=port)


@violation("the outputs are those of the network")
def outputs_of_the_root(network: Network, random: Random) -> Violations:
    root = network.root
    port = Port(name="p", value=root.output, shape=root.shape)
    yield lambda: changed(network, root=changed(root, extras=(port,)))


@violation("is defined twice")
def value_made_twice(network: Network, random: Random) -> Violations:
    return each(network, steps(network), output=lambda step: step.inputs[0])


@violation("before that is defined")
def later_read(network: Network, random: Random) -> Violations:
    return each(
        network,
        steps(network),
        inputs=lambda step: (step.output, *step.inputs[1:]),
    )


@violation("before that is defined")
def parts_in_another_order(network: Network, random: Random) -> Violations:
    for place, group in [(("root",), network.root), *groups(network)]:
        for number, (one, two) in enumerate(pairwise(group.children)):
            made = [n for n in (one, two) if isinstance(n, Step)]
            if len(made) == 2 and one.output in two.inputs:
                parts = list(group.children)
                parts[number : number + 2] = two, one
                yield lambda p=place, c=tuple(parts): with_fields(
                    network, p, children=c
                )


@violation("gives")
def another_shape(network: Network, random: Random) -> Violations:
    grown = lambda step: (step.shape[0] + 1, *step.shape[1:])  # noqa: E731
    plain = [(p, s) for p, s in steps(network) if not isinstance(s.shape, Last)]
    return each(network, plain, shape=grown)


@violation(", and here ")
def another_input_shape(network: Network, random: Random) -> Violations:
    grown = lambda s: ((s.input_shapes[0][0] + 1, 9, 9), *s.input_shapes[1:])  # noqa: E731
    return each(network, steps(network), input_shapes=grown)


@violation(", and here ")
def another_shape_of_a_group(network: Network, random: Random) -> Violations:
    return each(network, groups(network), shape=lambda group: (*group.shape[:-1], 77))


@violation("channels last")
def channels_in_another_place(network: Network, random: Random) -> Violations:
    maps = [(p, s) for p, s in steps(network) if len(s.shape) == 3]
    turn = lambda s: tuple(s) if isinstance(s, Last) else Last(s)  # noqa: E731
    return each(network, maps, shape=lambda step: turn(step.shape))


@violation("conv")
def another_width(network: Network, random: Random) -> Violations:
    convs = [(p, s) for p, s in steps(network) if s.op.word == "conv"]
    return each(
        network,
        convs,
        op=lambda s: s.op.replace(width=int(s.shape[0]) + 1, groups=1),
    )


@violation("is out of bounds")
def an_argument_out_of_bounds(network: Network, random: Random) -> Violations:
    convs = [(p, s) for p, s in steps(network) if s.op.word == "conv"]
    return each(network, convs, op=lambda step: step.op.replace(groups=0))


@violation("cannot be")
def an_argument_of_another_type(network: Network, random: Random) -> Violations:
    convs = [(p, s) for p, s in steps(network) if s.op.word == "conv"]
    return each(network, convs, op=lambda step: step.op.replace(width=3.5))


@violation("by its name and its owner")
def another_path(network: Network, random: Random) -> Violations:
    return each(network, steps(network), path=lambda step: step.path + "x")


@violation("by its name and its owner")
def another_name(network: Network, random: Random) -> Violations:
    owners = [(p, g) for p, g in groups(network) if g.role in ("block", "group")]
    return each(network, [*steps(network), *owners], name=lambda node: node.name + "x")


@violation("cannot name a part")
def a_name_that_no_module_can_have(network: Network, random: Random) -> Violations:
    for bad in ("forward", "a b", "__class__", "x;import os", "é", "a.", "a..b", "7"):
        top = [
            (p, n)
            for p, n in nodes(network)[1:]
            if n.name and n.path == n.name and not n.pattern and isinstance(n, Step)
        ]
        yield from each(network, top, name=lambda _, b=bad: b, path=lambda _, b=bad: b)


@violation("two parts are named")
def one_name_for_two(network: Network, random: Random) -> Violations:
    for place, group in [(("root",), network.root), *groups(network)]:
        own = [n for n, child in enumerate(group.children) if isinstance(child, Step)]
        for one, two in pairwise(own):
            first = group.children[one]
            if not any(group.children[n].shared for n in (one, two)):
                there = (*place, "children", two)
                yield from each(
                    network,
                    [(there, group.children[two])],
                    name=lambda _, f=first: f.name,
                    path=lambda _, f=first: f.path,
                )


@violation("is its name now")
def an_older_name_that_it_has(network: Network, random: Random) -> Violations:
    first = [(p, s) for p, s in steps(network) if not s.shared]
    yield from each(
        network, first, renamed_from=lambda node: (OldName(name=node.name),)
    )


@violation("two parts had the name")
def one_older_name_twice(network: Network, random: Random) -> Violations:
    first = [(p, s) for p, s in steps(network) if not s.shared]
    yield from each(network, first, renamed_from=lambda _: (OldName(name="old.1"),) * 2)


@violation("cannot be part of a key")
def an_older_name_that_no_key_has(network: Network, random: Random) -> Violations:
    for bad in ("", "a b", "a..b", "a.", 'x"', "{i}", "\n"):
        first = [(p, s) for p, s in steps(network) if not s.shared]
        yield from each(
            network, first, renamed_from=lambda _, b=bad: (OldName(name=b),)
        )


@violation("it does not give old")
def an_older_name_that_its_template_does_not_give(
    network: Network, random: Random
) -> Violations:
    made = (OldName(name="old", pattern=("new",)),)
    first = [(p, s) for p, s in steps(network) if not s.shared]
    yield from each(network, first, renamed_from=lambda _: made)


def _registering(network: Network, indexed: bool) -> list[Any]:
    return [
        (place, group)
        for place, group in [(("root",), network.root), *groups(network)]
        if group.role in OWNERS and group.indexed == indexed and not group.shared
    ]


@violation("no part with weights or buffers is named `nothing`")
def a_place_for_nothing(network: Network, random: Random) -> Violations:
    owners = _registering(network, indexed=False)
    yield from each(network, owners, registered=lambda _: ("nothing",))


@violation("stands twice")
def two_places_for_one_part(network: Network, random: Random) -> Violations:
    owners = [
        (place, group)
        for place, group in _registering(network, indexed=False)
        if any(map(holds_tensors, group.parts()))
    ]
    names = {
        id(group): next(part.name for part in group.parts() if holds_tensors(part))
        for _, group in owners
    }
    yield from each(network, owners, registered=lambda one: (names[id(one)],) * 2)


@violation("registered as they run")
def another_order_in_a_seq(network: Network, random: Random) -> Violations:
    owners = _registering(network, indexed=True)
    yield from each(network, owners, registered=lambda _: ("0",))


@violation("it owns no names")
def an_order_of_no_names(network: Network, random: Random) -> Violations:
    others = [(p, group) for p, group in groups(network) if group.role not in OWNERS]
    yield from each(network, others, registered=lambda _: ("conv1",))


@violation("named by number")
def another_number_in_a_seq(network: Network, random: Random) -> Violations:
    for place, group in groups(network):
        if group.indexed and not group.shared and group.children:
            found = [
                ((*place, "children", n), child)
                for n, child in enumerate(group.children)
                if isinstance(child, Step) and n == 0
            ]
            yield from each(
                network,
                found,
                name=lambda _: "7",
                path=lambda step: step.path[:-1] + "7",
            )


@violation("only the output of an owner can be read outside it")
def a_value_that_leaves_its_owner(network: Network, random: Random) -> Violations:
    for place, group in groups(network):
        if group.role not in ("block", "group"):
            continue
        inner = [s for s in group.steps() if s.output != group.output]
        for other, step in steps(network):
            behind = other[: len(place)] > place
            if behind and inner and not step.training:
                one = random.choice(inner)
                yield from each(
                    network,
                    [(other, step)],
                    inputs=lambda s, v=one.output: (v, *s.inputs[1:]),
                    input_shapes=lambda s, v=one.shape: (v, *s.input_shapes[1:]),
                )


@violation("which is for training")
def a_value_of_training_in_inference(network: Network, random: Random) -> Violations:
    place, last = steps(network)[-1]
    late = [s for _, s in steps(network) if s.training and not last.training]
    if late:
        read = {"inputs": (late[0].output,), "input_shapes": (late[0].shape,)}
        yield lambda: with_fields(network, place, **read)


@violation("exists only in training")
def an_output_of_training_in_inference(network: Network, random: Random) -> Violations:
    for port in network.outputs:
        if port.training:
            ports = [changed(p, training=False) for p in network.outputs]
            yield lambda v=tuple(ports): changed(network, outputs=v)


@violation("nothing defines the value")
def an_output_of_nothing(network: Network, random: Random) -> Violations:
    ghost = Port(name="ghost", value=10**6, shape=(3,))
    yield lambda: changed(network, outputs=(*network.outputs, ghost))


@violation("two outputs are named")
def two_outputs_of_one_name(network: Network, random: Random) -> Violations:
    yield lambda: changed(network, outputs=(*network.outputs, network.outputs[0]))


@violation("two inputs are named")
def two_inputs_of_one_name(network: Network, random: Random) -> Violations:
    (first, *_) = network.inputs
    yield lambda: changed(network, inputs=(first, changed(first, value=10**6)))


@violation("starts with an underscore")
def an_input_that_no_argument_can_be_called(
    network: Network, random: Random
) -> Violations:
    (first, *others) = network.inputs
    yield lambda: changed(network, inputs=(changed(first, name="__x"), *others))


@violation("nothing reads the value")
def a_step_for_nothing(network: Network, random: Random) -> Violations:
    relu = kind("relu")
    assert relu is not None
    for place, step in steps(network):
        made = changed(
            step,
            op=relu(),
            name="spare",
            path="spare",
            pattern=(),
            inputs=(step.output,),
            input_shapes=(step.shape,),
            output=10**6,
        )
        if place[1:-1] == ("children",):
            yield lambda p=place, m=made: edited(network, p, lambda node: [node, m])


@violation("before that is defined")
def a_group_that_gives_nothing(network: Network, random: Random) -> Violations:
    return each(network, groups(network), output=lambda _: 10**6)


@violation("the number of copies")
def another_count(network: Network, random: Random) -> Violations:
    repeats = [(p, g) for p, g in groups(network) if g.role == "repeat"]
    return each(network, repeats, count=lambda group: len(group.children) + 1)


@violation("inputs")
def another_number_of_inputs(network: Network, random: Random) -> Violations:
    merges = [(p, s) for p, s in steps(network) if len(s.inputs) > 1]
    one = [(p, s) for p, s in steps(network) if len(s.inputs) == 1]
    yield from each(
        network,
        merges,
        inputs=lambda s: s.inputs[:1],
        input_shapes=lambda s: s.input_shapes[:1],
    )
    yield from each(
        network,
        one,
        inputs=lambda s: s.inputs * 2,
        input_shapes=lambda s: s.input_shapes * 2,
    )


@violation("expression")
def a_number_that_is_not_its_expression(network: Network, random: Random) -> Violations:
    convs = [
        (p, s)
        for p, s in steps(network)
        if s.op.word == "conv" and isinstance(vars(s.op)["width"], Sym)
    ]
    for poly in (Poly.name("nobody"), Poly.name("in_channels") + Poly.constant(1_000)):
        yield from each(
            network,
            convs,
            op=lambda s, p=poly: s.op.replace(width=Sym(int(s.op.width), p)),
        )


@violation("it does not give")
def a_label_of_another_name(network: Network, random: Random) -> Violations:
    found = [(p, n) for p, n in nodes(network)[1:] if n.pattern]
    return each(network, found, pattern=lambda node: (*node.pattern, "x"))


@violation("the part is")
def a_condition_that_does_not_decide(network: Network, random: Random) -> Violations:
    found = [(p, g) for p, g in groups(network) if g.condition is not None]
    return each(network, found, condition=lambda group: Not(group.condition))


@violation("to share")
def a_shared_part_without_an_earlier_one(
    network: Network, random: Random
) -> Violations:
    plain = [(p, s) for p, s in steps(network) if not s.shared and len(p) == 3]
    return each(network, plain, shared=lambda _: True)


@violation("the earlier layer")
def another_layer_of_one_name(network: Network, random: Random) -> Violations:
    found = [(p, s) for p, s in steps(network) if s.shared and s.op.word == "conv"]
    return each(network, found, op=lambda s: s.op.replace(bias=s.op.bias is False))


@violation("has other layers")
def a_shared_part_with_other_layers(network: Network, random: Random) -> Violations:
    found = [(p, g) for p, g in groups(network) if g.shared and len(g.children) > 1]
    return each(network, found, children=lambda group: group.children[:-1])


@violation("initializers")
def an_initialisation_of_nothing(network: Network, random: Random) -> Violations:
    for one in (
        Initializer(kind="conv", tensor="weight", scheme="dice"),
        Initializer(path="nowhere", tensor="weight", scheme="normal"),
        Initializer(kind="relu", tensor="weight", scheme="normal"),
        Initializer(tensor="weight", scheme="normal"),
        Initializer(
            kind="conv", tensor="weight", scheme="normal", arguments=(("std", -1.0),)
        ),
    ):
        yield lambda one=one: changed(network, initializers=(one,))


@violation("cannot be a claim")
def a_claim_about_nothing(network: Network, random: Random) -> Violations:
    claim = Expectation(measure="beauty", op="==", value=1, span=network.root.span)
    yield lambda: changed(network, expectations=(claim,))


@pytest.mark.parametrize("name", sorted(VIOLATIONS))
def test_invalid_networks_are_refused(name: str) -> None:
    function, says = VIOLATIONS[name]
    tried = 0
    for number, network in enumerate(subjects()):
        random = Random(f"{name} {number}")
        places = list(function(network, random))
        for violate in random.sample(places, min(3, len(places))):
            found = problems(violate())
            assert any(says in str(problem) for problem in found), found
            tried += 1
    assert tried


def test_problems_have_a_place_and_all_are_named() -> None:
    network = archdsl.loads("arch 1\nnetwork N { input 3x8x8; conv 3x3 4; relu }\n")
    place, _ = steps(network)[1]
    invalid = with_fields(network, place, shape=(5, 8, 8))
    with pytest.raises(InvalidNetwork) as caught:
        verify(invalid)
    first = caught.value.problems[0]
    assert first.place == ("root", "children", 1, "shape")
    assert str(first) == "root.children[1].shape: relu gives 4x8x8, not 5x8x8"
    assert str(first) in str(caught.value) and "N is not a valid" in str(caught.value)
