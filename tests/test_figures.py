"""The list of figures, and sweeps that only compute what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import archdsl
from archdsl.api import as_value, elaborate_module
from archdsl.diagnostics import SpecError
from archdsl.figures import BOUNDED, BYTES, CLAIMED, COMPARED, FIGURES, OF_A_LAYER
from archdsl.passes.analysis import Analysis, analyze
from archdsl.passes.setting import Given, Setting
from archdsl.resources import shipped_presets, shipped_specs
from archdsl.sweeps.axes import make_axis
from archdsl.sweeps.figures import QUICK, Evaluator, PointRow, Task, Totals
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile, load_file, load_text
from tests import generated, manual_specs

ASKED = tuple(name for name in FIGURES if name in QUICK)
HOW: Given = {"batch": 3, "dtype": "bfloat16", "optimizer": "adam"}


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep small specs out of the cache of syntax trees."""
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


# ---- the list ---------------------------------------------------------------------


def test_every_figure_is_an_attribute_of_an_analysis() -> None:
    analysis = archdsl.analyze("googlenet", batch=2)
    for name, figure in FIGURES.items():
        assert figure.name == name
        value = figure.of(analysis)
        along = figure.unit in ("positions", "shape")
        assert isinstance(value, tuple if along else int), name
    # The paper's, and torchvision's.
    assert FIGURES["params"].of(analysis) == 13_004_888
    assert FIGURES["depth"].of(analysis) == 22
    assert FIGURES["output"].of(analysis) == (1000,)
    vector = archdsl.analyze(archdsl.loads("arch 1\nnetwork n { input 8; linear 3 }"))
    assert FIGURES["receptive_field"].of(vector) is None


def test_what_adds_up_is_the_sum_over_the_layers() -> None:
    analysis = archdsl.analyze("squeezenet1_0", batch=2)
    for name in OF_A_LAYER:
        shares = [getattr(layer.cost, name) for layer in analysis.layers]
        assert sum(shares) == FIGURES[name].of(analysis) > 0 or name == "buffers"
        assert FIGURES[name].adds
    # 4 bytes of float32 for each parameter.
    assert FIGURES["param_bytes"].of(analysis) == 4 * analysis.params
    assert not any(FIGURES[name].adds for name in ("depth", "saved_bytes"))


def test_the_lists_of_parts_are_those_of_the_whole() -> None:
    assert {*COMPARED} == {*FIGURES} - {"output"}
    assert {*CLAIMED} == {*FIGURES} - {*BYTES}
    assert OF_A_LAYER == ("params", "trainable", "buffers", "macs", "flops")
    facts = archdsl.analyze("squeezenet1_0").as_dict()
    assert {*BYTES} - {*facts["memory"]} == {"training_peak_bytes"}
    assert {*OF_A_LAYER} < {*facts["layers"][0]}


def test_a_setting_has_its_defaults_once() -> None:
    import inspect

    for function in (archdsl.analyze, archdsl.compare, archdsl.plot, archdsl.sweep):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in Setting._fields:
                assert parameter.default == Setting._field_defaults[name]
    with pytest.raises(ValueError, match="batch must be 1 or more"):
        analyze(archdsl.load("squeezenet1_0"), batch=0)


# ---- sweeps -----------------------------------------------------------------------


def plain(module: LoadedFile, chosen: Mapping[str, Any]) -> PointRow:
    """Return a row as computed by `load` and `analyze`."""
    params = {n: v for n, v in chosen.items() if n not in ("preset", "input")}
    try:
        network = elaborate_module(
            module,
            preset=chosen.get("preset"),
            params=params,
            input=chosen.get("input"),
            symbolic=False,
        )
    except SpecError as error:
        return error.diagnostics[0].code
    analysis = Analysis(network, Setting(**HOW))
    field = analysis.receptive_field
    wanted = {
        **{name: getattr(analysis, name) for name in OF_A_LAYER},
        "depth": analysis.depth,
        "layers": len(analysis.layers),
        "receptive_field": min(field.size) if field else None,
        "local_field": min(field.local) if field and field.local else None,
        **{name: getattr(analysis.memory, name) for name in ASKED if name in BYTES},
    }
    assert field is None or field.exact
    bounds = [None for name in ASKED if name in BOUNDED]
    return (*bounds, *(wanted[name] for name in ASKED))


def evaluator(
    module: LoadedFile, axes: Mapping[str, Any], preset: str | None
) -> Evaluator:
    made = tuple(make_axis(name, values) for name, values in axes.items())
    return Evaluator(Task(module, made, preset, {}, None, dict(HOW), ASKED, None))


