"""The quality of emitted code: format, types, independence, use in torch's tools."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import archdsl
from archdsl.backends.torch import modules
from tests.comparing import faults
from tests.conftest import ROOT
from tests.executor import keys
from tests.oracle import EMITTED, Emitted, fill, meta, quick_shapes, tensors

BIN = Path(sys.executable).parent
# Classes, functions and tables of torchvision's source that make up each network,
# without separate functions for downloading weights.
TORCHVISION_CODE = {
    "vgg19": ("vgg", ["VGG", "make_layers", "cfgs", "_vgg", "vgg19"]),
    "googlenet": (
        "googlenet",
        [
            "GoogLeNetOutputs",
            "GoogLeNet",
            "Inception",
            "InceptionAux",
            "BasicConv2d",
            "googlenet",
        ],
    ),
    "resnet50": (
        "resnet",
        ["conv3x3", "conv1x1", "Bottleneck", "ResNet", "_resnet", "resnet50"],
    ),
    "densenet121": (
        "densenet",
        [
            "_DenseLayer",
            "_DenseBlock",
            "_Transition",
            "DenseNet",
            "_densenet",
            "densenet121",
        ],
    ),
    "squeezenet1_0": (
        "squeezenet",
        ["Fire", "SqueezeNet", "_squeezenet", "squeezenet1_0"],
    ),
    "mobilenet_v2": ("mobilenetv2", ["InvertedResidual", "MobileNetV2"]),
    "mobilenet_v3_large": (
        "mobilenetv3",
        [
            "InvertedResidualConfig",
            "InvertedResidual",
            "MobileNetV3",
            "_mobilenet_v3_conf",
            "_mobilenet_v3",
        ],
    ),
    "mnasnet1_0": (
        "mnasnet",
        [
            "_InvertedResidual",
            "_stack",
            "_round_to_multiple_of",
            "_get_depths",
            "MNASNet",
        ],
    ),
    "shufflenet_v2_x1_0": (
        "shufflenetv2",
        ["channel_shuffle", "InvertedResidual", "ShuffleNetV2", "_shufflenetv2"],
    ),
    "inception_v3": (
        "inception",
        [
            "InceptionOutputs",
            "Inception3",
            "InceptionA",
            "InceptionB",
            "InceptionC",
            "InceptionD",
            "InceptionE",
            "InceptionAux",
            "BasicConv2d",
        ],
    ),
}
FAMILIES = ("alexnet", "vgg19", "googlenet", "resnet50", "densenet121")

every_module = pytest.mark.parametrize("emitted", EMITTED.values(), ids=EMITTED.keys())
# All tests of a module run one after the other, since they share it.
under_tools = pytest.mark.parametrize(
    "emitted",
    [e for e in EMITTED.values() if e.tools],
    ids=lambda e: e.id,
    scope="module",
)
# Slower tests, which depend on the kinds of layers more than on their number.
one_of_each_family = pytest.mark.parametrize(
    "emitted", [EMITTED[name] for name in FAMILIES], ids=FAMILIES
)
both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@cache
def network_of(emitted: Emitted) -> archdsl.Network:
    return emitted.load()


@cache
def text_of(emitted: Emitted) -> str:
    return archdsl.emit(network_of(emitted))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the emitted modules as files of one folder."""
    folder = tmp_path_factory.mktemp("emitted")
    paths = {name: folder / f"{name}.py" for name in EMITTED}
    for name, path in paths.items():
        path.write_text(text_of(EMITTED[name]), encoding="utf-8")
    return paths


def run(*command: str | Path, **environment: str) -> str:
    """Return a command's stdout; it must succeed, with an empty stderr."""
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


# ---- as text -------------------------------------------------------------------


@pytest.mark.parametrize("config", ["--isolated", f"--config={ROOT}/pyproject.toml"])
def test_ruff(files: dict[str, Path], config: str) -> None:
    options = ["--no-cache", config]
    run(BIN / "ruff", "format", "--check", *options, *files.values())
    # TID is a rule of this project: where torch may be imported.
    run(BIN / "ruff", "check", "--ignore=TID", *options, *files.values())


