"""Networks made in code: equal to those of specs, and valid or refused."""

from __future__ import annotations

from typing import Any

import pytest

import archdsl
from archdsl.ir import Step
from archdsl.ir.build import NetworkBuilder
from archdsl.ir.verify import InvalidNetwork
from archdsl.layer import Mismatch
from tests.comparing import differences, skeleton

SPEC = """arch 1

network Small {
    input 3x16x16
    stem: { conv 3x3 8 bias=false -> bn; inner: { relu } }
    low: conv 1x1 8
    training output @low -> aux: conv 1x1 2
    add { @low -> conv 3x3 8 bias=true | @stem }
    same low
    globalavgpool -> linear 10 bias=true
}
"""


def small() -> archdsl.Network:
    build = NetworkBuilder("Small")
    x = build.input((3, 16, 16))
    with build.group("stem", x):
        x = build.add("conv", x, kernel=(3, 3), width=8, bias=False)
        x = build.add("bn", x)
        with build.group("inner", x):
            x = build.add("relu", x)
    low = build.add("conv", x, name="low", kernel=(1, 1), width=8)
    aux = build.add("conv", low, name="aux", training=True, kernel=(1, 1), width=2)
    build.output(aux, "aux", training=True)
    y = build.add("conv", low, kernel=(3, 3), width=8, bias=True)
    y = build.add("add", y, x)
    y = build.again("low", y)
    y = build.add("globalavgpool", y)
    return build.network(build.add("linear", y, width=10, bias=True))


def essence(step: Step) -> tuple[Any, ...]:
    """Return everything about a step except its place in the text."""
    mode = step.shared, step.training
    return step.path, step.op.word, step.form, step.inputs, step.shape, mode


def test_a_network_is_that_of_the_spec() -> None:
    spec = archdsl.loads(SPEC)
    built = small()
    steps = [
        (s.path, s.op.word, s.input_shapes, s.shape, s.shared, s.training)
        for s in built.steps()
    ]
    assert steps == [
        (s.path, s.op.word, s.input_shapes, s.shape, s.shared, s.training)
        for s in spec.steps()
    ]
    assert [s.inputs for s in built.steps()] == [s.inputs for s in spec.steps()]
    ours, theirs = archdsl.analyze(built), archdsl.analyze(spec)
    assert (ours.params, ours.macs, ours.depth) == (
        theirs.params,
        theirs.macs,
        theirs.depth,
    )
    assert not differences(built, archdsl.build(built))


def test_a_chain_is_exactly_that_of_the_spec() -> None:
    build = NetworkBuilder("N")
    x = build.input((3, 8, 8))
    with build.group("g", x):
        x = build.add("conv", x, kernel=(3, 3), width=4, bias=False)
        x = build.add("bn", x)
    x = build.add("relu", x, name="tanh1")
    x = build.add("tanh", x)
    built = build.network(build.add("relu", x, name="act"))
    body = "input 3x8x8; g: { conv 3x3 4 -> bn }; tanh1: relu; tanh; act: relu"
    spec = archdsl.loads(f"arch 1\nnetwork N {{ {body} }}\n")
    assert skeleton(built) == skeleton(spec)


def test_a_projection_does_not_count_towards_depth() -> None:
    build = NetworkBuilder("N")
    x = build.input((3, 8, 8))
    y = build.add("conv", x, kernel=(3, 3), width=4)
    short = build.add("conv", x, shortcut=True, kernel=(1, 1), width=4)
    network = build.network(build.add("add", y, short))
    assert archdsl.analyze(network).depth == 1
    assert not differences(network, archdsl.build(network))


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "says"),
    [
        ("cnov", {}, ValueError, "did you mean `conv`"),
        ("conv", {}, TypeError, "conv needs 'kernel'"),
        ("relu", {"slope": 1.0}, TypeError, "relu has no argument 'slope'"),
        ("conv", {"kernel": (0, 3)}, ValueError, "out of bounds"),
        ("conv", {"kernel": 3}, ValueError, "1 to 3 sizes"),
        ("dropout", {"p": float("nan")}, ValueError, "cannot be nan"),
        ("conv", {"kernel": (3, 3), "groups": 2}, Mismatch, "do not divide"),
    ],
)
def test_wrong_layers_are_refused(
    layer: str, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    build = NetworkBuilder("N")
    with pytest.raises(error, match=says):
        build.add(layer, build.input((3, 8, 8)), **arguments)


def test_wrong_values_and_names_are_refused() -> None:
    build = NetworkBuilder("N")
    with pytest.raises(ValueError, match="input"):
        build.network(1)
    x = build.input((3, 8, 8))
    with pytest.raises(ValueError, match="no value 7"):
        build.add("relu", 7)
    with pytest.raises(ValueError, match="no earlier layer"):
        build.again("conv1", x)
    with build.group("g", x):
        inner = build.add("relu", x, name="a")
        y = build.add("tanh", inner)
    with pytest.raises(InvalidNetwork, match="only the output of an owner can be read"):
        build.network(build.add("add", inner, y))


def test_a_value_that_nothing_reads_is_refused() -> None:
    build = NetworkBuilder("N")
    x = build.input((3, 8, 8))
    build.add("relu", x)
    with pytest.raises(InvalidNetwork, match="nothing reads"):
        build.network(build.add("tanh", x))
