"""Pictures on a page, checked by the coordinates of the layout."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import archdsl
from archdsl.backends.diagram import Drawing, Options, UnknownPart, render
from archdsl.backends.diagram.layout import run_engine
from archdsl.backends.diagram.options import ALL, FONT
from archdsl.backends.diagram.picture import Closed, picture
from archdsl.backends.diagram.themes import PRINT
from archdsl.diagnostics import SpecError
from archdsl.ir import Network
from archdsl.resources import shipped_presets, shipped_specs
from tests import presets
from tests.branches import Branches

Box = tuple[float, float, float, float]
# A page of A4 in points, less a margin of 36 on each side.
A4 = (595 - 72, 842 - 72)


class Layout:
    """A drawing as laid out by the engine: positions of titles, nodes and arrows."""

    def __init__(self, network: Network, options: Options) -> None:
        self.drawing = Drawing(network, options)
        self.page = self.drawing.page()
        data, self.said = run_engine(self.page.source, "json0", "nop2")
        self.graph: dict[str, Any] = json.loads(data)
        self.objects = self.graph["objects"]

    def titles(self) -> list[Box]:
        found = []
        for one in self.objects:
            if one["name"].startswith("cluster_") and one.get("lp"):
                x, y = map(float, one["lp"].split(","))
                w, h = (72 * float(one[key]) / 2 for key in ("lwidth", "lheight"))
                found.append((x - w, y - h, x + w, y + h))
        return found

    def curves(self) -> list[list[tuple[float, float]]]:
        """Return points along each arrow."""
        found = []
        for edge in self.graph.get("edges", ()):
            text = re.sub(r"[es],\S+ ", "", edge["pos"])
            points = [tuple(map(float, p.split(","))) for p in text.split()]
            tips = re.findall(r"[es],([-\d.e+]+),([-\d.e+]+)", edge["pos"])
            curve = [(float(x), float(y)) for x, y in tips]
            for at in range(0, len(points) - 3, 3):
                curve += [bezier(points[at : at + 4], t / 24) for t in range(25)]
            found.append(curve)
        return found

    def nodes(self) -> dict[str, Box]:
        found = {}
        for one in self.objects:
            if "pos" in one and one.get("shape") not in ("point", "invtriangle"):
                x, y = map(float, one["pos"].split(","))
                w, h = (72 * float(one[key]) / 2 for key in ("width", "height"))
                found[one["name"]] = (x - w, y - h, x + w, y + h)
        return found

    def strays(self) -> list[Box]:
        """Return the boxes that an arrow leaves although it starts and ends in them."""
        found = []
        pairs = zip(self.graph.get("edges", ()), self.curves(), strict=True)
        for edge, (tip, *curve) in pairs:
            # A line between columns has no arrowhead, or is thick and outside of boxes.
            if not edge["pos"].startswith("e,") or "penwidth" in edge:
                continue
            for one in self.objects:
                if one["name"].startswith("cluster_"):
                    left, low, right, high = map(float, one["bb"].split(","))
                    inner = (left + 1, low + 1, right - 1, high - 1)
                    box = (left, low, right, high)
                    is_inside = within(inner, tip) and within(inner, curve[0])
                    if is_inside and not all(within(box, point) for point in curve):
                        found.append(box)
        return found

    def branches(self) -> Branches:
        return Branches(
            self.drawing.network,
            self.graph,
            self.page.paths,
            downwards=self.drawing.options.direction == "LR",
        )

    def middles(self) -> dict[str, tuple[float, float]]:
        """Return the centre of each node, by what it stands for."""
        return {
            self.page.paths[name]: ((left + right) / 2, (low + high) / 2)
            for name, (left, low, right, high) in self.nodes().items()
            if name in self.page.paths
        }

    def texts(self) -> list[Box]:
        """Return the box of each line of text, by the engine's widths."""
        found = []
        for one in json.loads(run_engine(self.page.source, "json", "nop2")[0])[
            "objects"
        ]:
            size = FONT
            for draw in one.get("_ldraw_", ()):
                if draw["op"] == "F":
                    size = draw["size"]
                elif draw["op"] == "T":
                    (x, y), half = draw["pt"], draw["width"] / 2
                    found.append((x - half, y - 0.2 * size, x + half, y + 0.75 * size))
        return found

    def text(self) -> float:
        """Return the text size of nodes, in points, if the drawing fills an A4 page."""
        x, y, right, top = map(float, self.graph["bb"].split(","))
        # The border that Graphviz leaves around a drawing.
        width, height = right - x + 29, top - y + 29
        sides = (A4, A4[::-1])
        return FONT * max(min(w / width, h / height) for w, h in sides)


