"""Layers counted without building a network are the same as those of the network."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Literal

import pytest

from archdsl.api import as_value
from archdsl.diagnostics import SpecError
from archdsl.elaborate import elaborate
from archdsl.elaborate.layer_counts import SharedLayers, count_layers
from archdsl.elaborate.placed import Use
from archdsl.ir import Step
from archdsl.resources import shipped_presets, shipped_specs
from archdsl.syntax.loader import LoadedFile, load_file, load_text
from tests import mutations


def kind_of(layer: Step | Use) -> Any:
    shapes = (*layer.input_shapes, layer.shape)
    known = isinstance(layer, Use)
    window = layer.window if known else layer.op.window(layer.input_shapes, layer.shape)
    return (
        repr(layer.op),
        shapes,
        tuple(map(type, shapes)),
        (type(window), window),
        layer.training,
        layer.shared,
    )


Fate = Literal["counted", "refused", "left"]


def fate(module: LoadedFile, memo: SharedLayers, **setting: Any) -> Fate:
    """Compare counts with the network, if both exist; return which do."""
    params = setting.pop("params", {})
    setting["params"] = {name: as_value(module, v) for name, v in params.items()}
    found = count_layers(module, memo, **setting)
    try:
        network = elaborate(module, symbolic=False, **setting)
    except SpecError:
        assert found is None
        return "refused"
    if found is None:
        return "left"
    assert Counter(map(kind_of, found.lines.uses())) == Counter(
        map(kind_of, network.steps())
    )
    return "counted"


# `init` by a path needs the network.
NEED_PATHS = {"inception_v3", "nin", "squeezenet1_0", "squeezenet1_1"} | {
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet101",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
}


@pytest.mark.parametrize("name", sorted(set(shipped_presets().values())))
def test_every_shipped_network_is_counted(name: str) -> None:
    module, memo = load_file(shipped_specs()[name]), SharedLayers()
    presets = [preset for preset, spec in shipped_presets().items() if spec == name]
    for shape in ((3, 224, 224), (3, 300, 256)):
        for preset in presets:
            found = fate(module, memo, preset=preset, input=shape)
            assert (found == "left") <= (preset in NEED_PATHS)


def test_specs_with_mistakes_are_counted_only_if_they_are_networks() -> None:
    memos: dict[str, SharedLayers] = {}
    counted = 0
    for case in range(300):
        name = mutations.NAMES[case % len(mutations.NAMES)]
        text = mutations.mutate(mutations.SPECS[name], Random(f"tally {case}"))
        try:
            module = load_text(text, "mutant.arch")
        except SpecError:
            continue
        memo = memos.setdefault(text, SharedLayers())
        for shape in ((3, 64, 64), (1, 65, 64)):
            counted += fate(module, memo, input=shape) == "counted"
    assert counted > 50


COMPUTED = """arch 1

block unit<k, stride, groups, act> {
    conv k (4 * groups) /stride groups=groups -> bn
    conv kernel=3 width=channels bias=(k > 2) pad=same -> act
    avgpool k /stride
}

network n<k = 3, stride = 1, groups = 1, act = relu> {
    input 4x16x16
    unit<k, stride, groups, act>
    conv k groups=groups -> act
}
"""


def test_calls_are_bound_again_with_other_arguments_and_on_other_maps() -> None:
    module, memo = load_text(COMPUTED, "net.arch"), SharedLayers()
    fates: Counter[Fate] = Counter()
    shapes = [(4, 16), (4, 16, 16), (4, 9, 9, 9), (4,)]
    for k, stride, groups, act in [
        (3, 1, 1, "relu"),
        (1, 2, 2, "relu"),
        (1, 2, 2, "gelu"),
        (3, "2x1", 2, "relu"),
        ("3x1", 1, 4, "dropout"),
        (5, 0, 1, "relu"),
        (2, 1, 3, "relu"),
        (3, 1.5, 1, "relu"),
        (3, True, 1, "relu"),
        (3, 1, 1, "relu"),
    ]:
        params = {"k": k, "stride": stride, "groups": groups, "act": act}
        for shape in shapes:
            fates[fate(module, memo, params=params, input=shape)] += 1
    assert fates["counted"] >= 12 and fates["refused"] >= 12


BLOCKS = """arch 1

block inner<width, norm = bn> {
    conv 3x3 width -> norm -> relu
}

block twice<unit = inner, width = 8, stride = 1> {
    maxpool 1x1 /stride
    unit<width>
    unit<width>
}

# The norm of the projection is that of a block inside the body.
block joined<width, stride = 1, norm = bn> {
    residual {
        twice<inner<norm = norm>, width, stride>
    } -> relu
}

block given<body: block> {
    body
    body
}

