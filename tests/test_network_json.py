"""Networks as JSON: written files can be read, and invalid ones are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest

import archdsl
from archdsl.backends.spec import Unwritable
from archdsl.ir import Group, Network
from archdsl.ir.build import NetworkBuilder
from archdsl.ir.verify import InvalidNetwork, problems
from archdsl.limits import MAX_INTEGER, MAX_NETWORK_BYTES
from archdsl.resources import shipped_presets
from tests import presets
from tests.comparing import skeleton
from tests.generated import specimen
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

# Together, they have expressions of every kind, conditions, kinds and blocks as values,
# claims, containers, channels last, shared weights and training outputs.
SOME = (
    "convnext_tiny",
    "deeplabv3_mobilenet_v3_large",
    "efficientnet_b0",
    "googlenet",
    "resnext50_32x4d",
    "siamese",
)
SMALL = """arch 1

# A convolution, unless it is left out.
block unit<width, act: kind = relu, wide = false> seq {
    conv 3x3 (2 * width // 3) -> bn if wide -> act
}

network Net<width = 12, rate = 0.5> {
    input 3x8x8
    a{width // 6}: unit<width, gelu>
    unit<width, wide = true>
    residual { conv 3x3 -> bn }
    dropout rate
    expect params > 10, output 8x8x8
    init conv weight=normal(std = 0.1)
}
"""


def check(network: Network) -> Network:
    """Check that a network is the same after it was written and read."""
    text = network.model_dump_json()
    again = Network.model_validate_json(text)
    assert again.model_dump_json() == text
    assert skeleton(again) == skeleton(network)
    assert again.inputs == network.inputs and again.outputs == network.outputs
    assert again.initializers == network.initializers
    assert [s.span for s in again.steps()] == [s.span for s in network.steps()]
    places = [(s.span.line, s.span.column) for s in network.steps()]
    assert [(s.span.line, s.span.column) for s in again.steps()] == places
    return again


@pytest.mark.parametrize("name", SOME)
def test_presets(name: str) -> None:
    network = presets.network(name)
    again = check(network)
    assert archdsl.emit(again) == presets.emitted(name)
    assert archdsl.analyze(again).as_dict() == archdsl.analyze(network).as_dict()
    assert skeleton(archdsl.loads(archdsl.expand(again))) == skeleton(network)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped_presets().keys() - set(SOME)))
def test_all_other_presets(name: str) -> None:
    assert archdsl.emit(check(presets.network(name))) == presets.emitted(name)


def test_specimens() -> None:
    for case in range(25):
        network = archdsl.loads(specimen(case))
        assert archdsl.emit(check(network)) == archdsl.emit(network)


def test_networks_made_in_code() -> None:
    build = NetworkBuilder("Small")
    x = build.input((3, 8, 8), "image")
    with build.group("stem", x):
        x = build.add("conv", x, kernel=(3, 3), width=4)
    check(build.network(build.add("permute", x, channels="last")))


def test_the_schema_describes_what_is_written() -> None:
    described = jsonschema.Draft202012Validator(Network.model_json_schema())
    described.check_schema(Network.model_json_schema())
    for name in ("googlenet", "convnext_tiny"):
        described.validate(json.loads(archdsl.load(name).model_dump_json()))
    data = json.loads(archdsl.loads(SMALL).model_dump_json())
    described.validate(data)
    for change in (
        lambda d: d.pop("version"),
        lambda d: d.update(more=1),
        lambda d: d["root"].update(role="other"),
        lambda d: first(d)["op"].update(kind="convolution"),
        lambda d: first(d)["op"]["arguments"].update(more=1),
        lambda d: first(d)["op"]["arguments"].pop("kernel"),
    ):
        wrong = copy.deepcopy(data)
        change(wrong)
        assert not described.is_valid(wrong)


# ---- what is refused -------------------------------------------------------------


def first(data: dict[str, Any]) -> Any:
    """Return the first layer of a network's data."""
    node = data["root"]
    while node.get("node") != "step":
        node = node["children"][0]
    return node


def _set(path: str, value: Any) -> Callable[[Any], None]:
    """Return a change that sets a field of the network, by its path."""

    def change(data: Any) -> None:
        *way, last = path.replace("[", ".[").split(".")
        for part in way:
            data = data[int(part[1:-1])] if part.startswith("[") else data[part]
        data[int(last[1:-1]) if last.startswith("[") else last] = value

    return change


CONV = "root.children[0].children[0]"
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another version": (_set("version", 2), "version: it is 1, not 2"),
    "a version that is true": (_set("version", True), "version: it is 1, not true"),
    "an unknown field": (_set("root.chidren", []), "no field 'chidren'; did you mean"),
    "a missing field": (lambda d: d.pop("root"), "root: it is missing"),
    "an unknown kind": (
        _set(f"{CONV}.op.kind", "convs"),
        f"{CONV}.op.kind: there is no layer kind 'convs'; did you mean `conv`?",
    ),
    "an unknown argument": (
        _set(f"{CONV}.op.arguments.strides", 2),
        f"{CONV}.op.arguments.strides: there is no field 'strides'",
    ),
    "a missing argument": (
        lambda d: first(d)["op"]["arguments"].pop("kernel"),
        f"{CONV}.op.arguments.kernel: it is missing",
    ),
    "an argument of another type": (
        _set(f"{CONV}.op.arguments.kernel", "3x3"),
        f"{CONV}.op.arguments.kernel: it cannot be '3x3'",
    ),
    "an argument out of bounds": (
        _set(f"{CONV}.op.arguments.kernel", [0, 3]),
        f"{CONV}.op.arguments.kernel: it is out of bounds",
    ),
    "an older name that no key has": (
        _set(f"{CONV}.renamed_from", [{"name": "a b"}]),
        f"{CONV}.renamed_from[0].name: it is a part of a checkpoint's key, not",
    ),
    "older names that are none": (
        _set(f"{CONV}.renamed_from", "norm.1"),
        f"{CONV}.renamed_from: it is a list, not",
    ),
    "an order of registration that is none": (
        _set("root.registered", "conv1"),
        "root.registered: it is a list, not",
    ),
    "a part to register that is not there": (
        _set("root.registered", ["nothing"]),
        "root.registered[0]: no part with weights or buffers is named `nothing`",
    ),
    "a wrong shape": (
        _set(f"{CONV}.shape", [7, 8, 8]),
        f"{CONV}.shape: conv gives 8x8x8, not 7x8x8",
    ),
    "a size that is not there": (
        _set("inputs[0].shape", [0, 8, 8]),
        "inputs[0].shape: 0x8x8 has a size that is not 1 to",
    ),
    "an absurd size": (
        _set("inputs[0].shape", [2**40, 8, 8]),
        f"inputs[0].shape[0]: it is larger than {MAX_INTEGER:,}",
    ),
    "a later value": (_set(f"{CONV}.inputs", [99]), f"{CONV}.inputs[0]: it reads"),
    "an output that nobody makes": (
        _set("outputs[0].value", 99),
        "outputs[0]: nothing defines the value 99",
    ),
    "a wrong expression": (
        _set(f"{CONV}.op.arguments.width.value", 9),
        f"{CONV}.op.width: 9 is not the value of its expression",
    ),
    "an expression of nothing": (
        _set(f"{CONV}.op.arguments.width.expression", [[1, "depth"]]),
        "is not the value of its expression",
    ),
    "an expression that is code": (
        _set(f"{CONV}.op.arguments.width.expression", [[1, "print('x')"]]),
        "it is the name of a parameter, not",
    ),
    "an operator with too many operands": (
        _set(
            f"{CONV}.op.arguments.width.expression",
            [[1, ["//", [[1]], [[1]], [[1]]]]],
        ),
        "it is a name, or an operator and expressions",
    ),
    "a division by zero": (
        _set(f"{CONV}.op.arguments.width.expression", [[1, ["//", [[1]], []]]]),
        "is not the value of its expression",
    ),
    "a number that is not its parameter": (
        _set("root.parameters[1].value", 0.25),
        "is not what `rate` is",
    ),
    "a number that is true": (_set("root.count", True), "root.count: it is an integer"),
    "a parameter that is code": (
        _set("root.parameters[0].name", "x): import os; def f(self"),
        "root.parameters[0].name: it is a name of letters, digits and _, not",
    ),
    "a parameter that hides the module": (
        _set("root.parameters[0].name", "torch"),
        "root.parameters[0].name: `torch` cannot name a parameter",
    ),
    "a class that is code": (
        _set("root.children[0].word", "A: pass\nimport os\nclass B"),
        "root.children[0].word: it is a name of letters",
    ),
    "documentation with control characters": (
        _set("root.children[0].doc", "end\r\x00"),
        "root.children[0].doc: it is a text without control characters",
    ),
    "a label that is no name": (
        _set(f"{CONV}.name", "a b"),
        f"{CONV}.name: it is a name of letters, digits, _, . and -",
    ),
    "a path that is another's": (
        _set(f"{CONV}.path", "b"),
        f"{CONV}.path: it is a2.0 by its name and its owner",
    ),
    "an unknown scheme": (
        _set("initializers[0].scheme", "exec"),
        "initializers[0].scheme: it is one of",
    ),
    "an unknown claim": (
        _set("expectations[0].measure", "size"),
        "expectations[0]: `size >` cannot be a claim",
    ),
    "a span that is short": (
        _set(f"{CONV}.span", ["net.arch", 1]),
        f"{CONV}.span: it is a file, two offsets",
    ),
    "a node that is neither": (
        _set("root.children[0].node", "layer"),
        'root.children[0].node: it is step or group, not "layer"',
    ),
    "a list that is none": (
        _set("root.children", {}),
        "root.children: it is a list, not {}",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what: str) -> None:
    change, message = WRONG[what]
    data = json.loads(archdsl.loads(SMALL).model_dump_json())
    change(data)
    with pytest.raises(InvalidNetwork) as caught:
        Network.model_validate_json(json.dumps(data))
    assert message in str(caught.value)


TEXTS = {
    "nothing": ("", "it is not JSON: line 1, column 1"),
    "no JSON": ("{'a': 1}", "it is not JSON: line 1, column 2"),
    "no object": ("[]", "it is an object, not []"),
    "no number": ('{"version": NaN}', "NaN is not a number"),
    "a key twice": ('{"version": 1, "version": 1}', "an object has a key twice"),
    "many digits": ('{"version": ' + "1" * 5000 + "}", "it is not JSON"),
    "no text": (b"\xff\xfe\xff", "it is not JSON"),
    "many brackets": ("[" * 100_000, "it is nested too deeply"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_texts_that_hold_no_network(what: str) -> None:
    text, message = TEXTS[what]
    with pytest.raises(InvalidNetwork) as caught:
        Network.model_validate_json(text)
    assert message in str(caught.value)


def test_what_is_no_text_at_all() -> None:
    with pytest.raises(TypeError, match="a network as JSON is a text, not int"):
        Network.model_validate_json(3)  # type: ignore[arg-type]


def test_large_texts_are_refused_unread() -> None:
    text = " " * (MAX_NETWORK_BYTES + 1)
    with pytest.raises(InvalidNetwork, match="it has more than 33,554,432 bytes"):
        Network.model_validate_json(text)


def test_groups_that_nest_without_end() -> None:
    data = json.loads(archdsl.loads(SMALL).model_dump_json())
    inner = data["root"]["children"][0]
    for _ in range(200):
        inner = {**inner, "children": [inner]}
    data["root"]["children"] = [inner]
    with pytest.raises(
        InvalidNetwork, match="groups are nested deeper than 150 levels"
    ):
        Network.model_validate_json(json.dumps(data))


def test_parts_without_end() -> None:
    text = '{"version": 1, "root": [' + '{"node": 1},' * 60_001 + "]}"
    with pytest.raises(InvalidNetwork, match="there are more than 60,000 parts"):
        Network.model_validate_json(text)


def test_foreign_layers_are_refused() -> None:
    text = """arch 1
op gate { torch = "layers.Gate" }
network Net {
    input 3x8x8
    gate
}
"""
    with pytest.raises(ValueError, match="gate can only be declared in a spec"):
        archdsl.loads(text).model_dump_json()


# ---- random damage ---------------------------------------------------------------


def _damaged(value: Any, random: Random) -> Any:
    """Return a value with one random change."""
    if isinstance(value, dict) and value:
        key = random.choice(sorted(value))
        if random.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: _damaged(value[key], random)}
    if isinstance(value, list) and value:
        place = random.randrange(len(value))
        action = random.random()
        if action < 0.1:
            return [*value[:place], *value[place + 1 :]]
        if action < 0.2:
            return [*value[: place + 1], *value[place:]]
        return [*value[:place], _damaged(value[place], random), *value[place + 1 :]]
    options = [0, 1, -1, 2**31, 1.5, "", "x", "conv", None, True, [], {}, [1, 2], "a.b"]
    return random.choice([one for one in options if one != value])


def test_damage_is_refused_or_a_network() -> None:
    """If damaged JSON is accepted, the network is valid and can be compiled."""
    data = json.loads(archdsl.loads(SMALL).model_dump_json())
    random = Random(0)
    read = 0
    for _ in range(600):
        text = json.dumps(_damaged(data, random))
        try:
            network = Network.model_validate_json(text)
        except InvalidNetwork as error:
            assert error.problems and all(str(one) for one in error.problems)
            continue
        read += 1
        assert isinstance(network.root, Group) and not problems(network)
        assert archdsl.analyze(network).params > 0
        archdsl.emit(network)
        with suppress(Unwritable):
            archdsl.expand(network)
    assert 10 < read < 300


# ---- files and commands ----------------------------------------------------------


def test_a_file_is_a_spec(run: Run, folder: Path) -> None:
    assert run("expand", "resnet18", "-D", "classes=7", "-o", "net.json") == (0, "", "")
    text = (folder / "net.json").read_text()
    network = archdsl.load("resnet18", classes=7)
    assert json.loads(text) == json.loads(network.model_dump_json())
    assert archdsl.emit("net.json") == archdsl.emit(network)
    assert run("expand", "net.json")[1] == archdsl.expand(network)
    code, out, _ = run("analyze", "net.json")
    assert (code, out) == run("analyze", "resnet18", "-D", "classes=7")[:2]
    assert run("compile", "net.json")[:2] == (0, archdsl.emit(network))


def test_errors_of_a_file(run: Run, folder: Path) -> None:
    archdsl_json = archdsl.loads(SMALL).model_dump_json()
    (folder / "net.json").write_text(archdsl_json)
    data = json.loads(archdsl_json)
    _set(f"{CONV}.shape", [7, 8, 8])(data)
    (folder / "wrong.json").write_text(json.dumps(data))
    for arguments, message in (
        (
            ["analyze", "wrong.json"],
            f"error[A0505]: wrong.json: {CONV}.shape: conv gives",
        ),
        (
            ["analyze", "net.json", "-D", "width=3"],
            "holds one network, which has no param",
        ),
        (["analyze", "net.json", "--input", "3x9x9"], "which has no other input"),
        (["analyze", "net.json:small"], "which has no presets"),
        (
            ["check", "net.json"],
            "net.json is a network as JSON, but this needs a spec",
        ),
        (
            ["lint", "net.json"],
            "net.json is a network as JSON, but this needs a spec",
        ),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, ""), arguments
        assert message in err, err
    code, out, _ = run("analyze", "wrong.json", "--json")
    assert code == 1 and json.loads(out)["errors"][0]["code"] == "A0505"


def test_the_published_schema(run: Run) -> None:
    code, out, _ = run("schema", "network")
    assert code == 0 and json.loads(out) == Network.model_json_schema()