def bezier(points: list[Any], t: float) -> tuple[float, float]:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    pairs = [*zip(weights, points, strict=True)]
    return (sum(w * p[0] for w, p in pairs), sum(w * p[1] for w, p in pairs))


def within(box: Box, point: tuple[float, float]) -> bool:
    left, bottom, right, top = box
    return left < point[0] < right and bottom < point[1] < top


# In module scope, so that the tests of a preset share its layout.
every_preset = pytest.mark.parametrize("name", shipped_presets(), scope="module")


@cache
def layout(name: str, options: Options = Options()) -> Layout:  # noqa: B008
    return Layout(presets.network(name, symbolic=False), options)


@every_preset
def test_every_preset_is_legible_on_a_page(name: str) -> None:
    """Text has at least 6 pt on A4; no arrow crosses a title; nodes do not overlap.

    Arrows within a box stay in it.
    """
    drawn = layout(name)
    assert drawn.text() >= 6
    assert not drawn.strays()
    assert not drawn.page.warnings and not drawn.said
    titles, curves = drawn.titles(), drawn.curves()
    assert not [t for t in titles if any(within(t, p) for c in curves for p in c)]
    boxes = sorted(drawn.nodes().values())
    for at, (_, bottom, right, top) in enumerate(boxes):
        for left, low, _, high in boxes[at + 1 :]:
            if left >= right:
                break
            assert low >= top - 0.5 or high <= bottom + 0.5


@pytest.mark.parametrize(
    "name", ["resnet50", "googlenet", "fpn", "unet", "dla34", "regnet_y_400mf"]
)
def test_no_title_is_struck_with_all_open(name: str) -> None:
    drawn = layout(name, Options(depth=ALL))
    titles, curves = drawn.titles(), drawn.curves()
    assert titles or name == "unet"
    assert not drawn.strays()
    assert not [t for t in titles if any(within(t, p) for c in curves for p in c)]


def test_a_struck_title_would_be_found() -> None:
    """A check of the test itself: it notices an arrow through the corner of a box."""
    left, low, right, high = layout("resnet50").titles()[0]
    ends = [(left, low), (left, low), (right, high), (right, high)]
    line = [bezier(ends, t / 24) for t in range(25)]
    assert any(within((left, low, right, high), point) for point in line)


@every_preset
def test_branches_stand_in_the_specs_order(name: str) -> None:
    assert not layout(name).branches().out_of_order()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dla34", Options(direction="LR")),
        ("googlenet", Options(direction="LR")),
        ("regnet_y_400mf", Options(direction="LR")),
        ("lraspp_mobilenet_v3_large", Options(direction="LR")),
        ("lraspp_mobilenet_v3_large", Options(page="slide")),
        ("inception_v3", Options(depth=ALL)),
    ],
)
def test_branches_stand_in_order_however_they_are_drawn(
    name: str, options: Options
) -> None:
    drawn = layout(name, options)
    assert drawn.branches().meets and not drawn.branches().out_of_order()
    assert not drawn.strays()
    titles, curves = drawn.titles(), drawn.curves()
    assert not [t for t in titles if any(within(t, p) for c in curves for p in c)]