block last<width> {
    permute last -> layernorm
    permute first -> conv 1x1 width
}

block nothing {
}

block chosen<deep = true> {
    if deep {
        conv 3x3
    }
    residual<shortcut = optional> { conv 3x3 -> bn }
}

network net<width = 8, stride = 2, deep = true, norm = bn, count = 2, unit = inner> {
    input 3x32x32
    joined<width, stride, norm>
    joined<width, 1, norm>  x(count)
    given { conv 3x3 -> bn }
    given { conv 1x1 width -> groupnorm 2 }
    last<width>  x2
    nothing
    chosen<deep>
    stem: inner<width>
    same stem
    twice<unit, width>
    concat { inner<width, groupnorm<groups = 2>> | @stem -> inner<width> | nothing }
    training output aux: globalavgpool -> linear 3
    dense<growth = 4, layers = count>
    globalavgpool -> linear 5
    init conv weight=normal(std = 0.1)
}
"""


def test_blocks_are_counted_wherever_they_stand() -> None:
    module, memo = load_text(BLOCKS, "net.arch"), SharedLayers()
    others = ("chosen", "nothing", "relu", "given", "joined", "twice", "last")
    units = (*["inner"] * 20, *others)
    found = []
    for turn in range(120):
        random = Random(turn)
        params = {
            "width": random.choice((4, 8, 6, 7)),
            "stride": random.choice((1, 2, 1, 2, 1, 2, 2.0, True)),
            "deep": random.choice((True, False, True, False, 1)),
            "norm": random.choice(("bn", "layernorm", "identity", "dropout")),
            "count": random.choice((0, 1, 3)),
            "unit": random.choice(units),
        }
        shape = random.choice(((3, 32, 32), (4, 32, 32), (3, 31, 30)))
        found.append(fate(module, memo, params=params, input=shape))
    assert Counter(found)["counted"] > 30 and "left" not in found


@pytest.mark.parametrize(
    ("block", "call"),
    [
        ("block outer<unit = relu> {\n    unit\n}", "outer<outer>"),
        ("block idle {\n    conv 3x3\n    relu -> a: conv 3x3\n    @a\n}", "idle"),
        ("block dead {\n    a: conv 3x3\n    b: conv 3x3\n    @a\n}", "dead"),
        ("block own {\n    a: conv 3x3\n    init a weight=normal(std = 1)\n}", "own"),
        ("block uneven {\n    conv 3x3 (channels // 2) groups=2\n}", "uneven"),
        ("block wide {\n    conv 3x3 (channels * 50000)\n}", "wide -> wide"),
    ],
)
def test_faults_and_paths_in_blocks_are_left_to_the_network(
    block: str, call: str
) -> None:
    text = f"arch 1\n\n{block}\n\nnetwork n {{\n    input 6x8x8\n    {call}\n"
    text += f"    relu\n    {call}\n}}\n"
    module, memo = load_text(text, "net.arch"), SharedLayers()
    for channels in (6, 6, 7, 2, 2, 7):
        fate(module, memo, input=(channels, 8, 8))


def test_deep_nesting_is_refused_with_what_was_met_before() -> None:
    blocks = "".join(
        f"block b{n} {{\n    {f'b{n - 1}' if n else 'relu'}\n}}\n\n" for n in range(40)
    )
    braces = "{ " * 30 + "b39" + " }" * 30
    deep = f"if channels > 4 {{\n        {braces}\n    }}"
    text = f"arch 1\n\n{blocks}network n {{\n    input 3x8x8\n    b39\n    {deep}\n}}\n"
    module, memo = load_text(text, "net.arch"), SharedLayers()
    assert fate(module, memo, input=(3, 8, 8)) == "counted"
    with pytest.raises(SpecError, match="A0902"):
        elaborate(module, symbolic=False, input=(5, 8, 8))
    assert fate(module, memo, input=(5, 8, 8)) == "refused"


def test_too_many_layers_are_refused_with_what_was_met_before() -> None:
    block = "block many {\n    relu x5000\n}"
    text = f"arch 1\n\n{block}\n\nnetwork n<count = 2> {{\n    input 3x8x8\n"
    text += "    many x(count)\n}\n"
    module, memo = load_text(text, "net.arch"), SharedLayers()
    assert fate(module, memo, params={"count": 1}) == "counted"
    assert fate(module, memo, params={"count": 4}) == "refused"
    assert fate(module, memo, params={"count": 2}) == "counted"


def test_a_memo_that_is_full_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archdsl.elaborate.memo._MOST", 10)
    module, memo = load_file(shipped_specs()["resnet"]), SharedLayers()
    for size in (64, 96, 64):
        found = fate(module, memo, preset="resnet18", input=(3, size, size))
        assert found == "counted"