@every_module
def test_stands_alone(emitted: Emitted) -> None:
    imported = set()
    for node in ast.walk(ast.parse(text_of(emitted))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            imported.add(node.module)
    packages = {name.split(".")[0] for name in imported}
    assert packages - {"torch"} <= sys.stdlib_module_names


@every_module
def test_reads_every_argument(emitted: Emitted) -> None:
    for node in ast.walk(ast.parse(text_of(emitted))):
        if isinstance(node, ast.FunctionDef):
            names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
            read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
            ignored = {arg.arg for arg in node.args.args} - read - {"self"}
            assert not ignored, node.lineno


def test_same_bytes_under_any_hash_seed() -> None:
    program = """
import json, sys
import archdsl
asked = json.loads(sys.argv[1])
texts = [archdsl.emit(archdsl.load(p, params=dict(q))) for p, q in asked]
assert "torch" not in sys.modules, "emission must not need torch"
print(json.dumps(texts))
"""
    asked = json.dumps([(e.preset, e.params) for e in EMITTED.values()])
    expected = [text_of(emitted) for emitted in EMITTED.values()]
    for seed in ("1", "2"):
        printed = run(sys.executable, "-c", program, asked, PYTHONHASHSEED=seed)
        assert json.loads(printed) == expected


@pytest.mark.parametrize("name", TORCHVISION_CODE)
def test_no_longer_than_torchvision(name: str) -> None:
    module, parts = TORCHVISION_CODE[name]
    found = importlib.util.find_spec(f"torchvision.models.{module}")
    assert found is not None and found.origin is not None
    source = Path(found.origin).read_text(encoding="utf-8")
    theirs = definitions(source)
    ours = definitions(text_of(EMITTED[name]))
    assert sum(map(count_code, ours.values())) <= sum(
        count_code(theirs[part]) for part in parts
    )


NAMED = """\
arch 1

block many<kernel, expand, width> { conv kernel expand -> conv 1x1 width }
block few<expand, width> { conv 1x1 expand -> conv 3x3 width }
block outer<kernel, expand, width> { many<kernel, expand, width> -> relu }

network Net {
    input 3x8x8
    many<3x3, 8, 16> -> many<5x5, 12, 16>
    few<8, 4> -> few<4, 8>
    outer<3x3, 8, 6> -> outer<5x5, 4, 6>
}
"""


_PAIR = "kernel: int | tuple[int, int] = 3"


@pytest.mark.parametrize(
    ("calls", "classes", "signature"),
    [
        ("unit<8> -> unit<8, 3x3> -> unit<8, 1x5> -> unit<8, 5x1>", 1, _PAIR),
        ("unit<8, 1x5> -> unit<8, 3x3, 2>", 1, _PAIR),
        ("unit<8, 1x5> -> unit<8, 5x1>", 1, "kernel: int | tuple[int, int] = 3"),
        ("unit<8, 3x3> -> unit<8, 5x5, 2>", 1, "kernel: int = 3"),
        # A number that is compared stays a number.
        ("tested<8, 2> -> tested<8, 1> -> tested<8, 1x2>", 2, "stride: int)"),
    ],
)
def test_a_class_takes_kernels_of_any_shape(
    calls: str, classes: int, signature: str
) -> None:
    text = f"""arch 1
block unit<width, kernel = 3x3, stride = 1> {{
    conv kernel width /stride -> bn -> relu
}}
block tested<width, stride> seq {{
    conv 3x3 width /stride -> bn
    relu if stride == 2
}}
network Net {{
    input 4x16x16
    {calls}
}}
"""
    network = archdsl.loads(text)
    emitted = archdsl.emit(network)
    assert len(re.findall(r"^class ", emitted, re.MULTILINE)) == classes + 1
    assert signature in emitted
    assert not faults(text)


def test_a_loop_of_two_is_the_loop_that_another_call_shows() -> None:
    text = """arch 1
block unit<width, stride> seq { conv 3x3 width /stride -> bn }
block stage<width, count> {
    for i in range(count) {
        "unit{i}": unit<width, 2 if i == 0 else 1>
    }
}
network Net {
    input 3x64x64
    CALLS
}
"""
    for calls in (
        "stage<8, 2> -> stage<16, 4> -> stage<24, 1>",
        "stage<8, 1> -> stage<16, 2> -> stage<24, 3>",
    ):
        written = text.replace("CALLS", calls)
        emitted = archdsl.emit(archdsl.loads(written))
        assert re.findall(r"^class (\w+)", emitted, re.MULTILINE) == [
            "Unit",
            "Stage",
            "Net",
        ]
        assert emitted.count("for i in range(count):") == 1
        assert not faults(written)


def test_numbers_that_say_nothing_are_given_by_name() -> None:
    text = archdsl.emit(archdsl.loads(NAMED))
    # Few numbers, and variables named like the arguments, are clear without names.
    for call in (
        "Many(3, kernel=3, expand=8, width=16)",
        "Many(16, kernel=5, expand=12, width=16)",
        "Few(16, 8, 4)",
        "Outer(8, kernel=3, expand=8, width=6)",
        "Many(in_channels, kernel, expand, width)",
    ):
        assert f" = {call}\n" in text


def definitions(source: str) -> dict[str, str]:
    """Return the source of top-level classes, functions and tables, by their names."""
    lines = source.splitlines(keepends=True)
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = node.name
        elif isinstance(node, ast.Assign):
            name = ast.unparse(node.targets[0])
        elif isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
        else:
            continue
        # Decorators come before the line of the definition.
        found[name] = "".join(lines[node.lineno - 1 : node.end_lineno])
    return found


def count_code(source: str) -> int:
    """Return the number of lines of code, without comments, docstrings, decorators."""
    blank = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        for part in _aside(node):
            lines.difference_update(range(part.lineno, (part.end_lineno or 0) + 1))
    return len(lines)


def _aside(node: ast.AST) -> Iterator[ast.stmt | ast.expr]:
    """Yield a definition's docstring and decorators."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield from node.decorator_list
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    if documented and ast.get_docstring(node) is not None:
        yield node.body[0]


# ---- as a program --------------------------------------------------------------


@every_module
def test_run_as_a_script(
    emitted: Emitted, files: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    # Only shapes are printed, so no values are needed; the next test has some.
    with meta():
        runpy.run_path(str(files[emitted.id]), run_name="__main__")
    assert capfd.readouterr() == ("(1, 1000)\n", "")


def test_run_in_a_process_of_its_own(files: dict[str, Path]) -> None:
    assert run(sys.executable, files["squeezenet1_0"]) == "(1, 1000)\n"


# ---- under torch's tools -------------------------------------------------------


def module_of(emitted: Emitted) -> nn.Module:
    """Return the emitted module with values that keep activations in range."""
    python = modules.module_of(text_of(emitted), network_of(emitted).name)
    with torch.device("meta"):
        module: nn.Module = modules.network_class(python)()
    fill(module)
    return module


@lru_cache(maxsize=1)
def shared(emitted: Emitted) -> nn.Module:
    """Return one instance for all tests that accept any ordinary values.

    Each test sets its mode first. Training changes its running statistics.
    """
    return module_of(emitted)


def batch(emitted: Emitted) -> Tensor:
    size = (2, 3, emitted.size, emitted.size)
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def seeded(module: Any, x: Tensor) -> dict[str, Tensor]:
    """Return outputs with dropout from a fixed seed."""
    torch.manual_seed(0)
    return tensors(module(x))


@pytest.fixture
def without_values() -> Iterator[None]:
    """Find shapes quickly in tools, which first run a module on fake tensors."""
    with quick_shapes():
        yield


@under_tools
@both_modes
@pytest.mark.usefixtures("without_values")
def test_compile(emitted: Emitted, training: bool) -> None:
    module = shared(emitted).train(training)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    x = batch(emitted)
    with torch.no_grad():
        expected, found = seeded(module, x), seeded(compiled, x)
    torch.testing.assert_close(found, expected)


@under_tools
@both_modes
@pytest.mark.usefixtures("without_values")
def test_export(emitted: Emitted, training: bool) -> None:
    module = shared(emitted).train(training)
    x = batch(emitted)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        expected, found = seeded(module, x), seeded(program.module(), x)
    torch.testing.assert_close(found, expected)


@one_of_each_family
def test_autocast(emitted: Emitted) -> None:
    module = module_of(emitted).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = tensors(module(batch(emitted)))
    assert {output.dtype for output in outputs.values()} == {torch.bfloat16}
    sum(output.float().square().mean() for output in outputs.values()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), name


@pytest.fixture
def one_process_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    # The loopback device exists even without a network.
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@one_of_each_family
@pytest.mark.usefixtures("one_process_group")
def test_distributed(emitted: Emitted) -> None:
    module = module_of(emitted).train()
    parallel = DistributedDataParallel(module)
    outputs = tensors(parallel(batch(emitted)))
    sum(output.square().mean() for output in outputs.values()).backward()
    # The second call reports parameters that the loss did not reach.
    parallel(batch(emitted))
    assert all(p.grad is not None for p in module.parameters())


# ---- networks whose parts are numbered ----------------------------------------------


@pytest.mark.parametrize(
    ("header", "body", "is_sequential"),
    [
        ("", "conv 3x3 8 -> bn -> relu; maxpool 2x2; flatten; linear 3", True),
        ("<n = 2>", "conv 3x3 8 -> relu  x(n); relu; conv 3x3 4", True),
        ("<deep = false>", "conv 3x3 8; relu if deep; conv 1x1 4", True),
        ("", "residual { conv 3x3 8 }; { conv 3x3 8; relu }; relu", True),
        ("", "unit<8>; unit<8>; globalavgpool; linear 2", True),
        ("", "for w in [4, 8] { conv 3x3 w -> relu }", True),
        ("", "conv 3x3 3; add { @input | conv 3x3 3 }; relu", False),
    ],
)
def test_a_network_may_number_its_parts(
    header: str, body: str, is_sequential: bool
) -> None:
    lines = "\n    ".join(["input 3x12x12", *body.split("; ")])
    unit = "block unit<width> { conv 3x3 width -> bn -> relu }"
    text = f"arch 1\n\n{unit}\n\nnetwork Net{header} seq {{\n    {lines}\n}}\n"
    assert not faults(text)
    network = archdsl.loads(text)
    module = archdsl.build(network)
    assert isinstance(module, nn.Sequential)
    assert ("def forward" not in archdsl.emit(network).split("class Net")[1]) == (
        is_sequential
    )
    numbers = [name for name, _ in module.named_children()]
    assert numbers == [str(n) for n in range(len(numbers))]
    assert archdsl.expand(archdsl.loads(archdsl.expand(network))).count("seq {") >= 1
    assert list(module.state_dict()) == list(keys(network))