def test_of_braces_within_braces_the_outer_ones_tell_the_order() -> None:
    """A branch that reads the one before it still comes after it."""
    body = "concat { chunk 1 of=2; a: relu | add { chunk 2 of=2 | @a }; tanh }"
    network = archdsl.loads(spec(body))
    drawn = Layout(network, Options())
    assert not drawn.branches().out_of_order()
    at = drawn.middles()
    assert at["chunk1"] < at["chunk2"]


def test_each_value_that_flows_into_a_block_is_seen_on_its_way() -> None:
    """Arrows only end at a border above a triangle, from which they continue."""
    # In HRNet, two values enter the module, and one enters each of its branches.
    parts = (("hrnet_w18", "stage2.0", 4), ("resnet18_fpn", "lateral3", 2))
    for name, only, values in parts:
        drawn = layout(name, Options(only=only))
        shapes = {one["_gvid"]: one.get("shape") for one in drawn.objects}
        ends = [e["head"] for e in drawn.graph["edges"] if "lhead" in e]
        assert [shapes[end] for end in ends].count("invtriangle") == values


def test_branches_are_seen() -> None:
    """Inception's four branches split and meet where the block is drawn on its own."""
    found = layout("googlenet").branches()
    for rows in (found.meets, found.forks):
        assert [*map(len, rows)].count(4) == 1


# ---- the picture of the README

DOCS = Path(__file__).parent.parent / "docs"
NAMESPACE = "{http://www.w3.org/2000/svg}"


def numbers(text: str) -> list[tuple[float, float]]:
    found = [*map(float, re.findall(r"-?\d+\.?\d*", text))]
    return [*zip(found[::2], found[1::2], strict=True)]


