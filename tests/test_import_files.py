"""Networks in files become specs, and nothing in the files runs."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer import NotImported
from tests.oracle import torchvision
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]


pytestmark = pytest.mark.usefixtures("quick_on_meta")


class Unit(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    """A network with parts and branches whose numbers are hard to get right."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Identity(), nn.Conv2d(3, 8, 3), nn.SiLU())
        self.body = nn.Sequential(Unit(8, 8), Unit(8, 8), nn.MaxPool2d(2))
        self.side = nn.Conv2d(8, 8, 1)
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.stem(x))
        y = torch.cat([y, nn.functional.interpolate(self.side(y), scale_factor=1)], 1)
        return self.fc(self.drop(y.mean((2, 3))))


def saved(
    module: nn.Module,
    path: Path,
    *inputs: Tensor,
    change: Callable[[Any], Any] = lambda program: program,
    **how: Any,
) -> Path:
    """Save a module as a program, and return the path."""
    given = inputs or (torch.randn(1, 3, 32, 32),)
    torch.export.save(change(torch.export.export(module, given, **how)), path)
    return path


def body(text: str) -> str:
    """Return a spec without the comment about its origin."""
    return re.sub(r", imported from .*", "", text)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("mobilenet_v3_small", 64),
        ("shufflenet_v2_x0_5", 64),
        ("squeezenet1_1", 64),
        ("regnet_y_400mf", 64),
    ],
)
def test_a_program_becomes_the_spec_of_its_module(
    name: str, size: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = getattr(torchvision.models, name)().eval()
    image = torch.randn(2, 3, size, size)
    path = saved(module, tmp_path / f"{name}.pt2", image)
    found = archdsl.from_file(path)
    live = archdsl.from_module(module, (3, size, size))
    # A program in evaluation mode lacks layers that only run in training.
    assert "stochasticdepth" in live.text or body(found.text) == body(live.text)
    assert found.compared[0] == "names, order and shapes of the weights"
    # A third way: torch's own loader, and the module's own weights.
    built = archdsl.build(archdsl.loads(found.text))
    built.load_state_dict(module.state_dict(), strict=True)
    theirs = torch.export.load(path).module()(image)
    assert torch.allclose(built.eval()(image), theirs, rtol=1e-5, atol=1e-5)


def test_heads_that_a_program_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    module = torchvision.models.googlenet(init_weights=False).eval()
    path = saved(module, tmp_path / "g.pt2", torch.randn(1, 3, 64, 64))
    found = archdsl.from_file(path)
    (note,) = found.notes
    assert note.startswith(
        "20 tensors of the file left out, as nothing reads them: aux1"
    )
    assert "inception<" in found.text and "aux" not in found.text


def test_parts_that_do_nothing_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    module = Net().eval()
    found = archdsl.from_file(saved(module, tmp_path / "net.pt2"))
    assert body(found.text) == body(archdsl.from_module(module, "3x32x32").text)
    assert "identity" in found.text and "block unit<" not in found.text


def test_a_program_in_training(tmp_path: Path) -> None:
    found = archdsl.from_file(saved(Net().train(), tmp_path / "net.pt2"))
    assert "dropout 0.25" in found.text
    assert found.compared[1].startswith("outputs in training at 3x32x32")


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_program_that_was_taken_apart(tmp_path: Path) -> None:
    """Only core operations: addmm for a linear layer, and other batch norms."""
    module = Net().eval()
    path = saved(module, tmp_path / "net.pt2", change=lambda p: p.run_decompositions())
    data = zipfile.ZipFile(path).read("net/models/model.json")
    assert b'"torch.ops.aten.addmm.default"' in data
    found = archdsl.from_file(path)
    assert "fc: linear 5" in found.text and "bn -> relu6" in found.text


def test_sizes_that_are_open(tmp_path: Path) -> None:
    dims = {"x": {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=8)}}
    inputs = torch.randn(2, 3, 32, 32)
    path = saved(Net().eval(), tmp_path / "net.pt2", inputs, dynamic_shapes=dims)
    assert "input 3x32x32" in archdsl.from_file(path).text
    assert "input 3x40x32" in archdsl.from_file(path, "3x40x32").text
    with pytest.raises(NotImported, match="has the size 32, not 40"):
        archdsl.from_file(path, "3x32x40")


