"""Different calls of a block share a class if a condition of the spec decides."""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache

import pytest
import torch

import archdsl
from archdsl.resources import shipped_presets
from tests import presets
from tests.comparing import elaborations, emitted_once, faults, faults_of
from tests.optional_specs import specimen

CASES = 200
BATCH = 25
# A residual with an explicit shortcut.
SHORTCUT = re.compile(r"\| (downsample: seq)? \{")
# Presets with two classes for a block, and why they read better than one.
TWICE = {
    # torch pads by itself only without a stride; no condition of the spec says so.
    "ds_cnn_m": ["Unit2"],
    "ds_cnn_l": ["Unit2"],
    # Two or three convolutions with names; a loop would need other keys.
    "m11": ["Stage2"],
}


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


def classes(text: str) -> list[str]:
    return re.findall(r"^class (\w+)", text, re.MULTILINE)


def twice(text: str) -> list[str]:
    """Return the classes named like another one plus a number."""
    found = classes(text)
    return [
        name
        for name in found
        if name[-1].isdigit() and re.sub(r"\d+$", "", name) in found
    ]


def test_no_preset_but_a_few_has_a_class_twice() -> None:
    emitted = {name: presets.emitted(name) for name in shipped_presets()}
    found = {name: twice(text) for name, text in emitted.items()}
    assert {name: names for name, names in found.items() if names} == TWICE


@cache
def examined(case: int) -> tuple[list[str], str]:
    """Return what is wrong with the spec with a number, and its module."""
    network, plain = elaborations(specimen(case))
    with emitted_once():
        found = faults_of(network, plain, figures=case % BATCH == 0)
        return found, archdsl.emit(network)


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_specs_with_optional_parts(first: int) -> None:
    for case in range(first, first + BATCH):
        found, _ = examined(case)
        assert not found, f"{found} in specimen {case}:\n{specimen(case)}"


def test_most_specs_with_optional_parts_have_few_classes() -> None:
    counts: Counter[str] = Counter()
    for case in range(CASES):
        _, text = examined(case)
        # Two shortcuts that are lists of layers read better as two classes.
        if not SHORTCUT.search(specimen(case)):
            counts["once"] += len(classes(text)) - len(twice(text))
            counts["twice"] += len(twice(text))
        counts["tested"] += len(re.findall(r"^        if (?!isinstance)", text, re.M))
    assert counts["twice"] * 6 < counts["once"]
    assert counts["tested"] > CASES


SPEC = """arch 1

block unit<width, stride = 1, last = false, drop = 0.0> {{
    hidden = 2 * width
    grown = width != channels
    {body}
    relu
}}

network Net {{
    input 4x8x8
    {calls}
}}
"""
FORMS = [
    # A part that is the identity where it is missing.
    (
        "wider: conv 1x1 width if grown\n    conv 3x3 (hidden // 2)",
        ("unit<8>", "unit<8>"),
        ["if width != in_channels:", "self.wider: nn.Module = nn.Identity()"],
    ),
    # A part of a sum, which cannot be the identity.
    (
        "if stride == 1 { add { a: conv 3x3 hidden | b: conv 1x1 hidden } }\n"
        "    else { b: conv 1x1 hidden /stride }",
        ("unit<8>", "unit<8, stride = 2>"),
        ["self.a: nn.Module | None = None", "if self.a is not None:", "return "],
    ),
    # Functions only.
    (
        "conv 3x3 hidden -> tanh if not last",
        ("unit<8>", "unit<8, last = true>"),
        ["self.last = last", "if not self.last:"],
    ),
    # A number.
    (
        "conv 3x3 (hidden if last else width)",
        ("unit<8>", "unit<8, last = true>"),
        ["hidden if last else width"],
    ),
    # An argument that may have torch's default.
    (
        "conv 3x3 width /(2 if last else 1)",
        ("unit<8>", "unit<8, last = true>"),
        ["stride=2 if last else 1"],
    ),
    # Another layer of the same name.
    (
        "if last { a: conv 3x3 width } else { a: convtranspose 3x3 width }",
        ("unit<8>", "unit<8, last = true>"),
        ["self.a: nn.Module = nn.Conv2d(", "self.a = nn.ConvTranspose2d("],
    ),
    # A layer that drops values in training.
    (
        "residual<shortcut = optional, drop = drop> { conv 3x3 (hidden // 2) }",
        ("unit<4>", "unit<4, drop = 0.5>", "unit<8, drop = 0.5>"),
        ["if drop > 0:", "if self.use_shortcut else"],
    ),
]


@pytest.mark.parametrize(("body", "calls", "lines"), FORMS)
def test_one_class_with_a_condition(
    body: str, calls: tuple[str, ...], lines: list[str]
) -> None:
    used = [let for let in ("hidden", "grown") if not re.search(rf"\b{let}\b", body)]
    spec = SPEC.format(body=body, calls="\n    ".join(calls))
    for let in used:
        spec = re.sub(rf"    {let} = .*\n", "", spec)
    for name, default in (("stride", "1"), ("last", "false"), ("drop", "0.0")):
        if not re.search(rf"\b{name}\b", body):
            spec = spec.replace(f", {name} = {default}", "", 1)
    network = archdsl.loads(spec)
    text = archdsl.emit(network)
    assert classes(text)[-2:] == ["Unit", "Net"] and not twice(text)
    for line in lines:
        assert line in text
    assert not faults(spec)
    torch.jit.script(archdsl.build(network))