def around(points: list[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


class Svg:
    """Positions of a picture's nodes, titles and arrows, from the svg text."""

    def __init__(self, path: Path) -> None:
        groups = [*ET.parse(path).getroot().iter(f"{NAMESPACE}g")]
        by_kind: dict[str, list[ET.Element]] = {}
        for group in groups:
            by_kind.setdefault(group.attrib.get("class", ""), []).append(group)
        self.nodes: list[Box] = []
        for node in by_kind["node"]:
            for shape in node.iter():
                if shape.tag == f"{NAMESPACE}ellipse":
                    x, y, rx, ry = (
                        float(shape.attrib[k]) for k in ("cx", "cy", "rx", "ry")
                    )
                    self.nodes.append((x - rx, y - ry, x + rx, y + ry))
                elif points := shape.attrib.get("points", shape.attrib.get("d")):
                    self.nodes.append(around(numbers(points)))
        self.boxes = [
            around(numbers(path.attrib["d"]))
            for cluster in by_kind.get("cluster", ())
            for path in cluster.iter(f"{NAMESPACE}path")
        ]
        self.titles = [
            box_of(text)
            for cluster in by_kind.get("cluster", ())
            for text in cluster.iter(f"{NAMESPACE}text")
        ]
        self.curves: list[list[tuple[float, float]]] = []
        self.tips: list[list[tuple[float, float]]] = []
        for edge in by_kind["edge"]:
            route = numbers(next(edge.iter(f"{NAMESPACE}path")).attrib["d"])
            curve = [
                bezier(route[at : at + 4], t / 24)
                for at in range(0, len(route) - 3, 3)
                for t in range(25)
            ]
            self.curves.append(curve)
            self.tips += [
                numbers(tip.attrib["points"])
                for tip in edge.iter(f"{NAMESPACE}polygon")
            ]


def box_of(text: ET.Element) -> Box:
    """Return the approximate box of a text, from its anchor."""
    x, y, size = (float(text.attrib[key]) for key in ("x", "y", "font-size"))
    width = 0.5 * size * len(text.text or "")
    left = x - {"middle": width / 2, "end": width}.get(text.attrib["text-anchor"], 0)
    return (left, y - 0.7 * size, left + width, y)


def test_no_picture_shows_the_names_that_dot_text_has_for_nodes() -> None:
    images = [*(DOCS / "gallery").glob("*.svg"), *(DOCS / "images").rglob("*.svg")]
    assert len(images) > 40
    for image in images:
        shown = re.findall(r">n\d+</text>", image.read_text(encoding="utf-8"))
        assert not shown, image


def test_the_readmes_arrows_end_at_nodes_and_cross_none() -> None:
    drawn = Svg(DOCS / "images" / "small.svg")
    assert len(drawn.curves) == len(drawn.tips) > 10 and drawn.titles
    for curve in drawn.curves:
        for left, low, right, high in drawn.nodes:
            if within((left - 2, low - 2, right + 2, high + 2), curve[0]):
                continue  # it starts there
            inner = (left + 1, low + 1, right - 1, high - 1)
            assert not any(within(inner, point) for point in curve)
        assert not any(within(t, point) for t in drawn.titles for point in curve)
    for tip in drawn.tips:
        assert any(touches(tip, box) for box in (*drawn.nodes, *drawn.boxes))


def touches(tip: list[tuple[float, float]], box: Box) -> bool:
    """Return whether an arrowhead has a corner within 2 points of a border."""
    left, low, right, high = box
    outer = (left - 2, low - 2, right + 2, high + 2)
    inner = (left + 2, low + 2, right - 2, high - 2)
    return any(within(outer, point) and not within(inner, point) for point in tip)


# ---- themes


def test_fills_of_the_print_theme_differ_in_grey() -> None:
    """Fills are greys; any two that are both common differ by 4% of white or more."""
    fills = PRINT.fills
    greys = {family: int(colour[1:3], 16) for family, colour in fills.items()}
    assert all(colour == "#" + colour[1:3] * 3 for colour in fills.values())
    # A merge is white and round, a norm or activation white and square.
    levels = sorted({grey for family, grey in greys.items() if family != "norm"})
    assert len(levels) == len(fills) - 1
    assert min(b - a for a, b in pairwise(levels)) >= 0.04 * 255
    used = set(re.findall(r'color="?(#\w+)', said("conv 3x3 4", theme="print")))
    assert used and all(len(set(re.findall("..", one[1:]))) == 1 for one in used)


# ---- what labels say


def labels(name: str, **options: Any) -> set[str]:
    drawing = Drawing(archdsl.load(name, symbolic=False), Options(**options))
    return set(re.findall(r'label="((?:[^"\\]|\\.)*)"', drawing.source()))


def spec(body: str) -> str:
    return f"arch 1\nnetwork net {{\n input 4x16x16\n{body}\n}}\n"


def said(body: str, **options: Any) -> str:
    return Drawing(archdsl.loads(spec(body)), Options(**options)).source()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        # Weights: 3x3 for each of 4 channels, and their 4 biases.
        ("conv 3x3 4 groups=4", r"conv1: dwconv 3x3 4\n40"),
        # 3x3x2 for each of 8 outputs, and 8 biases.
        ("conv 3x3 8 groups=2", r"conv1: conv 3x3 8 groups 2\n→ 8x16x16   152"),
        ("conv 3x3 dilation=2 pad=2", r"conv1: conv 3x3 dilation 2\n148"),
        ("flatten\nlinear 8\nlinear 8", r"linear2: linear 8\n72"),
    ],
)
def test_labels_say_what_changes_the_cost(body: str, words: str) -> None:
    assert f'"{words}"' in said(body)


def test_costs_are_macs_too() -> None:
    # 8 x 16 x 16 outputs of 9 x 4 products.
    assert "73.7 k MACs" in said("conv 3x3 8", detail="costs")
    assert "MACs" not in said("conv 3x3 8")


def test_unequal_copies_show_the_first_and_the_last() -> None:
    """VGG's two linear layers have 102,764,544 and 16,781,312 parameters."""
    assert any("103 M…16.8 M" in label for label in labels("vgg19"))
    grown = labels("densenet121", depth=ALL)
    # 64 channels, and 32 from each of six layers.
    assert r"concat\n→ 96…256x56x56" in grown


