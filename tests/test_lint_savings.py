"""The savings that rules promise, against the networks before and after.

Both are built, and torch counts their weights and MACs. The second one is the result of
the rule's own edit, or what a person who follows the advice would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import archdsl
from archdsl.linter.check import Advice
from archdsl.linter.rule import Saving, all_rules
from archdsl.syntax.loader import load_file, load_text
from tests.conftest import ROOT
from tests.handmade import saved_bytes
from tests.test_lint import advice, built, fixed, macs, net, params

RULES = all_rules()
CASES = ROOT / "tests" / "cases"


class Pair(NamedTuple):
    """A network with a finding, and the same network after the advice is followed.

    Attributes:
        before: the spec.
        after: the spec afterwards; if empty, the result of `--fix --unsafe`.
        costs: whether the second one is more expensive, and the figure is the extra
            cost.
    """

    before: str
    after: str = ""
    costs: bool = False


def _pairs(*statements: str, size: str = "3x16x16") -> Pair:
    return Pair(net(*statements, size=size))


def _both(before: str, after: str, size: str = "3x16x16") -> Pair:
    """Return a pair, statements separated by lines."""
    one, other = (net(*text.split("\n"), size=size) for text in (before, after))
    return Pair(one, other)


PAIRS: Mapping[str, list[Pair]] = {
    "W0101": [
        _pairs("conv 3x3 16 -> relu", "conv 7x7 16 -> bn -> relu"),
        _pairs("conv 3x3 16 -> relu", "conv 7x7 16 bias=true -> bn -> relu"),
        _pairs("conv 3x3 16 -> relu", "{ conv 7x7 16 /2 } -> bn -> relu"),
        _both(
            "conv 1x1 16 -> relu\na: conv 5x5 16 -> relu\nmaxpool 2x2\nsame a -> relu",
            "conv 1x1 16 -> relu\na: conv 3x3 16 -> relu\nb: conv 3x3 16 -> relu\n"
            "maxpool 2x2\nsame a -> relu -> same b -> relu",
        ),
        _both(
            "conv 1x1 16 -> relu\ntraining output conv 5x5 16 -> relu\nconv 1x1 16",
            "conv 1x1 16 -> relu\n"
            "training output conv 3x3 16 -> relu -> conv 3x3 16 -> relu\nconv 1x1 16",
        ),
    ],
    "W0102": [
        Pair((CASES / "lint_saving.arch").read_text("utf-8")),
        _pairs("conv 3x3 256 /2 -> relu", "conv 3x3 512 -> relu"),
        _pairs("conv 3x3 256 /2 -> relu", "{ conv 3x3 256 /2 } -> bn -> relu"),
        _both(
            "conv 3x3 256 /2 -> relu\nb: conv 3x3 256 bias=false\nbn -> relu\n"
            "same b -> bn -> relu",
            "conv 3x3 256 /2 -> relu\nb: { conv 1x1 64 -> bn -> relu -> conv 3x3 64 "
            "-> bn -> relu -> conv 1x1 256 bias=false }\nbn -> relu\n"
            "same b -> bn -> relu",
        ),
    ],
    "W0103": [
        _pairs("conv 3x3 8 bias=true -> bn -> relu"),
        _pairs("a: conv 3x3 8 bias=true -> bn", "same a -> bn", size="8x16x16"),
        _pairs("conv 3x3 8 -> instancenorm affine=true", "conv 1x1 4 -> groupnorm 4"),
    ],
    "W0105": [
        _both(
            "conv 3x3 16 -> relu -> conv 1x1 16 /2 -> relu",
            "conv 3x3 16 /2 -> relu -> conv 1x1 16 -> relu",
        ),
        # Rows that the last windows do not read.
        Pair(
            net("conv 3x3 16 -> relu -> maxpool 2x2 -> conv 1x1 4", size="3x7x7"),
            net("conv 3x3 16 -> relu -> maxpool 2x2 -> conv 1x1 4", size="3x6x6"),
        ),
    ],
    "W0107": [
        Pair(_pairs("conv 3x3 20 -> relu", "conv 1x1 10").before, costs=True),
        Pair(
            net("conv 3x3 16 -> relu", "a: conv 3x3 12 -> relu", "conv 1x1 10"),
            costs=True,
        ),
    ],
    "W0108": [
        _pairs("maxpool 2x2 -> flatten -> linear 32 -> relu -> linear 4"),
        _pairs("conv 3x3 4 -> relu", "flatten -> bn -> relu -> linear 64"),
        _both(
            "a: conv 3x3 8 -> relu\nconcat { maxpool 2x2 -> flatten -> b: linear 32 | "
            "avgpool 2x2 -> flatten -> same b }",
            "a: conv 3x3 8 -> relu\nconcat { maxpool 2x2 -> globalavgpool -> "
            "b: linear 32 | avgpool 2x2 -> globalavgpool -> same b }",
        ),
        Pair(
            "arch 1\n\nblock tower {\n    conv 3x3 4 -> relu -> flatten -> linear 64\n"
            "}\n\nnetwork Net {\n    input one 3x8x8\n    input two 3x8x8\n"
            "    difference { @one -> a: tower | @two -> same a }\n}\n"
        ),
        _both(
            "conv 3x3 4 -> relu\ntraining output flatten -> linear 64\nconv 1x1 4",
            "conv 3x3 4 -> relu\ntraining output globalavgpool -> linear 64\n"
            "conv 1x1 4",
        ),
    ],
    "W0109": [
        _both(
            "conv 1x1 8 -> relu\nadd { conv 3x3 -> relu | conv 5x5 -> bn -> scale 0 }",
            "conv 1x1 8 -> relu\nconv 3x3 -> relu",
        ),
        _both(
            "conv 1x1 8 -> relu\nadd { conv 3x3 -> relu | conv 5x5 -> dropout 1.0 }",
            "conv 1x1 8 -> relu\nconv 3x3 -> relu",
        ),
        # The weights are still needed by their second use; the work of the first is
        # saved.
        _both(
            "conv 1x1 8 -> relu\nadd { a: conv 3x3 -> scale 0 | same a -> relu }",
            "conv 1x1 8 -> relu\na: conv 3x3 -> relu",
        ),
        _both(
            "conv 1x1 8 -> relu\n"
            "training output add { conv 3x3 -> relu | conv 5x5 -> scale 0 }\nconv 1x1",
            "conv 1x1 8 -> relu\ntraining output conv 3x3 -> relu\nconv 1x1",
        ),
    ],
    "W0116": [
        _both(
            "conv 3x3 8 /2 -> relu -> maxpool 8x8\nconv 3x3 8 -> relu",
            "conv 3x3 8 /2 -> relu -> maxpool 8x8\nconv 1x1 8 -> relu",
        ),
        _both(
            "maxpool 8x8\nconv 3x3 8 /2 groups=1 bias=false -> relu",
            "maxpool 8x8\nconv 2x2 8 pad=0 bias=false -> relu",
        ),
        _both(
            "conv 3x3 8 -> relu\nconv 3x5 8 dilation=1x16 -> relu\nconv 1x1 4",
            "conv 3x3 8 -> relu\nconv 3x1 8 -> relu\nconv 1x1 4",
        ),
        _both(
            "conv 3x3 8 -> relu -> maxpool 16x16\na: conv 3x3 8 -> relu -> same a",
            "conv 3x3 8 -> relu -> maxpool 16x16\na: conv 1x1 8 -> relu -> same a",
        ),
    ],
    "W0118": [
        _both(
            "conv 3x3 16 -> conv 1x1 16 -> relu", "conv 3x3 16 -> relu", size="4x9x9"
        ),
        _both("conv 1x1 16 -> bn -> conv 2x2 16 /2", "conv 2x2 16 /2"),
        _both(
            "conv 3x3 16 bias=false -> conv 1x1 16 bias=false",
            "conv 3x3 16 bias=false",
        ),
        _both("linear 16 -> linear 8 -> relu", "linear 8 -> relu", size="16"),
        _both(
            "permute last -> linear 16 -> linear 8",
            "permute last -> linear 8",
            size="16x3x4",
        ),
    ],
    "W0119": [
        _pairs("conv 3x3 8 -> bn -> bn -> relu"),
        _both(
            "conv 3x3 8 -> bn -> instancenorm -> relu",
            "conv 3x3 8 bias=false -> instancenorm -> relu",
        ),
        _both(
            "conv 3x3 8 bias=false -> instancenorm affine=true -> groupnorm 8",
            "conv 3x3 8 bias=false -> groupnorm 8",
        ),
        _both(
            "conv 3x3 8 bias=false -> groupnorm 8 -> instancenorm",
            "conv 3x3 8 bias=false -> instancenorm",
        ),
    ],
}
CHECKED = [(code, n) for code, pairs in PAIRS.items() for n in range(len(pairs))]


def _together(found: tuple[Advice, ...]) -> Saving:
    total = Saving()
    for each in found:
        total = total.plus(each.saving)
    return total


@pytest.mark.parametrize(("code", "number"), CHECKED)
def test_what_is_saved_is_the_difference_of_two_networks(
    code: str, number: int
) -> None:
    before, after, costs = PAIRS[code][number]
    found = advice(before, code)
    assert found
    after = after or _followed(before, code)
    sign = -1 if costs else 1
    stated = _together(found)
    assert stated.macs == sign * (macs(before) - macs(after))
    if not costs:
        assert stated.params == params(before) - params(after)
    if stated.bytes:
        assert stated.bytes == _kept(before) - _kept(after)
    assert any(stated)


def _followed(before: str, code: str) -> str:
    edited = fixed(before, code, unsafe=True)
    assert edited.done
    assert not edited.refused
    return edited.text


def _kept(text: str) -> int:
    """Return the bytes that autograd keeps for a network in training."""
    module = built(text).train()
    shapes = [port.shape for port in archdsl.loads(text).inputs]
    return saved_bytes(module, *(torch.randn(1, *shape) for shape in shapes))


def _all_that_is_found() -> Iterator[tuple[str, Advice]]:
    """Yield the findings of every rule in its examples and the pairs above."""
    for code, rule in RULES.items():
        specs: list[Path | str] = [
            ROOT / "tests" / "lint" / code / "bad.arch",
            rule.bad,
        ]
        specs += [pair.before for pair in PAIRS.get(code, [])]
        for spec in specs:
            module = load_file(spec) if isinstance(spec, Path) else load_text(spec)
            for each in advice(module, code):
                yield code, each


def test_every_rule_that_states_a_number_is_checked() -> None:
    stating = {code for code, each in _all_that_is_found() if any(each.saving)}
    saying = {
        code
        for code, each in _all_that_is_found()
        if re.search(r"\bsaves?\b", _text(each))
    }
    assert stating == PAIRS.keys()
    assert saying <= PAIRS.keys()


def _text(found: Advice) -> str:
    return "\n".join((found.message, found.label, *found.notes, found.help or ""))


def test_text_and_json_say_the_same() -> None:
    """Savings in a text equal those in the JSON, or the layer's part of them."""
    said = 0
    for _code, each in _all_that_is_found():
        found = re.findall(
            r"(?:\bsaves?|together) ((?:[\d,]+ (?:weights|MACs|bytes)(?: and )?)+)",
            _text(each),
        )
        saves = each.as_dict()["saves"]
        words = {"weights": "params", "MACs": "macs", "bytes": "bytes"}
        if not found:
            continue
        said += 1
        # The last text is about all layers together.
        for number, word in re.findall(r"([\d,]+) (weights|MACs|bytes)", found[-1]):
            assert int(number.replace(",", "")) == saves[words[word]]
    assert said > 20


def test_what_the_compared_networks_say() -> None:
    """520,192 was the kernels' part; the norms of the new layers have 256 weights."""
    text = (CASES / "lint_saving.arch").read_text("utf-8")
    (found,) = advice(text, "W0102")
    kernels = 9 * 256 * 256 - (2 * 64 * 256 + 9 * 64 * 64)
    assert found.saving.params == kernels - 2 * (2 * 64) == 519_936
    assert "would save 519,936 weights" in found.notes[0]
