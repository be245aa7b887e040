"""`compare`: totals side by side, layers by path, and keys of checkpoints.

Counts are calculated by hand; keys are those that torch's `load_state_dict` reports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import archdsl
from archdsl.backends import comparison as texts
from archdsl.backends.text import show_bytes
from archdsl.figures import COMPARED as FIGURES
from archdsl.passes.compare import Comparison
from archdsl.passes.diff import Diff, NetworkDifference, fold
from tests.conftest import ROOT
from tests.test_cli import TOO_MANY, TWO_ERRORS, Run, folder, on_a_terminal, run, spawn

__all__ = ["folder", "run"]  # fixtures

NET = """arch 1

network net {{
    input 3x16x16
    {body}
}}
"""
BODY = """conv1: conv 3x3 8 -> bn1: bn -> relu
    maxpool 2x2 /2
    flatten
    fc: linear 10"""


def net(body: str = BODY, before: str = "") -> archdsl.Network:
    text = NET.format(body=body).replace("network", before + "network", 1)
    return archdsl.loads(text, symbolic=False)


def compare(*specs: str) -> Comparison:
    return archdsl.compare([archdsl.load(spec, symbolic=False) for spec in specs])


def diff(first: archdsl.Network, second: archdsl.Network) -> Diff:
    (found,) = archdsl.compare([first, second]).diffs
    assert found is not None
    return found


def of_specs(first: str, second: str) -> Diff:
    (found,) = compare(first, second).diffs
    assert found is not None
    return found


# ---- totals ---------------------------------------------------------------------


def test_totals_of_vgg_with_and_without_batch_norm() -> None:
    both = compare("vgg16", "vgg16_bn")
    # Channels of the 13 convolutions: a norm has a weight and a bias for each, a mean
    # and a variance, and a counter.
    channels = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    assert both.names == ("vgg16", "vgg16_bn")
    assert both.delta(1, "params") == (2 * channels, 100 * 2 * channels / 138_357_544)
    # A share of 0 is undefined.
    assert both.delta(1, "buffers") == (2 * channels + 13, None)
    assert both.delta(1, "layers") == (13, 100 * 13 / 40)
    assert both.delta(1, "macs") == (0, 0.0)
    assert both.delta(1, "receptive_field") == ((0, 0), (0.0, 0.0))


def test_totals_of_several_are_against_the_first() -> None:
    three = compare("resnet18", "resnet34", "resnet50")
    # Eight units more, each two convolutions, norms and activations, and a sum.
    assert len(three.diffs[0].added) == 8 * 7
    assert not three.diffs[1].empty
    assert [three.figure(at, "depth") for at in range(3)] == [18, 34, 50]
    assert three.delta(1, "depth") == (16, 100 * 16 / 18)
    assert three.delta(2, "depth") == (32, 100 * 32 / 18)


def test_a_receptive_field_of_one_alone_has_no_difference() -> None:
    vector = archdsl.loads("arch 1\n\nnetwork v {\n    input 8\n    linear 2\n}\n")
    both = archdsl.compare([vector, net()])
    assert both.figure(0, "receptive_field") is None
    assert both.delta(1, "receptive_field") is None
    assert re.search(r"^receptive field +- +4x4$", texts.comparison_text(both), re.M)


def test_what_is_only_a_bound_has_no_difference() -> None:
    plain, normed = (
        net(f"conv 3x3 8\n    {more}\n    conv 1x1 2")
        for more in ("relu", "permute last -> relu -> permute first")
    )
    both = archdsl.compare([plain, normed])
    assert both.bound(0, "training_peak_bytes") is None
    assert both.bound(1, "training_peak_bytes") == "at least"
    assert both.delta(1, "training_peak_bytes") is None
    assert both.as_dict()["networks"][1]["bounds"] == {
        "receptive_field": None,
        "local_field": None,
        "training_peak_bytes": "at least",
    }
    peak = show_bytes(archdsl.analyze(normed).memory.training_peak_bytes)
    text = texts.comparison_text(both)
    assert re.search(rf"^training memory .* at least {peak} *$", text, re.M)


def test_axes_that_differ_are_shown_apart() -> None:
    first, second = net("conv 3x3 8"), net("conv 1x5 8")
    both = archdsl.compare([first, second])
    assert both.delta(1, "receptive_field") == ((-2, 2), (-200 / 3, 200 / 3))
    assert "1x5  -2, +2  -66.7 %, +66.7 %" in re.sub(
        " {3,}", "  ", texts.comparison_text(both)
    )


def test_memory_is_for_the_batch() -> None:
    networks = [net(), net(BODY.replace("3x3 8", "3x3 16"))]
    both = archdsl.compare(networks, batch=3, dtype="bfloat16", optimizer="adam")
    for at, network in enumerate(networks):
        memory = archdsl.analyze(network, batch=3, dtype="bfloat16", optimizer="adam")
        assert both.figure(at, "training_bytes") == memory.memory.training_bytes
    assert "for a batch of 3 in bfloat16, trained with adam" in texts.comparison_text(
        both
    )


@pytest.mark.parametrize(
    ("count", "names", "message"),
    [(0, None, "not two"), (1, None, "not two"), (2, ["a"], "1 names for 2")],
)
def test_what_cannot_be_compared(
    count: int, names: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        archdsl.compare([net()] * count, names=names)


# ---- layers ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["resnet18", "googlenet", "siamese", "densenet121"])
def test_nothing_differs_from_itself(spec: str) -> None:
    both = archdsl.compare([archdsl.load(spec), archdsl.load(spec, symbolic=False)])
    (found,) = both.diffs
    assert found.empty
    keys = found.keys
    assert (keys.missing, keys.unexpected, keys.reshaped) == ((), (), ())
    assert "no difference" in texts.comparison_text(both)
    assert all(both.delta(1, name) for name in FIGURES)


def test_resnet34_has_eight_blocks_more() -> None:
    found = of_specs("resnet18", "resnet34")
    # [2, 2, 2, 2] blocks a stage, then [3, 4, 6, 3]. Each has 2 convolutions, 2
    # norms, 2 relus and a sum; 2 weights, and 5 tensors a norm.
    blocks = {
        f"layer{stage}.{n}"
        for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3))
        for n in range(2, count)
    }
    assert {run.name.rpartition(".")[0] for run in found.added} == blocks
    assert (len(found.added), len(found.keys.missing)) == (8 * 7, 8 * 12)
    assert found.removed == found.changed == found.moved == ()
    assert found.keys.unexpected == found.keys.reshaped == ()
    # What follows a stage reads from its new last block: 3 first convolutions, 3
    # projections and the pool.
    assert len(found.rewired) == 7
    assert found.rewired[0] == (
        "layer2.0.conv1",
        ("layer1.1.relu2",),
        ("layer1.2.relu2",),
    )


def test_the_text_folds_whole_blocks() -> None:
    text = texts.comparison_text(compare("resnet18", "resnet34"))
    assert text.count("basic_block") == 8
    # Two 3x3 convolutions of 64 channels, and two norms.
    params = 2 * 9 * 64 * 64 + 2 * 2 * 64
    assert f"  + layer1.2  basic_block  7 layers  64x56x56   {params:,} params" in text
    assert re.search(r"^  \+ layer4\.2\.\*  missing  12 keys$", text, re.M)
    assert "7 layers or outputs, 7 of them only because layers were added" in text


def test_vgg_with_batch_norm_shifts_the_numbers() -> None:
    found = of_specs("vgg16", "vgg16_bn")
    # 13 norms more: 31 layers of `features` become 44.
    assert [run.name for run in found.added] == [f"features.{n}" for n in range(31, 44)]
    kinds = {c.name: (c.old.op.word, c.new.op.word) for c in found.changed}
    assert kinds["features.1"] == ("relu", "bn")
    assert kinds["features.3"] == ("relu", "conv")
    # The third convolution of one is the fourth of the other.
    seventh = next(c for c in found.changed if c.name == "features.7")
    assert seventh.arguments == ()
    assert seventh.tensors == (("weight", (128, 128, 3, 3), (128, 64, 3, 3)),)


def test_the_published_googlenet() -> None:
    found = of_specs("googlenet", "googlenet_paper")
    pools = ["aux1.avgpool1", "aux2.avgpool1"]
    assert [run.name for run in found.added] == ["lrn1", "lrn2", *pools]
    # 3 convolutions in the stem, 6 in each of 9 modules, 1 in each of 2 heads.
    convs = 3 + 9 * 6 + 2
    # Removed with their norms: the adaptive pools of the heads.
    assert len(found.removed) == convs + 2
    assert {run.op.word for run in found.removed} == {"bn", "adaptiveavgpool"}
    changed = {c.name: c for c in found.changed}
    assert len(changed) == convs + 2
    assert changed["maxpool4"].arguments == (("kernel", (2, 2), (3, 3)),)
    assert changed["dropout1"].arguments == (("p", 0.2, 0.4),)
    # torchvision's 5x5 convolutions are 3x3.
    assert len(found.keys.reshaped) == 9
    assert found.keys.reshaped[0] == (
        "inception3a.branch3.1.conv.weight",
        (32, 16, 3, 3),
        (32, 16, 5, 5),
    )
    assert (len(found.keys.missing), len(found.keys.unexpected)) == (convs, 5 * convs)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("3x3 8", "5x5 8", [("kernel", (3, 3), (5, 5))]),
        ("3x3 8", "3x3 8 pad=0", [("pad", None, (0, 0))]),
        ("3x3 8", "3x3 8 pad=1", []),  # its default by rule
        ("3x3 8", "3x3 8 bias=false", []),  # the default before a norm
    ],
)
def test_arguments(old: str, new: str, expected: list[NetworkDifference]) -> None:
    found = diff(net(), net(BODY.replace(old, new)))
    conv = [c for c in found.changed if c.name == "conv1"]
    assert [a for c in conv for a in c.arguments] == expected


def test_changes_moves_and_keys_of_a_wider_layer() -> None:
    found = diff(net(), net(BODY.replace("3x3 8", "3x3 16")))
    assert (found.added, found.removed, found.rewired) == ((), (), ())
    assert [(c.name, c.arguments) for c in found.changed] == [
        ("conv1", (("width", 8, 16),)),
        ("bn1", ()),
        ("fc", ()),
    ]
    assert found.moved[0] == ("conv1", (8, 16, 16), (16, 16, 16))
    assert [m.name for m in found.moved] == [
        *("conv1", "bn1", "relu1", "maxpool1", "flatten1")
    ]
    assert found.keys.reshaped[-1] == ("fc.weight", (10, 512), (10, 1024))
    # bn1.num_batches_tracked and fc.bias.
    assert found.keys.loaded == 2


def test_another_input_size_moves_shapes_only() -> None:
    first = archdsl.load("resnet18")
    second = archdsl.load("resnet18", input="3x320x320")
    both = archdsl.compare([first, second])
    (found,) = both.diffs
    assert found is not None
    assert found.added == found.removed == found.changed == found.rewired == ()
    assert found.moved[0] == ("conv1", (64, 112, 112), (64, 160, 160))
    # All but the pooled vector and the classifier.
    assert len(found.moved) == 68 - 2
    assert re.search(
        r"^  ~ layer4 +512x7x7 -> 512x10x10 +16 layers$",
        texts.comparison_text(both),
        re.M,
    )
    assert "122 keys load, none is left over" in texts.comparison_text(both)


def test_a_layer_that_only_trains_in_one() -> None:
    aux = "a: conv 3x3 8\n    training output @a -> b: conv 1x1 4\n    relu"
    always = "a: conv 3x3 8\n    output @a -> b: conv 1x1 4\n    relu"
    found = diff(net(aux), net(always))
    assert [(c.name, c.arguments) for c in found.changed] == [
        ("b", (("training", True, False),))
    ]
    assert [(d.name, d.old, d.new) for d in found.rewired] == [
        ("output b", None, ("b",)),
        ("output b (training only)", ("b",), None),
    ]


def test_the_same_layers_wired_otherwise_are_not_the_same() -> None:
    branches = "concat {{ a: conv 1x1 4 | b: conv 1x1 4 }}"
    first, second = (
        branches.format(),
        branches.format().replace("a:", "_").replace("b:", "a:").replace("_", "b:"),
    )
    both = archdsl.compare([net(first), net(second)])
    (found,) = both.diffs
    assert found is not None and not found.empty
    assert found.rewired == (("concat1", ("a", "b"), ("b", "a")),)
    assert found.added == found.changed == found.moved == ()
    assert "  ~ concat1  a, b -> b, a\n" in texts.comparison_text(both)
    assert "keys load, none is left over" in texts.comparison_text(both)


def test_shared_layers_have_their_keys_once() -> None:
    wider = archdsl.load("siamese")
    found = diff(net(), wider)
    # 4 convolutions and 2 linear layers.
    assert len(found.keys.missing) == 2 * 6
    names = [run.name for run in found.added]
    assert "tower.3" in names and "tower.3 (run 2)" in names
    assert len(names) == len(set(names))


def test_foreign_kinds_are_compared_by_what_they_stand_for() -> None:
    op = 'op gate<width = 2> {{\n    torch = "{}"\n    params = 3 * width\n}}\n\n'
    one, same, other = (
        net("conv 1x1 4\n    gate: gate", op.format(name))
        for name in ("mine.Gate", "mine.Gate", "mine.Other")
    )
    assert diff(one, same).empty
    assert [c.arguments for c in diff(one, other).changed] == [
        (("torch", "mine.Gate", "mine.Other"),)
    ]
    wider = net("conv 1x1 4\n    gate: gate 4", op.format("mine.Gate"))
    assert diff(one, wider).keys.reshaped == (("gate.*", (6,), (12,)),)


def test_fold() -> None:
    everything = ["a.x.p", "a.x.q", "a.y", "b.p", "c"]
    assert fold(["a.x.p", "a.x.q", "b.p", "c"], everything) == {
        "a.x": ["a.x.p", "a.x.q"],
        "b.p": ["b.p"],
        "c": ["c"],
    }
    assert fold(["a.x.p", "a.x.q", "a.y"], everything) == {"a": everything[:3]}
    assert fold(["a.x.p"], everything) == {"a.x.p": ["a.x.p"]}


# ---- keys against torch ---------------------------------------------------------


def module_of(spec: str) -> torch.nn.Module:
    with torch.device("meta"):
        return archdsl.build(archdsl.load(spec))


def loaded_by_torch(
    state: Mapping[str, Any], module: torch.nn.Module
) -> tuple[set[str], set[str], set[str]]:
    """Return the keys that torch reports as missing, unexpected or of another size."""
    try:
        module.load_state_dict(state, strict=False, assign=True)
        reshaped = set()
    except RuntimeError as error:
        reshaped = set(re.findall(r"size mismatch for (\S+):", str(error)))
    fitting = {key: value for key, value in state.items() if key not in reshaped}
    result = module.load_state_dict(fitting, strict=False, assign=True)
    return (
        set(result.missing_keys) - reshaped,
        set(result.unexpected_keys),
        reshaped,
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("resnet18", "resnet34"),
        ("resnet34", "resnet50"),
        ("vgg16", "vgg16_bn"),
        ("vgg16_bn", "vgg16"),
        ("googlenet", "googlenet_paper"),
        ("squeezenet1_0", "squeezenet1_1"),
        ("convnext_tiny", "convnext_small"),  # bare parameters
        ("siamese", "siamese"),
    ],
)
def test_keys_are_those_that_torch_names(first: str, second: str) -> None:
    keys = of_specs(first, second).keys
    state, module = module_of(first).state_dict(), module_of(second)
    own = set(module.state_dict())
    assert set(keys.missing) == own - set(state)
    missing, unexpected, reshaped = loaded_by_torch(state, module)
    # torch starts counters of norms at 0 if a checkpoint lacks them.
    counted = {key for key in keys.missing if key.endswith(".num_batches_tracked")}
    assert missing == set(keys.missing) - counted
    assert unexpected == set(keys.unexpected)
    assert reshaped == {key.name for key in keys.reshaped}
    assert keys.loaded == len(own) - len(keys.missing) - len(reshaped)


# ---- the command ----------------------------------------------------------------


def test_the_command_names_networks_as_they_were_asked_for(
    run: Run, folder: Path
) -> None:
    (folder / "a.arch").write_text(NET.format(body=BODY))
    (folder / "b.arch").write_text(NET.format(body=BODY.replace("3x3 8", "3x3 4")))
    code, out, err = run("compare", "a.arch", "b.arch")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["a.arch", "b.arch"]
    assert "  ~ conv1  conv: width 8 -> 4, weight 8x3x3x3 -> 4x3x3x3\n" in out
    assert "checkpoint of `a.arch` in `b.arch`: 2 keys load" in out


def test_json(run: Run) -> None:
    code, out, err = run("compare", "resnet18", "resnet34", "--json", "--batch", "8")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["schema"], found["batch"], found["errors"]) == (1, 8, [])
    first, second = found["networks"]
    assert set(first["figures"]) == set(first["difference"]) == set(FIGURES)
    assert second["difference"]["depth"] == {
        "absolute": 16,
        "percent": pytest.approx(88.88888888888889),
    }
    assert second["figures"]["receptive_field"] == [899, 899]
    assert second["difference"]["receptive_field"]["absolute"] == [464, 464]
    assert first["diff"] is None
    assert len(second["diff"]["added"]) == 56
    three = run("compare", "resnet18", "resnet34", "resnet18", "--json").json
    diffs = [network["diff"] for network in three["networks"]]
    assert diffs[1] == second["diff"]
    assert not diffs[2]["added"] and not diffs[2]["keys"]["missing"]


def test_the_guide_has_every_key() -> None:
    page = (ROOT / "docs/guides/compare.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.M)
    facts = {"schema": 1, **compare("resnet18", "resnet34").as_dict(), "errors": []}
    keys = []
    for key, value in facts.items():
        keys.append(key)
        if key == "networks":
            keys += [f"networks[].{name}" for name in value[1]]
            diff = value[1]["diff"]
            keys += [f"networks[].diff.{name}" for name in diff]
            keys += [f"networks[].diff.keys.{name}" for name in diff["keys"]]
    assert documented == keys


def test_markdown_is_a_table_and_lists(run: Run) -> None:
    code, out, _ = run("compare", "googlenet", "googlenet_paper", "--markdown")
    assert code == 0
    header, rule, *rows = out.partition("\n\n")[0].splitlines()
    assert header == "|  | `googlenet` | `googlenet_paper` |  |  |"
    assert all(row.count("|") == header.count("|") for row in (rule, *rows))
    assert "| depth | 22 | 22 | = |  |" in rows
    # Long lists end early.
    assert "**removed: 61 layers**" in out
    assert out.count("bn, ") == 50 and "- and 11 more\n" in out
    assert "- `maxpool4`: maxpool: kernel 2x2 -> 3x3\n" in out


def test_output_is_the_same_every_time() -> None:
    arguments = ("compare", "googlenet", "googlenet_paper")
    for more in ((), ("--json",), ("--markdown",)):
        outputs = {
            spawn(*arguments, *more, env={"PYTHONHASHSEED": seed}).stdout
            for seed in ("1", "2")
        }
        assert len(outputs) == 1


def test_colours_are_for_a_terminal(run: Run) -> None:
    arguments = ("compare", "vgg16", "vgg16_bn")
    plain = {"TERM": "xterm", "NO_COLOR": ""}
    seen = on_a_terminal(*arguments, env=plain)
    assert "\033[32m  + features.31" in seen and "\033[31m  - " in seen
    assert "\033" not in on_a_terminal(*arguments, env={**plain, "NO_COLOR": "1"})[-99:]
    assert "\033" not in run(*arguments).out


def test_standard_input_is_one_of_them(run: Run) -> None:
    code, out, _ = run("compare", "-", "resnet18", stdin=NET.format(body=BODY))
    assert code == 0
    assert out.splitlines()[0].split() == ["-", "resnet18"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["resnet18"], "there is nothing to compare with"),
        (["-", "-"], "only one SPEC can be standard input"),
        (["resnet18", "resnet34", "--json", "--markdown"], "exclude each other"),
        (["resnet18", "resnet34", "-D", "classes=10"], "No such option"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("compare", *arguments, stdin=NET.format(body=BODY))
    assert (code, out) == (2, "")
    assert message in err


def test_errors_of_all_specs_are_shown(run: Run, folder: Path) -> None:
    (folder / "two.arch").write_text(TWO_ERRORS)
    code, out, err = run("compare", "two.arch", "gogglenet")
    assert (code, out) == (1, "")
    assert err.endswith("\n3 errors\n")
    found = run("compare", "two.arch", "gogglenet", "--json")
    assert [e["code"] for e in found.json["errors"]] == ["A0106", "A0106", "A0501"]
    (folder / "many.arch").write_text(TOO_MANY)
    assert run("compare", "resnet18", "many.arch").code == 4


def test_torch_is_never_imported() -> None:
    code = """
import sys
from archdsl.cli import main
assert main(["compare", "convnext_tiny", "convnext_small"]) == 0
assert not {"torch", "numpy", "graphviz"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