def test_equal_copies_say_each() -> None:
    assert '"conv1: conv 3x3 4  x3\\n148 each"' in said("conv 3x3 4  x3\nconv 1x1 2")


def test_long_titles_keep_their_numbers_of_copies() -> None:
    """The number of copies is shown even if the call is shortened."""
    name = "a_block_with_a_long_name_that_says_what_it_does_and_why"
    text = f"""arch 1
block {name}<width, kernel> {{ conv kernel width; conv kernel width }}
network Net {{
    input 3x8x8
    stage: seq {{ conv 1x1 8; {name}<8, 3x3> x3 }}
}}
"""
    source = Drawing(archdsl.loads(text), Options(depth=0, insets=False)).source()
    (title,) = re.findall(r'label="(stage[^"]*?)\\n', source)
    assert title.startswith("stage.1…3: a_block") and title.endswith("...  x3")
    assert len(title) <= 72
    whole = f"stage.1 to stage.3: {name}<8, 3x3>  x3"
    assert f'tooltip="{whole}"' in source


def test_costs_fit_a_page() -> None:
    drawn = layout("googlenet", Options(detail="costs"))
    assert drawn.text() >= 6 and drawn.page.source.count("MACs") > 10


def test_rates_of_dropout_do_not_stop_folding() -> None:
    """A stage's blocks have rates that grow; they are shown as a range."""
    blocks = "block unit<p> { residual { conv 3x3 4 -> stochasticdepth p } }\n"
    text = blocks + spec("for p in [0.1, 0.2, 0.3] { unit<p> }").split("\n", 1)[1]
    net = archdsl.loads(f"arch 1\n{text}")
    (box,) = picture(net, fold=True).parts
    assert box.heading.copies == 3
    assert box.heading.call == "unit<0.1…0.3>"


def test_shared_weights_are_told() -> None:
    source = Drawing(archdsl.load("siamese", symbolic=False)).source()
    convs = 4
    assert source.count("shared weights") == source.count("peripheries=2") == convs + 1


AGAIN = """arch 1
block unit<width> { conv 3x3 width -> relu; conv 3x3 width }
network Again {
    input left 3x8x8
    input right 3x8x8
    @left -> tower: unit<4>
    fc: conv 1x1 2
    @right -> other: same tower
    last: same fc
    @right -> same tower
    same fc
    add { @fc | @last | }
}
"""


def test_a_part_once_more_has_its_own_name_and_tells_whose_weights_it_has() -> None:
    net = archdsl.loads(AGAIN)
    opened = Drawing(net).source()
    assert opened.count("label=tower tooltip") == 0
    for title in ("tower: unit<4>", "other: same tower", "tower: once more"):
        assert opened.count(f'label="{title}"') == 1
    assert 'label="last: conv 1x1 2\\n→ 2x8x8   weights of fc"' in opened
    assert "last: conv 1x1 2, 4x8x8 to 2x8x8, weights of fc" in opened
    shut = Drawing(net, Options(depth=0)).source()
    assert 'label="other: same tower\\n→ 4x8x8   shared weights"' in shut
    assert shut.count("peripheries=2") == 4
    alone = Drawing(net, Options(only="other", legend=False)).source()
    assert 'label="other: same tower"' in alone


def test_arrows_between_layers_of_shared_weights_are_seen() -> None:
    """Double borders are part of the layout, so they do not touch."""
    drawn = layout("siamese")
    boxes = drawn.nodes()
    ringed = [o["name"] for o in drawn.objects if o.get("peripheries") == "2"]
    assert len(ringed) == 5
    for name in ringed:
        box = boxes[name]
        near = [b for n, b in boxes.items() if n != name and beside(b, box)]
        assert min(max(box[1] - b[3], b[1] - box[3]) for b in near) >= 9