def test_a_program_that_archdsl_exports(folder: Path, run: Run) -> None:
    code, _, _ = run("export", "resnet18", "--random", "0", "--torch", "--no-fold",
                     "--input", "3x64x64", "-o", "r.pt2")  # fmt: skip
    assert code == 0
    code, out, err = run("import", "r.pt2", "-o", "back.arch")
    assert code == 0, err
    assert "equal in names, order and shapes of the weights, outputs" in out
    network = archdsl.load(folder / "back.arch")
    own = archdsl.load("resnet18", input=(3, 64, 64))
    assert [s.path for s in network.steps()] == [s.path for s in own.steps()]
    assert archdsl.analyze(network).params == archdsl.analyze(own).params


# ---- files that are not programs, or invalid ones
# -------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(Net().eval(), tmp_path_factory.mktemp("program") / "net.pt2")


MODEL = "net/models/model.json"
CONFIG = "net/data/weights/model_weights_config.json"


def damaged(
    program: Path,
    to: Path,
    change: Callable[[dict[str, Any]], Any],
    part: str = MODEL,
) -> Path:
    """Write a program again, with one of its JSON parts changed."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(to, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename == part:
                data = json.loads(content)
                content = json.dumps(change(data) or data).encode()
            target.writestr(item, content)
    return to


def nodes(data: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data["graph_module"]["graph"]["nodes"]
    return found


def first_input(data: dict[str, Any]) -> dict[str, Any]:
    specs = data["graph_module"]["signature"]["input_specs"]
    name = next(s for s in specs if "user_input" in s)["user_input"]["arg"]
    values = data["graph_module"]["graph"]["tensor_values"]
    found: dict[str, Any] = values[name["as_tensor"]["name"]]
    return found


def set_target(target: str) -> Callable[[dict[str, Any]], Any]:
    return lambda data: nodes(data)[0].update(target=target)


def set_arg(place: int, arg: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: nodes(data)[0]["inputs"][place].update(arg=arg)


def more(arg: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a change that gives the first operation a stride."""
    given = {"name": "stride", "arg": arg, "kind": 1}
    return lambda data: nodes(data)[0]["inputs"].append(given)


def set_stack(text: str) -> Callable[[dict[str, Any]], Any]:
    return lambda data: nodes(data)[0]["metadata"].update(nn_module_stack=text)


