"""The package's functions for scripts and notebooks, and the display of results."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import archdsl
from archdsl.cli import main

BIASED = """arch 1

network biased<width = 8> {
    input 3x16x16
    conv 3x3 width bias=true -> bn -> relu
}

preset narrow = biased
default preset wide = biased<width = 16>
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "biased.arch"
    path.write_text(BIASED, encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(list(arguments))
    return capsys.readouterr().out


# ---- what is shipped ----------------------------------------------------------------


def test_the_models_are_those_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    models = archdsl.list_models()
    assert len(models) == len(set(models))
    listed = json.loads(printed(capsys, "list", "--json"))["networks"]
    # A spec without presets is listed by its own name.
    named = [each["name"] for each in listed]
    assert len(models) == len(named)
    for model, name in zip(models, named, strict=True):
        assert archdsl.load(model, symbolic=False).name == name
    assert archdsl.list_models("vgg*_bn") == [f"vgg{n}_bn" for n in (11, 13, 16, 19)]


# ---- parameters by name -------------------------------------------------------------


def test_parameters_may_be_given_by_name() -> None:
    small = archdsl.load("resnet50", classes=10)
    same = archdsl.load("resnet50", params={"classes": 10})
    assert list(small.steps()) == list(same.steps())
    # 2048 features: 990 fewer classes are 990 x (2048 + 1) fewer parameters.
    whole = archdsl.analyze("resnet50").params
    assert archdsl.analyze(small).params == whole - 990 * 2049
    assert archdsl.loads(BIASED, preset="narrow", width=4).root.shape[0] == 4
    with pytest.raises(TypeError, match="`classes` is given twice"):
        archdsl.load("resnet50", params={"classes": 3}, classes=10)
    with pytest.raises(archdsl.SpecError, match="clases"):
        archdsl.load("resnet50", clases=10)


def test_build_takes_them_too(spec: Path) -> None:
    module = archdsl.build(spec, preset="narrow", input="3x8x8", width=5)
    weight = module.state_dict()["conv1.weight"]
    assert tuple(weight.shape) == (5, 3, 3, 3)
    with pytest.raises(TypeError, match="wide is already loaded"):
        archdsl.build(archdsl.load(spec), width=5)


# ---- lint and sweep -----------------------------------------------------------------


def test_lint_is_a_function(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (advice,) = archdsl.lint(spec)
    assert isinstance(advice, archdsl.Advice)
    assert (advice.code, advice.name) == ("W0103", "bias-before-norm")
    assert advice.networks == ("narrow", "wide")
    assert advice.saving.params == 8  # one per channel of the first layer
    assert printed(capsys, "lint", str(spec)) == f"{advice}\n\n"
    assert archdsl.lint(spec, ignore="bias-before-norm") == ()
    assert archdsl.lint(spec, select=["W0101", "W0102"]) == ()
    assert archdsl.lint(f"{spec}:wide", width=32)[0].saving.params == 32
    assert archdsl.lint("resnet50") == ()
    with pytest.raises(ValueError, match="did you mean `bias-before-norm`"):
        archdsl.lint(spec, select="bias-before-nrom")


def test_sweep_is_a_function(spec: Path) -> None:
    found = archdsl.sweep(spec, {"width": [4, 8]}, where="params < 200", jobs=1)
    assert isinstance(found, archdsl.Sweep)
    # 3 x 3 x 3 weights and a bias a channel, and the two of the norm.
    assert [p.figures["params"] for p in found.points] == [4 * 30, 8 * 30]
    assert [point.label for point in found.kept] == ["width=4"]
    assert repr(found) == f"<Sweep of {spec} over width: 2 points, 1 kept>"


def test_modules_do_not_hide_the_functions() -> None:
    code = """
import archdsl, archdsl.linter.check, archdsl.sweeps.result
from archdsl.cli.commands import lint, sweep
assert callable(archdsl.lint) and callable(archdsl.sweep)
print(archdsl.lint.__module__, archdsl.sweep.__module__)
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["archdsl.api", "archdsl.sweeps"]


# ---- display of results
# ---------------------------------------------------------------


def test_short_representations(spec: Path) -> None:
    network = archdsl.load("resnet50", symbolic=False)
    steps = {step.path: step for step in network.steps()}
    number = len(steps)
    assert repr(network) == f"<Network resnet50: 3x224x224 -> 1000, {number} layers>"
    assert str(network) == repr(network)
    shown = "<Step layer1.0.conv2: conv 3x3 -> 64x56x56>"
    assert repr(steps["layer1.0.conv2"]) == shown
    facts = archdsl.analyze(network)
    assert repr(facts) == (
        "<Analysis of resnet50: 25,557,032 params, 4,089,184,256 MACs, depth 50>"
    )
    layer = next(each for each in facts.layers if each.name == "layer1.0.conv2")
    assert repr(layer) == (
        "<LayerFacts layer1.0.conv2: conv 3x3 -> 64x56x56, 36,864 params, "
        "115,605,504 MACs>"
    )
    both = archdsl.compare(["resnet18", "resnet34"])
    assert repr(both) == "<Comparison of resnet18, resnet34>"
    everything = [network, *network.root.children, *facts.layers, *archdsl.lint(spec)]
    assert max(len(repr(each)) for each in everything) < 200


def test_a_printed_result_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = archdsl.analyze("googlenet", batch=4)
    assert str(facts) == printed(capsys, "analyze", "googlenet", "--batch", "4")
    both = archdsl.compare(["vgg16", "vgg16_bn"], names=["vgg16", "vgg16_bn"])
    assert str(both) == printed(capsys, "compare", "vgg16", "vgg16_bn")


# ---- as a table of pandas ------------------------------------------------------------


def test_a_frame_has_a_row_for_each_layer() -> None:
    facts = archdsl.analyze("googlenet", batch=2, tool="fvcore", device="t4")
    frame = facts.frame()
    assert list(frame.index) == [layer.name for layer in facts.layers]
    assert frame["params"].sum() == facts.params == 13_004_888
    # Layers that only run in training are not in the MACs of inference.
    running = frame[~frame["training"]]
    assert running["macs"].sum() == facts.macs
    assert running["bytes_read"].sum() == facts.costs.whole.traffic.read
    assert frame["saved_bytes"].sum() == facts.memory.saved_bytes
    assert running["counted"].sum() == facts.as_dict()["count"]["total"]
    assert frame["seconds"].sum() == pytest.approx(facts.as_dict()["time"]["seconds"])
    assert frame.loc["conv1.conv", "output"] == (64, 112, 112)
    assert frame.loc["conv1.conv", "field"] == (7, 7)
    heaviest = frame.groupby("kind")["params"].sum().idxmax()
    assert heaviest == "linear" and pd.api.types.is_integer_dtype(frame["macs"])
    assert {"counted", "seconds"}.isdisjoint(archdsl.analyze("alexnet").frame().columns)


def test_without_pandas_a_frame_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "archdsl\[frame\]"') as caught:
        archdsl.analyze("alexnet").frame()
    assert caught.value.name == "pandas"