def beside(one: Box, other: Box) -> bool:
    """Return whether two boxes share a column."""
    return one[0] < other[2] and other[0] < one[2]


def test_a_reference_is_dotted() -> None:
    body = "a: conv 3x3 4 -> maxpool 2x2 -> b: conv 3x3 4\nresize { @b | @a }"
    source = said(body)
    assert source.count("style=dotted") == 1


# ---- depth and parts


def test_depth_closes_blocks() -> None:
    def shown(depth: int) -> tuple[int, int]:
        main = Drawing(archdsl.load("resnet50"), Options(depth=depth)).sheet.main
        nodes = [*main.nodes()]
        return len(nodes), sum(isinstance(node, Closed) for node in nodes)

    # Stem, pool, four stages, pool and linear; then one or two runs in each stage.
    assert shown(0) == (8, 4)
    assert shown(1) == (12, 8)
    assert shown(2)[1] == 0


def test_a_closed_block_has_all_parameters() -> None:
    drawing = Drawing(archdsl.load("resnet50"), Options(depth=0))
    # torchvision's layer4 has 14,964,736.
    assert "layer4: stage<bottleneck, 512, 3>\\n→ 2048x7x7   15 M" in drawing.source()


def test_each_kind_that_is_closed_is_drawn_beside() -> None:
    sheet = Drawing(archdsl.load("mobilenet_v2", symbolic=False)).sheet
    assert sheet.kinds == ("inverted_residual",)
    assert len(sheet.insets) == 1


def test_block_and_only_draw_a_part() -> None:
    drawing = Drawing(archdsl.load("resnet50"), Options(block="bottleneck"))
    # Three convolutions, the projection and the sum.
    assert len([*drawing.sheet.main.nodes()]) == 5
    drawing = Drawing(archdsl.load("resnet50"), Options(only="layer1.1"))
    assert len([*drawing.sheet.main.nodes()]) == 4
    with pytest.raises(UnknownPart, match="did you mean `bottleneck`"):
        Drawing(archdsl.load("resnet50"), Options(block="bottlenek"))
    with pytest.raises(UnknownPart, match="no block `unit`; it has none"):
        Drawing(archdsl.load("alexnet"), Options(block="unit"))
    with pytest.raises(UnknownPart, match="give only one"):
        Drawing(archdsl.load("resnet50"), Options(only="layer1", block="bottleneck"))


def test_rows_run_from_left_to_right() -> None:
    page = Drawing(archdsl.load("vgg19"), Options(direction="LR")).page()
    assert page.size.width > page.size.height


def test_rows_are_cut_beside_heads_for_training() -> None:
    """The arrow to an auxiliary head does not cross all rows up to the last."""
    drawn = layout("googlenet", Options(direction="LR"))
    assert drawn.text() >= 6
    at = drawn.middles()
    assert at["inception4b"][1] > at["aux1"][1] > at["inception4d"][1]


@pytest.mark.parametrize("name", ["unet", "unet_padded"])
def test_a_unet_is_a_u(name: str) -> None:
    """Skips are level; left goes down, right goes up, and the middle is lowest."""
    drawn = layout(name)
    nodes = drawn.nodes()
    by_path = {path: nodes[name] for name, path in drawn.page.paths.items()}
    middle = by_path["middle"]
    for level in range(4):
        down, up = by_path[f"down{level}"], by_path[f"merge{level}"]
        assert down[0] < up[0] and down[2] < up[2]
        assert down[1] > middle[1] and up[1] > middle[1]
    others = (box[1] for path, box in by_path.items() if path.startswith("maxpool"))
    assert all(low > middle[1] for low in others)