def others(value: Any) -> Iterator[Any]:
    """Yield another value of a parameter, which its network may refuse."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + (1 if value % 2 else max(2, value))
    elif isinstance(value, float):
        yield value / 2
    elif isinstance(value, tuple) and "relu" not in repr(value):
        for at, item in enumerate(value[:1]):
            for other in others(item):
                yield (*value[:at], other, *value[at + 1 :])


def definition_of(module: LoadedFile, preset: str | None) -> t.Definition:
    from archdsl.elaborate import choose

    return choose(module, preset)[0]


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_incremental_figures_are_those_of_the_plain_road(name: str) -> None:
    module = load_file(shipped_specs()[name])
    presets = [preset for preset, spec in shipped_presets().items() if spec == name]
    first = presets[0] if presets else None
    if len(presets) > 1:
        chosen = [presets[0], presets[-1]]
        rows = evaluator(module, {"preset": chosen}, None)
        for point, preset in enumerate(chosen):
            assert rows.row(point) == plain(module, {"preset": preset})
    network = elaborate_module(module, preset=first, symbolic=False)
    given = {p.name: p.value for p in network.root.parameters}
    for param in definition_of(module, first).params:
        other = next(others(given[param.name]), None)
        if other is None or other == given[param.name]:
            continue
        # When the first value comes again, everything is cached.
        values = [given[param.name], other]
        rows = evaluator(module, {param.name: values}, first)
        for point in (*range(len(values)), 0):
            chosen_params = {param.name: values[point], "preset": first}
            assert rows.row(point) == plain(module, chosen_params), param.name


@pytest.mark.parametrize("maker", [generated, manual_specs])
def test_incremental_figures_of_random_specs(maker: Any) -> None:
    counted = 0
    for case in range(36):
        text = maker.specimen(case)
        try:
            module = load_text(text)
            inputs = [p.shape for p in elaborate_module(module).inputs]
        except SpecError:
            continue
        first = inputs[0]
        sizes = [n + 4 for n in first[1:]]
        shapes = [first, (first[0], *sizes), (first[0], *reversed(sizes)), (3, 40, 33)]
        shapes = [*dict.fromkeys(shapes if len(first) == 3 else [first])]
        rows = evaluator(module, {"input": shapes}, None)
        for point in (*range(len(shapes)), 0):
            found = rows.row(point)
            assert found == plain(module, {"input": shapes[point]}), text
            counted += not isinstance(found, str)
    assert counted > 40


NET = """arch 1

block unit<width> {
    conv 3x3 width -> bn -> relu
}

network net<width = 8, classes = 10, kernel = 3x3, drop = 0.1> {
    input 3x32x32
    unit<width>  x3
    residual { conv 3x3 width | conv 1x1 width } -> shuffle groups=2
    concat { chunk 1 of=2 | chunk 2 of=2 -> conv kernel }
    globalavgpool -> dropout drop -> linear classes
}
"""


def test_only_what_changed_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth depends on connections; fields on windows, and sometimes on channels."""
    from archdsl.sweeps import figure_cache

    calls: list[str] = []
    for name in ("depth_of", "fields"):
        original = getattr(figure_cache, name)

        def counted(*given: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(*given)

        monkeypatch.setattr(figure_cache, name, counted)

    def count(text: str, **axes: Any) -> tuple[int, int]:
        module = load_text(text)
        rows = evaluator(module, axes, None)
        (values,) = axes.values()
        calls.clear()
        for point, value in enumerate(values):
            found = rows.row(point)
            asked = {n: as_value(module, value) for n in axes}
            assert found == plain(module, asked) and not isinstance(found, str)
        return calls.count("depth_of"), calls.count("fields")

    straight = NET.replace(" -> shuffle groups=2", "").replace(
        "concat { chunk 1 of=2 | chunk 2 of=2 -> conv kernel }", "conv kernel"
    )
    assert count(straight, classes=[2, 3, 4]) == (1, 1)
    assert count(straight, width=[8, 12, 16]) == (1, 1)
    assert count(straight, kernel=["3x3", "5x5", "3x3"][:2]) == (1, 2)
    # One attempt without channels, then one with the channels of each width.
    assert count(NET, width=[8, 12, 16]) == (1, 4)
    # The effect of chunk on channels does not depend on later layers.
    assert count(NET, drop=[0.1, 0.2]) == (1, 3)


def test_no_figure_is_computed_from_less_than_it_depends_on() -> None:
    module = load_text(NET)
    rows = evaluator(module, {"classes": [2]}, None)
    totals: list[Totals] = []

    def keep(*given: Any) -> Totals:
        totals.append(Totals(*given))
        return totals[0]

    patch = pytest.MonkeyPatch()
    with patch.context() as change:
        change.setattr("archdsl.sweeps.figures.Totals", keep)
        rows.row(0)
    for name in COMPARED:
        if name in QUICK:
            assert FIGURES[name].of(totals[0]) is not None
        else:
            with pytest.raises(AttributeError):
                FIGURES[name].of(totals[0])