def weight(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: next(iter(data["config"].values())).update(fields)


def meta(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    def change(data: dict[str, Any]) -> None:
        next(iter(data["config"].values()))["tensor_meta"].update(fields)

    return change


HUGE = [{"as_int": 2**31}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}]
BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "a function of Python": (
        set_target("os.system"),
        MODEL,
        "`os.system`.*not a layer",
    ),
    "an operation that reads files": (
        set_target("torch.ops.aten.from_file.default"),
        MODEL,
        "from_file.default` in `stem.1` is not a layer kind",
    ),
    "another library's operation": (
        set_target("torch.ops.mine.conv.default"),
        MODEL,
        "is not a layer kind",
    ),
    "an attribute of an operation": (
        set_target("torch.ops.aten.conv2d.__init__"),
        MODEL,
        "not an operation of this version of torch",
    ),
    "a value before it is there": (
        set_arg(0, {"as_tensor": {"name": "linear"}}),
        MODEL,
        "reads `linear`, which is not computed",
    ),
    "an argument of code": (
        set_arg(0, {"as_graph": {"name": "g"}}),
        MODEL,
        "an argument is of the kind 'as_graph'",
    ),
    "an argument that is a dict": (
        more({"as_ints": [{"x": 1}]}),
        MODEL,
        "not a list of numbers",
    ),
    "a stride that is no number": (
        more({"as_string": "2; import os"}),
        MODEL,
        "cannot be run",
    ),
    "no graph": (
        lambda d: d.pop("graph_module"),
        MODEL,
        "not a readable program, or it is damaged",
    ),
    "no output": (
        lambda d: d["graph_module"]["signature"].update(output_specs=[]),
        MODEL,
        ".",
    ),
    "an absurd input": (
        lambda d: first_input(d).update(sizes=HUGE),
        MODEL,
        "not a batch of maps or vectors",
    ),
    "an expression as a size": (
        lambda d: first_input(d).update(
            sizes=[{"as_expr": {"expr_str": "__import__('os').abort()"}}] * 4
        ),
        MODEL,
        "may have any size: give --input",
    ),
    "a pickle": (weight(use_pickle=True), CONFIG, "a pickle, which is refused"),
    "a path out of the archive": (
        weight(path_name="../../../../etc/passwd"),
        CONFIG,
        "not a readable program, or it is damaged",
    ),
    "a tensor beyond its bytes": (
        meta(sizes=HUGE),
        CONFIG,
        "reaches beyond its bytes",
    ),
    "a tensor that repeats an element": (
        meta(sizes=[{"as_int": 2**30}], strides=[{"as_int": 0}]),
        CONFIG,
        "larger than its bytes",
    ),
    "a negative stride": (
        meta(strides=[{"as_int": -1}] * 4),
        CONFIG,
        "a size is not a known number",
    ),
    "an unknown type": (
        meta(dtype=99),
        CONFIG,
        "not a readable program, or it is damaged",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_programs_are_refused_in_a_sentence(
    what: str, program: Path, tmp_path: Path
) -> None:
    change, part, message = BAD[what]
    path = damaged(program, tmp_path / "net.pt2", change, part)
    with pytest.raises(NotImported, match=message) as raised:
        archdsl.from_file(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "stack",
    [
        "a,,x\nnetwork Evil {};b,stem,os.system;c,stem.1,a b",
        "a,,Net;b,forward,Unit",
        "a,,Net;b,stem..1,Unit",
        "a,,Net;b," + ".".join("x" * 200) + ",Unit",
        ";;,,;,",
    ],
)
def test_names_of_modules_are_only_names(
    stack: str, program: Path, tmp_path: Path
) -> None:
    path = damaged(program, tmp_path / "net.pt2", set_stack(stack))
    try:
        text = archdsl.from_file(path).text
    except NotImported as error:
        assert "Error" not in str(error)
    else:
        assert "Evil" not in text


def test_loops_end(program: Path, tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        nodes(data).extend(nodes(data) * 5000)

    path = damaged(program, tmp_path / "net.pt2", change)
    with pytest.raises(NotImported, match="more than 50,000 operations"):
        archdsl.from_file(path)


def test_nothing_is_unpickled(program: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            is_inputs = "sample_inputs" in item.filename
            bomb = pickle.dumps(Bomb())
            target.writestr(item, bomb if is_inputs else source.read(item))
    assert archdsl.from_file(path).layers
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a torch.export program"),
        (b"PK\x03\x04" + b"\0" * 40, "not a torch.export program"),
        (b"arch 1\n", "not a torch.export program"),
    ],
)
def test_files_that_are_no_program(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    with pytest.raises(NotImported, match=message):
        archdsl.from_file(path)


def test_archives_that_are_bombs(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("net/models/model.json", b" " * (1 << 24))
    with pytest.raises(NotImported, match="larger than the file itself"):
        archdsl.from_file(path)


def test_the_command_with_a_file(folder: Path, run: Run) -> None:
    saved(Net().eval(), folder / "net.pt2")
    code, out, _ = run("import", "net.pt2", "--name", "Small")
    assert code == 0 and "network Small {" in out
    code, _, err = run("import", "net.pt2", "-a", "classes=3")
    assert code == 2 and "a file takes no arguments" in err
    code, _, err = run("import", "nope.pt2")
    assert code == 2 and "nope.pt2 cannot be read: no such file" in err
    code, _, err = run("import", "torch.nn:ReLU")
    assert code == 2 and "a module needs --input" in err
    (folder / "bad.pt2").write_bytes(b"x")
    code, _, err = run("import", "bad.pt2")
    assert code == 1 and err.startswith("archdsl: bad.pt2: it is not a ")


def test_modules_that_are_torn_apart_get_a_sentence(
    program: Path, tmp_path: Path
) -> None:
    """An operation in the middle of a module claims to be outside of it."""

    def change(data: dict[str, Any]) -> None:
        nodes(data)[2]["metadata"]["nn_module_stack"] = "a,,Net"

    path = damaged(program, tmp_path / "net.pt2", change)
    message = "`body` names a layer, and a container of other layers"
    with pytest.raises(NotImported, match=message):
        archdsl.from_file(path)
