"""The shapes in docstrings of emitted classes, compared with those of a run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archdsl
from tests import manual_specs, optional_specs, presets
from tests.conftest import ROOT

SOME = (
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "hrnet_w18",
    "mobilenet_v3_large",
    "regnet_y_400mf",
    "resnet50",
    "resnet18_fpn",
    "shufflenet_v2_x1_0",
    "unet",
)


def wrong(network: archdsl.Network, text: str) -> list[str]:
    """Return the classes whose docstring differs from a run."""
    names: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(text, "emitted", "exec"), names)  # a copy, to change the classes
    kinds = [
        kind
        for kind in names.values()
        if inspect.isclass(kind) and kind.__module__ == "emitted"
    ]
    found: list[str] = []
    with torch.device("meta"):
        given = _arguments([kind for kind in kinds if issubclass(kind, nn.Module)])
        built = kinds[-1]()
        for part in built.modules():
            if type(part) in kinds and part is not built:
                _watch(part, given[part], found)
        built(*[torch.empty(2, *map(int, port.shape)) for port in network.inputs])
    return found


def _arguments(kinds: Sequence[type[nn.Module]]) -> dict[nn.Module, dict[str, Any]]:
    """Let classes record the arguments of each instance."""
    given: dict[nn.Module, dict[str, Any]] = {}
    for kind in kinds:
        init, signature = kind.__init__, inspect.signature(kind.__init__)

        def note(
            self: nn.Module,
            *args: Any,
            init: Any = init,
            signature: inspect.Signature = signature,
            **kwargs: Any,
        ) -> None:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            init(self, *args, **kwargs)
            given[self] = dict(bound.arguments)

        kind.__init__ = note  # type: ignore[method-assign]
    return given


def _watch(part: nn.Module, given: dict[str, Any], found: list[str]) -> None:
    said = re.search(r"Shape: (.*?)\.\n", inspect.getdoc(type(part)) + "\n", re.DOTALL)
    if said is None:
        return
    before, _, after = " ".join(said[1].split()).partition(" to ")

    def compare(_: nn.Module, args: Sequence[Tensor], out: Any) -> None:
        outs = out if isinstance(out, tuple) else (out,)
        # Braces can read more than one value; only the first is described.
        shapes = re.split(", (?=N )", before)
        here = dict(given)
        for text, tensor in zip(shapes, args, strict=False):
            name = text.split(" x ")[1]
            here.setdefault(name, tensor.shape[1])  # it need not be an argument
        ways = [(before, args[: len(shapes)]), *_outputs(before, after, outs)]
        for text, tensors in ways:
            if not _says(text, tensors, here):
                sizes = [tuple(tensor.shape) for tensor in tensors]
                found.append(f"{type(part).__name__}: {text}, and it is {sizes}")

    part.register_forward_hook(compare)


def _outputs(
    before: str, after: str, outs: Sequence[Tensor]
) -> Iterator[tuple[str, Sequence[Tensor]]]:
    if after != "the same":
        main, *others = after.split(", and ")
        yield main, outs[:1]
        for other, tensor in zip(others, outs[1:], strict=True):
            yield other.partition(" ")[2], [tensor]
    else:
        yield before, outs[:1]


def _says(text: str, tensors: Sequence[Tensor], given: dict[str, Any]) -> bool:
    """Return whether one of the alternatives has the channels of some tensors."""
    for way in text.split(" or "):
        shapes = re.split(", (?=N )", way)  # max(width, 8) has a comma, too
        if len(shapes) == len(tensors) and all(
            map(_fits, shapes, tensors, [given] * len(shapes))
        ):
            return True
    return False


def _fits(text: str, tensor: Tensor, given: dict[str, Any]) -> bool:
    axes = text.split(" x ")
    if len(axes) != tensor.dim():
        return False
    return all(
        re.fullmatch(r"[A-Z]'*", axis) or eval(axis, {}, given) == size
        for axis, size in zip(axes, tensor.shape, strict=True)
    )


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_specs_with_optional_parts_say_the_shapes_that_pass(first: int) -> None:
    for case in range(first, first + 20):
        network = optional_specs.loads(optional_specs.specimen(case))
        if network is not None:
            assert wrong(network, archdsl.emit(network)) == [], case


@pytest.mark.parametrize("case", [90, 141, 302])
def test_calls_that_a_condition_and_a_number_tell_apart(case: int) -> None:
    network = optional_specs.loads(optional_specs.specimen(case))
    assert network is not None
    assert wrong(network, archdsl.emit(network)) == []


def test_specs_of_the_manual_say_the_shapes_that_pass() -> None:
    for case in range(84, 104):
        text = manual_specs.specimen(case)
        network = archdsl.loads(text, params=manual_specs.params_of(text) or {})
        assert wrong(network, archdsl.emit(network)) == [], case


def test_a_class_whose_calls_differ_in_channels_names_the_argument() -> None:
    network = archdsl.load(ROOT / "tests" / "cases" / "lists_of_the_caller.arch")
    text = archdsl.emit(network)
    assert "to N x size x H x W." in text
    assert wrong(network, text) == []


@pytest.mark.parametrize("name", SOME)
def test_presets_say_the_shapes_that_pass(name: str) -> None:
    assert wrong(presets.network(name), presets.emitted(name)) == []
