"""The functions of the package."""

from __future__ import annotations

import inspect
import io
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import archdsl
from archdsl.api import find_spec
from archdsl.resources import shipped_presets, shipped_specs, specs_dir

TINY = """arch 1

block unit<width> {
    conv 3x3 width -> relu
}

block wide<width> {
    conv 5x5 width -> relu
}

network tiny<
    body = unit, act = relu, kernel = 3x3, widths = [4], classes = 10, on = true
> {
    input 3x8x8
    body<8>
    conv kernel 8 -> act
    dropout 0.5 if on
    for width in widths {
        conv 1x1 width
    }
    flatten
    linear classes
}

preset small = tiny<widths = [2]>
default preset large = tiny<widths = [16, 32]>
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = TINY) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def words(network: archdsl.Network) -> list[str]:
    return [step.op.word for step in network.steps()]


def refusal(spec: str | Path, **options: Any) -> archdsl.Diagnostic:
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.load(spec, **options)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ---- the package itself -----------------------------------------------------


def test_importing_the_package_costs_nothing() -> None:
    code = """
import sys, time
before = set(sys.modules)
start = time.process_time()
import archdsl
print(time.process_time() - start, *sorted(set(sys.modules) - before))
"""
    runs = [python(code).split() for _ in range(5)]
    assert runs[0][1:] == ["archdsl"]
    assert min(float(run[0]) for run in runs) < 0.005


def test_public_names_are_listed_and_found() -> None:
    names = set(archdsl.__all__)
    assert {"load", "loads", "analyze", "emit", "build", "render"} <= names
    assert names <= set(dir(archdsl))
    for name in archdsl.__all__:
        assert getattr(archdsl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = archdsl.nothing  # type: ignore[attr-defined]


def test_version_is_the_distributions() -> None:
    assert archdsl.__version__ == metadata.version("archdsl")


def test_every_function_is_typed_and_documented() -> None:
    for name in ("load", "loads", "analyze", "emit", "build", "render", "format"):
        function = getattr(archdsl, name)
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, name
        assert function.__doc__, name


# ---- what a SPEC can be --------------------------------------------------------


def test_a_path(folder: Path) -> None:
    path = write(folder / "net.arch")
    assert archdsl.load(path).name == "large"
    assert archdsl.load("net.arch").name == "large"
    assert archdsl.load(os.fspath(path)).name == "large"


@pytest.mark.parametrize("spec", ["net.arch:small", "./net.arch:small"])
def test_a_path_with_a_preset(folder: Path, spec: str) -> None:
    write(folder / "net.arch")
    assert archdsl.load(spec).name == "small"


def test_a_preset_as_an_argument(folder: Path) -> None:
    write(folder / "net.arch")
    assert archdsl.load("net.arch", preset="small").name == "small"
    assert archdsl.load("net.arch:small", preset="small").name == "small"
    with pytest.raises(ValueError, match="but `preset` is another"):
        archdsl.load("net.arch:small", preset="large")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("googlenet", "googlenet"),
        ("resnet", "resnet50"),
        ("resnet18", "resnet18"),
        ("resnet:resnet18", "resnet18"),
    ],
)
def test_a_shipped_name_from_any_folder(folder: Path, spec: str, name: str) -> None:
    assert archdsl.load(spec).name == name


def test_every_shipped_preset_has_one_home() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in shipped_specs().values())
    found = re.findall(r"^\s*(?:default\s+)?preset\s+(\w+)", text, re.M)
    assert sorted(found) == sorted(shipped_presets())
    assert "prelude" not in shipped_specs()
    assert all(path.is_relative_to(specs_dir()) for path in shipped_specs().values())


@pytest.mark.parametrize("name", ["googlenet", "resnet18"])
def test_an_existing_file_wins_over_a_shipped_name(folder: Path, name: str) -> None:
    write(folder / name)
    assert archdsl.load(name).name == "large"
    assert archdsl.load(f"{name}:small").name == "small"


def test_a_folder_does_not_hide_a_shipped_name(folder: Path) -> None:
    (folder / "googlenet").mkdir()
    assert archdsl.load("googlenet").name == "googlenet"
    (folder / "other").mkdir()
    assert refusal("other").message == "other is a folder, not a spec"


@pytest.mark.parametrize("name", ["12:30.arch", "a:b", "C:net.arch", "x:"])
def test_a_path_may_have_colons(folder: Path, name: str) -> None:
    write(folder / name)
    assert find_spec(name) == (Path(name), None)
    assert archdsl.load(name).name == "large"
    assert archdsl.load(f"{name}:small").name == "small"


@pytest.mark.parametrize(
    "spec", ["C:\\nets\\net.arch", "C:net.arch", "C:/nets/net.arch", "C:net", "C:"]
)
def test_a_drive_is_no_preset(folder: Path, spec: str) -> None:
    diagnostic = refusal(spec)
    assert diagnostic.code == "A0501"
    assert f"`{spec}`" in diagnostic.message


@pytest.mark.parametrize("spec", ["-", "-:small"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TINY.encode())))
    assert archdsl.load(spec).name == ("small" if ":" in spec else "large")


def test_standard_input_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = io.BytesIO(b"arch 1\n" * 2**18)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless))
    assert refusal("-").is_limit


@pytest.mark.parametrize(
    ("spec", "message", "help"),
    [
        (
            "gogglenet",
            "there is no file or shipped network `gogglenet`",
            "did you mean `googlenet`?",
        ),
        (
            "resnet81",
            "there is no file or shipped network `resnet81`",
            "did you mean `resnet18`?",
        ),
        (
            "zzz",
            "there is no file or shipped network `zzz`",
            "`archdsl list` shows what is shipped",
        ),
        ("nett.arch", "there is no file `nett.arch`", "did you mean `net.arch`?"),
        ("./nett.arch", "there is no file `./nett.arch`", None),
        ("net.arhc:small", "there is no file or shipped network `net.arhc`", None),
        ("no/where.arch", "there is no file `no/where.arch`", None),
        (
            "vgg19:small",
            "`vgg19` is a preset, which has no presets of its own",
            None,
        ),
    ],
)
def test_an_unknown_name(
    folder: Path, spec: str, message: str, help: str | None
) -> None:
    write(folder / "net.arch")
    diagnostic = refusal(spec)
    assert diagnostic.code == "A0501"
    assert diagnostic.message == message
    if help is not None:
        assert diagnostic.help == help


def test_an_unknown_preset(folder: Path) -> None:
    write(folder / "net.arch")
    diagnostic = refusal("net.arch:smal")
    assert diagnostic.code == "A0602"
    assert diagnostic.help == "did you mean `small`?"


# ---- parameters and the input -------------------------------------------------


def test_parameters_of_every_type() -> None:
    network = archdsl.loads(
        TINY,
        params={
            "body": "wide",
            "act": "gelu",
            "kernel": "7x7",
            "widths": [2, 3],
            "classes": 5,
            "on": False,
        },
    )
    steps = list(network.steps())
    assert words(network) == [
        *("conv", "relu", "conv", "gelu", "conv", "conv", "flatten", "linear")
    ]
    assert steps[0].op.label() == "conv 5x5 8"
    assert steps[2].op.label() == "conv 7x7 8"
    assert network.outputs[0].shape == (5,)


@pytest.mark.parametrize(
    ("value", "error"), [(None, TypeError), (float("nan"), ValueError)]
)
def test_what_no_parameter_can_be(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="a parameter of a network cannot be"):
        archdsl.loads(TINY, params={"classes": value})


def test_an_unknown_parameter_is_suggested() -> None:
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.loads(TINY, params={"clases": 3})
    assert caught.value.diagnostics[0].help == "did you mean `classes`?"


@pytest.mark.parametrize("shape", ["3x16x12", (3, 16, 12), [3, 16, 12]])
def test_the_input(shape: Any) -> None:
    assert archdsl.loads(TINY, input=shape).inputs[0].shape == (3, 16, 12)


@pytest.mark.parametrize(
    "shape",
    ["", "3x", "8x8x8x8x8", "3xax3", "3x0x8", (3, -1, 8), "1x1x9999999999"],
)
def test_what_no_input_can_be(shape: Any) -> None:
    with pytest.raises(ValueError, match=r"a size is|not a shape"):
        archdsl.loads(TINY, input=shape)


@pytest.mark.parametrize(("shape", "wanted"), [("3x8", 1), ("3x8x8x8", 3)])
def test_an_input_with_other_axes_than_the_windows(shape: str, wanted: int) -> None:
    said = f"`kernel` has 2 sizes instead of {wanted}"
    with pytest.raises(archdsl.SpecError, match=said):
        archdsl.loads(TINY, input=shape)


# ---- the other functions --------------------------------------------------------


def test_loads_names_the_text_in_errors() -> None:
    with pytest.raises(archdsl.SpecError, match="--> net:1:1"):
        archdsl.loads("nothing", name="net")


def test_analyze_passes_its_options_on() -> None:
    network = archdsl.loads(TINY)
    one = archdsl.analyze(network)
    two = archdsl.analyze(network, batch=2, dtype="float64", optimizer="adam")
    assert two.params == one.params
    assert two.memory.param_bytes == 2 * one.memory.param_bytes
    assert two.memory.forward_peak_bytes == 4 * one.memory.forward_peak_bytes
    assert two.memory.optimizer_bytes > 2 * two.memory.param_bytes


def test_a_link_to_nothing_is_not_suggested(folder: Path) -> None:
    (folder / "net.arch").symlink_to("nowhere")
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.load("./net.arch")
    assert caught.value.diagnostics[0].help is None


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "net.dot"
    with pytest.raises(FileNotFoundError) as caught:
        archdsl.render("alexnet", path)
    assert caught.value.filename == str(path)


def test_render_gives_dot_text_and_writes_files(tmp_path: Path) -> None:
    network = archdsl.loads(TINY)
    source = archdsl.render(network)
    assert source.startswith("digraph")
    assert archdsl.render(network, tmp_path / "net.dot") == source
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == source