# ---- volumes


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16", "resnet50", "googlenet", "mobilenet_v2"]
)
def test_no_text_or_box_of_volumes_covers_another(name: str) -> None:
    drawn = layout(name, Options(style="volumes"))
    assert drawn.text() >= 6 and not drawn.said
    boxes = [*drawn.texts()]
    nodes = {name: box for name, box in drawn.nodes().items() if name != "all"}
    boxes += [box for name, box in nodes.items() if re.fullmatch(r"n\d+", name)]
    assert len(boxes) > 20
    for at, (left, low, right, high) in enumerate(boxes):
        assert left >= 0 and low >= 0
        assert right <= drawn.page.size.width and high <= drawn.page.size.height
        for a, b, c, d in boxes[at + 1 :]:
            assert left >= c or a >= right or low >= d or b >= high


def test_volumes_have_the_sizes_of_maps_and_channels() -> None:
    """AlexNet: heights go by the root, so 224 is 2.02 times as high as 55."""
    drawn = layout("alexnet", Options(style="volumes"))
    fronts: dict[str, list[tuple[float, float]]] = {}
    nodes = drawn.nodes()
    for name, path in drawn.page.paths.items():
        left, low, right, high = nodes[name]
        fronts.setdefault(path, []).append((right - left, high - low))
    (first,), (stem,), (wide,) = (
        fronts[path] for path in ("input", "features.0", "features.6")
    )
    assert first[1] / stem[1] == pytest.approx((224 / 55) ** 0.5, rel=0.01)
    # 384 channels and 64.
    assert wide[0] / stem[0] == pytest.approx(6**0.5, rel=0.01)
    # Two equal convolutions, and two linear layers before the last.
    assert len(fronts["features.8"]) == len(fronts["classifier.1"]) == 2


def test_the_tops_and_sides_of_volumes_are_drawn() -> None:
    """Two polygons for each box with maps; bars have none."""
    drawn = layout("alexnet", Options(style="volumes"))
    (faces,) = re.findall(r'_background="([^"]*)"', drawn.page.source)
    bars = 3
    assert faces.count(" P 4 ") == 2 * (len(drawn.page.paths) - bars)


def test_what_is_no_chain_has_no_volumes() -> None:
    for name, path in (("unet", "crop1"), ("siamese", "")):
        with pytest.raises(SpecError, match="is not a chain") as caught:
            Drawing(archdsl.load(name), Options(style="volumes"))
        assert path in str(caught.value)
        assert [found.code for found in caught.value.diagnostics] == ["A0801"]
    with pytest.raises(SpecError, match="not a chain at depth 2"):
        Drawing(archdsl.load("resnet50"), Options(style="volumes", depth=2))


def test_volumes_are_called_by_their_paths() -> None:
    network = archdsl.load("alexnet", symbolic=False)
    svg = Drawing(network, Options(style="volumes")).image("svg").decode()
    titles = set(re.findall("<title>(.*?)</title>", svg))
    assert {"input", "features.0", "classifier.6"} <= titles
    assert not any("label" in title for title in titles)


def test_volumes_leave_out_what_only_trains() -> None:
    source = Drawing(archdsl.load("googlenet"), Options(style="volumes")).source()
    assert "no parts of training" in source and "auxiliary" not in source


def test_what_has_no_pairs_is_no_u() -> None:
    assert Drawing(archdsl.load("resnet50")).sheet.lowest is None
    assert Drawing(archdsl.load("unet"), Options(style="graph")).sheet.lowest is None


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("resnet50", {}, "`globalavgpool1` makes 2048, which is not a map"),
        ("srgan", {}, "no arrow leads past `add1`, where its maps are smallest"),
        ("deeplab", {}, "one arrow leads past `classifier`, where its maps"),
        ("fpn", {"depth": 1}, "blocks are open in it"),
        ("unet", {"fold": False}, "blocks are open in it"),
    ],
)
def test_a_u_that_is_asked_for_is_drawn_or_refused(
    name: str, options: dict[str, Any], reason: str
) -> None:
    network = archdsl.load(name, symbolic=False)
    with pytest.raises(SpecError, match=reason) as caught:
        Drawing(network, Options(style="unet", **options))
    assert [found.code for found in caught.value.diagnostics] == ["A0802"]
    with pytest.raises(ValueError, match="top to bottom"):
        Drawing(network, Options(style="unet", direction="LR"))


