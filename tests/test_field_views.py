"""The tables of receptive fields and of the gradient's paths."""

from __future__ import annotations

import pytest

import archdsl
from archdsl.backends.views import ViewFacts, fields, paths
from archdsl.resources import shipped_specs, specs_dir


def _facts(spec: str) -> ViewFacts:
    return archdsl.analyze(archdsl.load(spec)).as_dict()


def _layer(facts: ViewFacts, name: str) -> ViewFacts:
    layer: ViewFacts = next(each for each in facts["layers"] if each["name"] == name)
    return layer


def _totals(view: object, facts: ViewFacts) -> dict[str, tuple[str, str]]:
    rows = view.totals(facts)  # type: ignore[attr-defined]
    return {name.strip(): (figure, note) for name, figure, note in rows if name}


@pytest.mark.parametrize("spec", shipped_specs())
def test_every_network_has_rows_of_equal_width(spec: str) -> None:
    facts = _facts(spec)
    for view in (fields, paths):
        for layer in facts["layers"]:
            assert len(view.cells(layer)) == len(view.COLUMNS)
        assert len(view.group(facts["layers"])) == len(view.COLUMNS)
        assert all(len(row) == 3 for row in view.totals(facts))


def test_fields_of_layers() -> None:
    facts = _facts("resnet50")
    # 7 x 7 of 224 x 224 positions are 0.0977 %.
    assert fields.cells(_layer(facts, "conv1")) == (
        *("7x7 /2", "[-3, 3]", "7", "0.0977 %"),
        "",
    )
    assert fields.cells(_layer(facts, "layer4.2.add1")) == (
        *("427x427 /32", "[-213, 213]", "11 to 427", "100 %"),
        "",
    )
    assert fields.cells(_layer(facts, "fc"))[0] == "whole input"
    projection = fields.cells(_layer(facts, "layer2.0.downsample.0"))
    assert projection[-1] == "reads 28x28 of 56x56"
    joined = fields.cells(_layer(_facts("dla34"), "stage3.left.add1"))
    assert joined[-1] == "joins maps offset by 1"


def test_totals_of_fields() -> None:
    rows = _totals(fields, _facts("squeezenet1_0"))
    assert rows["smallest input"] == (
        "21x21",
        "20x224 fails at features.11: maxpool: a window of 3 is larger than the padded "
        "input of 1",
    )
    assert rows["input read"] == (
        "99.1 %",
        "of the input's positions reach the output; rows 223 and columns 223 do not "
        "(counted from 0)",
    )
    assert "misaligned" not in rows


def test_totals_of_a_network_that_takes_some_sizes() -> None:
    rows = _totals(fields, _facts("dla34"))
    assert rows["in steps"][0] == "of 32"
    assert rows["in steps"][1].startswith("2 sizes in a row fit; 33x224 fails at ")
    assert rows["misaligned"][0] == "7"
    assert rows["stage6.left.add1"] == (
        "by 8",
        "stage6.left.bn2 at 0, 0; stage6.left.shortcut.0.2 at 8, 8",
    )
    template = _totals(fields, _facts(str(specs_dir() / "templates" / "unet.arch")))
    assert template["smallest input"][0] == "8x8"
    assert template["in steps"][0] == "of 8"


def test_totals_of_a_network_that_takes_one_size_of_map() -> None:
    rows = _totals(fields, _facts("siamese"))
    assert rows["smallest input"][0] == "105x105"
    assert rows["largest input"][0] == "112x112"


def test_vectors_have_no_figures() -> None:
    text = "arch 1\n\nnetwork N {\n    input 8\n    linear 4\n}\n"
    facts = archdsl.analyze(archdsl.loads(text)).as_dict()
    assert fields.cells(facts["layers"][0]) == ("-", "-", "-", "-", "")
    assert fields.totals(facts) == [("receptive field", "-", "there is no feature map")]


def test_paths_of_layers() -> None:
    facts = _facts("googlenet")
    # 4 paths through each of nine modules; by the heads 4^3 and 4^6.
    assert paths.cells(_layer(facts, "conv1.conv")) == (
        *("262,144", "13", "17.5", "22"),
        *("4,160", "9"),
    )
    assert paths.cells(_layer(facts, "fc")) == ("1", "1", "1.0", "1", "-", "-")
    assert paths.cells(_layer(facts, "aux1.fc2")) == ("-", "-", "-", "-", "1", "1")


def test_totals_of_paths() -> None:
    rows = paths.totals(_facts("residual20"))
    # 2^9 paths of 4 to 20 layers, in ranges of two.
    assert rows[0][1] == "512"
    assert rows[1][1] == "4" and rows[3][1] == "20"
    assert [name.strip() for name, _, _ in rows[6:]] == [
        *(f"{n} to {n + 1}" for n in range(4, 20, 2)),
        "20",
    ]
    # One path of 20 in 512.
    assert rows[-1][1] == "0.2 %"
    assert sum(float(share.rstrip(" %")) for _, share, _ in rows[6:]) == pytest.approx(
        100, abs=1
    )


def test_one_path_has_no_distribution() -> None:
    rows = paths.totals(_facts("plain20"))
    assert [(name, figure) for name, figure, _ in rows] == [
        ("gradient paths", "1"),
        ("shortest", "20"),
        ("mean", "20.0"),
        ("longest", "20"),
    ]


def test_large_numbers_are_rounded() -> None:
    # 2^58 = 288,230,376,151,711,744.
    assert paths.totals(_facts("densenet121"))[0][1] == "2.88e17"