def test_an_answer_that_is_not_that_of_its_condition_is_refused() -> None:
    spec = SPEC.format(
        body="conv 3x3 (hidden if drop > 0 and not last else width) if grown\n"
        "    conv 1x1 8 /stride",
        calls="unit<8, drop = 0.5>",
    )
    text = archdsl.loads(spec).model_dump_json()
    archdsl.Network.model_validate_json(text)
    assert '"holds":true' in text
    with pytest.raises(ValueError, match=r"tests\[\d+\]: the condition holds"):
        archdsl.Network.model_validate_json(
            text.replace('"holds":true', '"holds":false')
        )


def test_what_no_condition_decides_makes_two_classes() -> None:
    """A different stride is no condition for a different kernel."""
    text = """arch 1

block unit<stride, parts> {
    conv 3x3 8 /stride -> relu  x(parts)
    conv 1x1 8 if stride > 1
}

network Net {
    input 8x16x16
    unit<1, 2> -> unit<2, 3>
}
"""
    assert twice(archdsl.emit(archdsl.loads(text))) == ["Unit2"]
    assert not faults(text)


def test_a_number_under_a_condition_is_computed_only_there() -> None:
    """Otherwise, it would divide by 0."""
    text = """arch 1

block unit<ratio> {
    conv 3x3 8
    if ratio > 0 { conv 1x1 (channels // ratio) -> conv 3x3 -> conv 1x1 8 }
}

network Net {
    input 8x8x8
    unit<2> -> unit<0>
}
"""
    emitted = archdsl.emit(archdsl.loads(text))
    assert not twice(emitted) and "if ratio > 0:" in emitted
    assert not faults(text)


# ---- layer kinds as arguments ------------------------------------------------------

ALIKE = ["relu", "silu", "hardswish", "relu6"]  # in torch, all are called alike
OTHERS = ["gelu", "sigmoid", "leakyrelu<slope = 0.1>", "identity"]
NORMS = ["bn", "instancenorm", "bn<eps = 0.001>"]


def kinds_specimen(seed: int) -> str:
    """Return a spec whose blocks take layer kinds, and pass them to one another."""
    draw = random.Random(f"kinds {seed}")
    guard = draw.choice(["", " if width != channels", " if stride > 1"])
    fixed = draw.choice(["", " -> relu", " -> sigmoid"])
    label = draw.choice(["", "act: "])
    lines = [
        "block unit<width, act: kind, norm: kind = bn, stride = 1> seq {",
        f"    conv 3x3 width /stride -> norm{guard} -> act{fixed}",
        "}",
        "",
        "block cell<width, act: kind, gate: kind, stride = 1, n = 1> {",
        "    body: seq {",
        "        unit<width, act, stride = stride>",
        "        unit<width, gate> x(n)",
        "    }",
        f"    residual {{ b: {{ conv 3x3 width -> {label}act -> conv 3x3 width }} }}",
        "}",
    ]
    calls = []
    for place in range(6):
        # Norms need more than one position.
        stride = draw.choice([1, 1, 2]) if place < 3 else 1
        width = draw.choice([8, 8, 12])
        first, second = (draw.choice(ALIKE * 3 + OTHERS) for _ in range(2))
        if draw.random() < 0.5:
            norm = draw.choice(NORMS)
            calls.append(f"unit<{width}, {first}, {norm}, {stride}>")
        else:
            rounds = draw.choice([1, 2, 3])
            calls.append(f"cell<{width}, {first}, {second}, {stride}, {rounds}>")
    body = ["    input 8x16x16", *[f"    {call}" for call in calls]]
    return "\n".join(
        ["arch 1", "", *lines, "", "network Net {", *body, "    conv 1x1 4", "}", ""]
    )


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_specs_with_kinds_as_arguments(first: int) -> None:
    for seed in range(first, first + 15):
        spec = kinds_specimen(seed)
        found = faults(spec)
        assert not found, f"{found} in\n{spec}"


def test_kinds_that_torch_calls_alike_are_an_argument() -> None:
    spec = """arch 1

block conv_act<width, act: kind, kernel = 1x1> seq {
    conv kernel width -> bn -> act
}

block unit<width, act: kind, norm: kind> {
    residual<shortcut = optional> {
        body: seq {
            conv_act<2 * width, act> if 2 * width != channels
            conv_act<2 * width, act, 3x3> -> conv 1x1 width -> norm
        }
    }
}

network Net {
    input 8x16x16
    unit<8, relu, bn> -> unit<8, silu, bn> -> unit<8, hardswish, bn>
}
"""
    emitted = archdsl.emit(archdsl.loads(spec))
    assert classes(emitted) == ["ConvAct", "Unit", "Net"]
    assert "in_channels: int, width: int, act: type[nn.Module]" in emitted
    assert "ConvAct(in_channels, mid_channels, act)" in emitted
    assert "Unit(8, 8, nn.SiLU)" in emitted
    assert not faults(spec)
    torch.jit.script(archdsl.build(archdsl.loads(spec)))


def test_kinds_that_torch_calls_in_other_ways_have_classes_of_their_own() -> None:
    spec = """arch 1

block unit<act: kind> seq { conv 3x3 8 -> act }

network Net {
    input 8x16x16
    unit<relu> -> unit<silu> -> unit<gelu> -> unit<leakyrelu<slope = 0.1>>
}
"""
    emitted = archdsl.emit(archdsl.loads(spec))
    assert classes(emitted) == ["Unit", "UnitGELU", "UnitLeakyReLU", "Net"]
    assert not faults(spec)