# ---- options


def test_what_is_not_drawn_beside_is_told_with_its_option() -> None:
    """The options named in the note draw these blocks and groups."""
    page = layout("hrnet_w18").page
    (note,) = re.findall(r'"not drawn beside: ([^"]*?)(?: and \d+ more)?"', page.source)
    network = archdsl.load("hrnet_w18", symbolic=False)
    for way in note.split(", "):
        option, name = way.split(" ")
        assert Drawing(network, Options(**{option.removeprefix("--"): name})).source()


def test_text_too_small_for_a_page_is_told() -> None:
    heard: list[str] = []
    network = archdsl.load("resnet50", symbolic=False)
    Drawing(network, Options(fold=False)).image("svg", heard.append)
    (line,) = heard
    told = re.search(r"has ([\d.]+) pt", line)
    assert told is not None
    # The engine leaves slightly less space around a drawing than assumed.
    true = layout("resnet50", Options(fold=False)).text()
    assert float(told[1]) == pytest.approx(true, rel=0.05)
    heard.clear()
    Drawing(network).image("svg", heard.append)
    assert not heard


def test_functions_take_the_commands_options(tmp_path: Path) -> None:
    """Every option of the command has its name and default in `archdsl.Options`."""
    from archdsl.cli.commands.render import command

    made = command.make_context("render", ["alexnet"]).params
    for name, default in Options()._asdict().items():
        assert name == "tight" or made[name] == default, name
    options = archdsl.Options(theme="dark", block="bottleneck")
    source = archdsl.render("resnet50", tmp_path / "net.svg", options=options)
    assert source == Drawing(archdsl.load("resnet50"), options).source()
    assert "#1e1e1e" in (tmp_path / "net.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "theme",
            "drak",
            "no `drak`; there are light, dark, print; did you mean `dark`",
        ),
        ("depth", "1", "depth must be int or None, not str"),
        ("legend", 1, "legend must be bool, not int"),
        ("dpi", 0, "dpi must be 10 to 1,200, not 0"),
    ],
)
def test_options_that_no_picture_has(name: str, value: Any, message: str) -> None:
    options = Options()._replace(**{name: value})
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        archdsl.render("alexnet", options=options)


# ---- files


def test_a_png_is_never_scaled(tmp_path: Path) -> None:
    path = tmp_path / "net.png"
    with pytest.raises(SpecError, match="pixels long"):
        render(archdsl.load("resnet50"), path, options=Options(dpi=1200, fold=False))
    assert not path.exists()


def test_svg_names_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    render(archdsl.load("resnet50"), path)
    root = ET.parse(path).getroot()
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "resnet50, 25,557,032 parameters"
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    assert {"conv1", "layer1.0.conv2", "fc"} <= set(ids)
    titles = {e.text for e in root.iter("{http://www.w3.org/2000/svg}title")}
    assert "maxpool1 to input of layer1.0" in titles
    assert not any(re.fullmatch(r"n\d+", title or "") for title in titles)


def test_the_gallery_has_every_network() -> None:
    gallery = Path(__file__).parent.parent / "docs" / "gallery"
    page = (gallery / "index.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[(\w+)\]\(\1\.svg\) .*specs/([\w/]+)\.arch\) \|$", page, re.M
    )
    assert sorted(spec for _, spec in rows) == sorted(shipped_specs())
    assert sorted(f"{name}.svg" for name, _ in rows) == sorted(
        path.name for path in gallery.glob("*.svg")
    )


def test_two_thousand_layers_take_seconds(tmp_path: Path) -> None:
    layers = "\n".join(["conv 3x3 4 -> bn -> relu"] * 700)
    start = time.process_time()
    render(archdsl.loads(spec(layers)), tmp_path / "net.svg")
    assert time.process_time() - start < 5
