"""The output of `--json` matches the published schemas, and covers all of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from PIL import Image

import archdsl
from archdsl.backends.training.folder import COLUMNS
from archdsl.cli.app import COMMANDS
from archdsl.cli.schemas import OUTPUTS, output_schema
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

NET = """arch 1

network Net {
    input 3x16x16
    conv 3x3 8 bias=true -> bn -> relu
    expect params < 10
}
"""

# Takes images, and scores two classes.
SMALL = """arch 1

network Small {
    input 3x16x16
    conv 3x3 8 -> bn -> relu -> globalavgpool -> linear 2
}
"""

DIGITS = SMALL.replace("3x16x16", "1x8x8").replace("linear 2", "linear 10")

# Together, these calls fill all keys that can be null.
CALLS = [
    ["analyze", "googlenet", "--count", "fvcore", "--device", "t4", "--fits", "8GiB"],
    ["analyze", "dla34", "--batch", "3", "--mode", "train"],
    ["analyze", "siamese"],
    ["analyze", "vgg11", "--recompute"],
    ["analyze", "net.arch"],
    ["analyze", "net.arch", "--gradients"],
    ["analyze", "nothing"],
    ["check", "net.arch", "vgg"],
    ["check", "--torch", "tutorial/kernels"],
    ["compare", "resnet18", "resnet50", "vgg11"],
    ["compare", "vgg16", "vgg16_bn"],
    ["bench", "small.arch", "--seconds", "0"],
    ["compare", "siamese", "tutorial/depth"],
    ["compile", "tutorial/merge"],
    ["compile", "tutorial/merge", "-o", "merge.py"],
    ["compile", "tutorial/merge", "--inference"],
    ["compile", "tutorial/merge", "--recompute"],
    ["compile", "resnet18", "--recompute", "--fits", "9GiB"],
    ["export", "small.arch", "--random", "0", "-o", "small.onnx"],
    ["evaluate", "digits.arch", "digits.pth", "--data", "digits"],
    ["export", "small.arch", "--random", "0", "-o", "small.onnx", "--check"],
    ["export", "small.arch", "--random", "0", "-o", "small.pt2", "--torch"],
    ["export", "small.arch", "--random", "0", "-o", "small.onnx", "--int8", "."],
    ["expand", "tutorial/merge"],
    ["expand", "vgg11", "-o", "vgg.arch"],
    ["explain", "A0301"],
    ["explain", "counts"],
    ["fmt", "--check", "net.arch", "nothing.arch"],
    ["import", "torch.nn:ReLU6", "--input", "3x16x16"],
    ["lint", "net.arch", "alexnet"],
    ["lint", "--list"],
    ["list"],
    ["list", "--devices"],
    ["new", "mine"],
    *(["plot", "vgg11", "--show", n] for n in ("compare", "costs", "fields")),
    *(["plot", "googlenet", "--show", n] for n in ("memory", "paths")),
    ["plot", "net.arch", "--show", "gradients"],
    ["plot", "vgg11", "--show", "roofline", "--device", "t4"],
    ["plot", "run"],
    ["render", "tutorial/merge"],
    ["run", "digits.arch", "digits.pth", "grey.png"],
    ["run", "small.onnx", "grey.png"],
    ["run", "small.onnx", "grey.png", "--labels", "labels.txt"],
    ["schema"],
    ["sweep", "net.arch", "input=3x8x8,3x9x9"],
    [
        "sweep",
        "alexnet",
        "classes=1..3",
        "--where",
        "params < 1G",
        "--pareto",
        "params",
    ],
    ["sweep", "tutorial/depth", "input=3x1x1,3x32x32"],
    ["train", "digits.arch", "--data", "digits", "--set", "epochs=2", "-o", "run"],
    ["weights", "net.arch", "net.pth"],
    ["weights", "net.arch", "net.pth", "--map", "huggingface-resnet"],
]


def closed(part: Any) -> Any:
    """Return a schema that only allows the keys that it names."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: closed(value) for key, value in part.items()}
    if "properties" in part and "required" in part:
        found.setdefault("additionalProperties", False)
    return found


def test_every_command_has_a_schema() -> None:
    # The language server has the schema of its protocol.
    assert set(OUTPUTS) == set(COMMANDS) - {"lsp"}
    assert {call[0] for call in CALLS} == set(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_schemas_are_schemas(run: Run, name: str) -> None:
    found = json.loads(run("schema", name).out)
    assert found == output_schema(name)
    jsonschema.Draft202012Validator.check_schema(found)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_outputs_are_as_their_schemas_say(
    run: Run, folder: Path, call: list[str]
) -> None:
    Path("net.arch").write_text(NET, encoding="utf-8")
    if call[0] == "weights":
        # One tensor of another shape, one without a place, and a norm without its name.
        names = ("weight", "bias", "running_mean", "running_var")
        norm = {f"norm.{name}": torch.ones(8) for name in names}
        torch.save(
            {"conv1.weight": torch.ones(2), "x": torch.ones(1), **norm}, "net.pth"
        )
    if call[0] in ("bench", "export", "run"):
        Path("small.arch").write_text(SMALL, encoding="utf-8")
        Path("labels.txt").write_text("cat\ndog\n", encoding="utf-8")
        Image.new("RGB", (20, 16), "grey").save("grey.png")
    if call[0] in ("evaluate", "run", "train"):
        Path("digits.arch").write_text(DIGITS, encoding="utf-8")
        torch.save(archdsl.build("digits.arch").state_dict(), "digits.pth")
    if call == ["plot", "run"]:
        Path("run").mkdir()
        row = "1,9,0.1,2.3,,2.3,0.1,0.5,1.0,,"
        Path("run/metrics.csv").write_text(f"{','.join(COLUMNS)}\n{row}\n", "utf-8")
    if call[0] == "run":
        run("export", "small.arch", "--random", "0", "-o", "small.onnx")
    found = run(*call, "--json").json
    validator = jsonschema.Draft202012Validator(closed(output_schema(call[0])))
    # The error for the closest alternative.
    errors = [jsonschema.exceptions.best_match(validator.iter_errors(found))]
    assert errors == [None], errors[0] and (errors[0].message, errors[0].json_path)
    failed = found.keys() == {"schema", "errors"}
    assert failed == (call == ["analyze", "nothing"])


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("params",), "many"),
        (("schema",), 2),
        (("layers", 0, "output"), None),
        (("layers", 0, "surprise"), 3),
        (("memory", "training_peak", "to_batch"), 1.5),
        (("receptive_field", "start", 0), "none"),
    ],
)
def test_what_is_not_so_is_refused(
    run: Run, keys: tuple[str | int, ...], value: object
) -> None:
    found = copy.deepcopy(run("analyze", "vgg11", "--json").json)
    validator = jsonschema.Draft202012Validator(closed(output_schema("analyze")))
    assert validator.is_valid(found)
    part: Any = found
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    assert not validator.is_valid(found)


def test_a_missing_key_is_refused_and_a_new_one_is_not(run: Run) -> None:
    found = run("analyze", "vgg11", "--json").json
    validator = jsonschema.Draft202012Validator(output_schema("analyze"))
    assert validator.is_valid({**found, "new": 1})
    del found["depth"]
    assert not validator.is_valid(found)
