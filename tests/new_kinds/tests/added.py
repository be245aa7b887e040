"""What tools count in a network of added kinds, and whether its module agrees."""

import torch

import archdsl
from archdsl.cli import main
from archdsl.ir.graph import flatten
from archdsl.torch.counting import count
from tests.counters import COUNTERS

SPEC = """arch 1

network Two {
    input 8x16x16
    conv 3x3 32 -> gate: glu
    bilinear {
        conv 3x3 4 -> globalavgpool
        | conv 1x1 6 -> glu -> globalavgpool
    }
    linear 10
}
"""


def test_every_tool_counts_what_is_said(tmp_path) -> None:
    network = archdsl.loads(SPEC)
    module = archdsl.build(network).eval()
    image = torch.zeros(1, 8, 16, 16)
    found = {tool: run(module, image)[""] for tool, run in COUNTERS.items()}
    assert {tool: count(flatten(network), tool).total for tool in COUNTERS} == found


def test_the_module_agrees(tmp_path, capsys) -> None:
    (tmp_path / "two.arch").write_text(SPEC)
    assert main(["check", "--torch", str(tmp_path / "two.arch")]) == 0
    out, err = capsys.readouterr()
    assert "figures as in torch" in out and "not compared" not in out + err
