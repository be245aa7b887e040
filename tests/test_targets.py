"""Models for other engines and in int8 compute what the emitted module does.

The outside references are the engines: torch.export's own loader, OpenVINO if it is
installed, and onnxruntime.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import archdsl
from archdsl.backends.exported import Exported
from archdsl.backends.onnx.images import NoImage, Preparation
from archdsl.backends.targets import check as checking
from archdsl.backends.targets.quantise import MOST_IMAGES, images_of, quantise
from archdsl.ir import Network
from tests import generated, manual_specs
from tests.comparing import named_outputs, with_statistics
from tests.executor import draw_state, execute
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

NET = """arch 1

network Net {
    input 3x32x32
    conv 3x3 8 -> bn -> relu -> maxpool 2x2
    conv 3x3 8 -> a: bn
    add { relu | @a }
    output @a -> low: globalavgpool
    training output @a -> aux: conv 1x1 2
    globalavgpool -> linear 4
}
"""
ALONE = """arch 1

network Alone {
    input 3x16x16
    conv 3x3 8 -> bn -> relu
    globalavgpool -> linear 4
}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with seven images, two of them in a subfolder."""
    path = tmp_path / "photos"
    (path / "cats").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(7):
        where = path / "cats" if number < 2 else path
        pixels = draw.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{number}.png")
    (path / "notes.txt").write_text("not an image", encoding="utf-8")
    return path


def loaded(path: Path) -> Any:
    return torch.export.load(path).module()


def outputs_of(path: Path, network: Network, *inputs: torch.Tensor) -> dict[str, Any]:
    with torch.no_grad():
        return named_outputs(network, loaded(path)(*inputs))


# ---- torch.export -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:torch(\\..*)?")
def test_a_program_computes_what_the_module_does(tmp_path: Path) -> None:
    network = archdsl.loads(NET)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network))
    path = tmp_path / "net.pt2"
    made = archdsl.export_torch(network, path, weights=module.state_dict())
    assert (made.format, made.opset, made.folded, made.data) == ("torch", None, 2, b"")
    assert made.inputs == {"x": ["batch", 3, 32, 32]}
    assert made.outputs == {"output": ["batch", 4], "low": ["batch", 8]}
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            wanted = named_outputs(network, module(x))
        found = outputs_of(path, network, x)
        assert list(found) == ["output", "low"]
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning:torch(\\..*)?")
def test_a_program_has_neither_what_only_training_needs_nor_paths_of_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.pt2"
    archdsl.export_torch(archdsl.loads(NET), path, seed=0)
    keys = set(torch.export.load(path).state_dict)
    assert keys == {
        f"{layer}.{name}"
        for layer in ("conv1", "conv2", "linear1")
        for name in ("weight", "bias")
    }
    with zipfile.ZipFile(path) as archive:
        texts = [archive.read(name) for name in archive.namelist()]
    home = str(Path(torch.__file__).parent).encode()
    assert not any(home in text for text in texts)


@pytest.mark.filterwarnings("ignore::UserWarning:torch(\\..*)?")
def test_norms_are_kept_and_the_batch_is_fixed_if_asked(tmp_path: Path) -> None:
    network = archdsl.loads(ALONE)
    path = tmp_path / "net.pt2"
    made = archdsl.export_torch(network, path, seed=0, fold=False, batch=3)
    assert made.folded == 0 and made.inputs == {"x": [3, 3, 16, 16]}
    assert "bn1.running_var" in torch.export.load(path).state_dict
    assert outputs_of(path, network, torch.ones(3, 3, 16, 16))["output"].shape == (3, 4)
    with pytest.raises(AssertionError, match=r"batch|shape|size"):
        loaded(path)(torch.ones(2, 3, 16, 16))


@pytest.mark.filterwarnings("ignore::UserWarning:torch(\\..*)?")
@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("specimens", [generated, manual_specs])
def test_programs_of_random_specs_compute_the_same(
    case: int, specimens: Any, tmp_path: Path
) -> None:
    text = specimens.specimen(case)
    network = archdsl.loads(text, params=manual_specs.params_of(text))
    state = draw_state(network, 1)
    path = tmp_path / "net.pt2"
    made = archdsl.export_torch(network, path, weights=state)
    found = checking.check_export(path, made, network, state)
    assert found.agrees, found
    # Independently of the check: by the interpreter of steps.
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(2, *port.shape, generator=generator, dtype=torch.float64)
        for port in network.inputs
    ]
    wanted = execute(network, state, inputs, False)
    exact = outputs_of(path, network, *[one.float() for one in inputs])
    assert list(exact) == list(wanted)
    for name, value in wanted.items():
        error = (exact[name].double() - value).abs().max()
        assert error <= max(1e-5, 20 * found.own) * value.abs().max().clamp(min=1)


# ---- OpenVINO ---------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [False, True])
def test_openvino_computes_what_the_module_does(tmp_path: Path, fixed: bool) -> None:
    openvino = pytest.importorskip("openvino")
    network = archdsl.loads(NET)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network))
    path = tmp_path / "net.xml"
    made = archdsl.export_openvino(
        network,
        path,
        weights=module.state_dict(),
        batch=2 if fixed else None,
        fixed_size=fixed,
    )
    assert made.format == "openvino" and made.folded == 2
    assert path.with_suffix(".bin").stat().st_size == len(made.data)
    found = checking.check_export(path, made, network, module.state_dict())
    assert found.agrees, found
    model = openvino.Core().read_model(path)
    batch, *rest = model.input("x").get_partial_shape()
    assert [one.is_static for one in (batch, *rest)] == [fixed, True, fixed, fixed]
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


# ---- int8 -------------------------------------------------------------------------


def test_a_model_in_int8_is_one(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network = archdsl.load("squeezenet1_1", input="3x64x64", classes=10)
    made = archdsl.export_onnx(network, path, seed=0, int8=photos)
    about = made.int8
    assert about is not None and about.images == 7
    # Most of it is weights, which shrink to a quarter.
    assert 0.25 < len(made.model) / about.bytes_before < 0.33
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    # The weights of each convolution have one scale per channel.
    scaled = {one.output[0]: one for one in model.graph.node if "Dequ" in one.op_type}
    sizes = {one.name: list(one.dims) for one in model.graph.initializer}
    convolutions = [one for one in model.graph.node if one.op_type == "Conv"]
    assert len(convolutions) == 26
    for node in convolutions:
        weights = scaled[node.input[1]]
        assert sizes[weights.input[1]] == [sizes[weights.input[0]][0]]
    assert 0 < about.largest_change < 0.2
    assert about.seconds > 0 and about.seconds_before > 0
    assert about.same_class is not None and 0 <= about.same_class <= 1
    names = {one.key for one in model.metadata_props}
    assert "archdsl.digest" in names  # `archdsl run` reads these


def test_the_largest_change_is_as_counted_by_hand(photos: Path, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    network = archdsl.loads(ALONE)
    before = archdsl.export_onnx(network, seed=0)
    made = archdsl.export_onnx(network, seed=0, int8=photos, crop=1, mean=[0.5] * 3)
    looks = Preparation((3, 16, 16), 1, [0.5] * 3)
    images = np.stack([looks.read(path) for path in images_of(photos)])
    old, new = (
        InferenceSession(one.model).run(None, {"x": images})[0]
        for one in (before, made)
    )
    assert made.int8 is not None
    # Convolutions of several images may sum in another order.
    wanted = np.abs(new - old).max() / np.abs(old).max()
    assert made.int8.largest_change == pytest.approx(wanted, rel=0.05)
    same = (old.argmax(1) == new.argmax(1)).mean()
    assert made.int8.same_class == pytest.approx(same)


def test_images_are_those_of_all_folders_and_not_too_many(
    photos: Path, tmp_path: Path
) -> None:
    assert [one.name for one in images_of(photos)] == [
        *("2.png", "3.png", "4.png", "5.png", "6.png"),
        *("0.png", "1.png"),
    ]
    many = tmp_path / "many"
    many.mkdir()
    for number in range(2 * MOST_IMAGES):
        (many / f"{number:04}.png").touch()
    chosen = images_of(many)
    assert len(chosen) == MOST_IMAGES
    assert [one.stem for one in chosen[:3]] == ["0000", "0002", "0004"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoImage, match="has no images"):
        images_of(empty)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("input 5x8x8\n    globalavgpool", "1 or 3 channels, but the input has 5"),
        ("input 8\n    linear 3", "does not take a single image"),
        (
            "input a 3x8x8\n    input b 3x8x8\n    add { @a | @b }",
            "does not take a single image",
        ),
    ],
)
def test_int8_of_what_takes_no_image_is_refused(
    statement: str, message: str, photos: Path
) -> None:
    network = archdsl.loads(f"arch 1\nnetwork N {{\n    {statement}\n}}\n")
    with pytest.raises(NoImage, match=message):
        archdsl.export_onnx(network, seed=0, int8=photos)


def test_a_broken_image_is_named(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    made = archdsl.export_onnx(archdsl.loads(ALONE), seed=0)
    with pytest.raises(NoImage, match=r"broken\.png is not an image"):
        quantise(made, images_of(photos), Preparation((3, 16, 16)))


# ---- the command ------------------------------------------------------------------


@pytest.fixture
def specs(folder: Path) -> Iterator[Path]:
    Path("net.arch").write_text(ALONE, encoding="utf-8")
    yield folder


@pytest.mark.filterwarnings("ignore::UserWarning:torch(\\..*)?")
def test_the_command_writes_a_program_and_checks_it(run: Run, specs: Path) -> None:
    call = ("export", "net.arch", "--random", "0", "--torch", "-o", "net.pt2")
    done = run(*call, "--check")
    assert done.code == 0, done.err
    assert done.out.startswith("net.pt2: ") and "torch.export, 5 nodes" in done.out
    assert "batch x 3 x 16 x 16" in done.out and "checked: off by " in done.out
    facts = run(*call, "--check", "--json").json
    assert facts["format"] == "torch" and facts["opset"] is None
    assert facts["check"]["agrees"] and facts["check"]["difference"] < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_the_command_writes_a_program_of_executorch(run: Run, specs: Path) -> None:
    pytest.importorskip("executorch.runtime")
    call = ("export", "net.arch", "--random", "0", "--executorch", "-o", "net.pte")
    done = run(*call, "--check", "--json")
    assert done.code == 0, done.err
    facts = done.json
    assert facts["format"] == "executorch" and facts["opset"] is None
    assert facts["inputs"] == [{"name": "x", "shape": [1, 3, 16, 16]}]
    assert facts["check"]["agrees"] and facts["check"]["difference"] < 1e-5
    assert Path("net.pte").read_bytes()[4:8] == b"ET12"
    made = archdsl.export_executorch("net.arch", "own.pte", seed=0)
    assert made.format == "executorch" and Path("own.pte").read_bytes()[4:8] == b"ET12"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executorch", "--torch"], "--torch and --executorch exclude each other"),
        (["--executorch", "--opset", "20"], "--opset has no effect with --executorch"),
        (["--executorch"], "with --executorch, the file's name ends in .pte"),
    ],
)
def test_options_of_executorch(
    run: Run, specs: Path, options: list[str], message: str
) -> None:
    done = run("export", "net.arch", "--random", "0", *options, "-o", "net.onnx")
    assert done.code == 2 and message in " ".join(done.err.split())


def test_a_file_that_computes_something_else_fails_the_check(
    run: Run, specs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Exported.save

    def other(made: Exported, path: Path) -> None:
        weights = archdsl.export_onnx(archdsl.loads(ALONE), seed=1)
        save(weights, path)

    monkeypatch.setattr(Exported, "save", other)
    call = ("export", "net.arch", "--random", "0", "-o", "net.onnx", "--check")
    done = run(*call)
    assert done.code == 1
    assert "net.onnx does not compute what the module does: it is off by" in done.err
    assert run(*call, "--json").json["check"]["agrees"] is False


def test_the_command_says_what_int8_changes(
    run: Run, specs: Path, photos: Path
) -> None:
    call = ("export", "net.arch", "--random", "0", "-o", "net.onnx")
    done = run(*call, "--int8", str(photos), "--check")
    assert done.code == 0, done.err
    assert "int8 by 7 images: " in done.out and "a call takes " in done.out
    assert "outputs change by at most " in done.out
    facts = json.loads(run(*call, "--int8", str(photos), "--json").out)
    assert facts["int8"]["images"] == 7 and facts["check"] is None
    seen = run("run", "net.onnx", str(photos / "3.png"), "--top", "1")
    assert seen.code == 0, seen.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--torch", "--openvino", "-o", "n.pt2"], "--torch and --openvino exclude"),
        (["--torch", "--int8", ".", "-o", "n.pt2"], "--torch and --int8 exclude"),
        (["--torch", "-o", "n.onnx"], "with --torch, the file's name ends in .pt2"),
        (["--openvino", "-o", "n.onnx"], "the file's name ends in .xml"),
        (["--torch", "--opset", "18", "-o", "n.pt2"], "--opset has no effect"),
        (["--torch", "--fixed-size", "-o", "n.pt2"], "--fixed-size has no effect"),
        (["--mean", "0.5", "-o", "n.onnx"], "--mean has no effect without --int8"),
        (["--std", "0.5", "-o", "n.onnx"], "--std has no effect without --int8"),
        (["--int8", "nowhere", "-o", "n.onnx"], "nowhere' does not exist"),
        (["--int8", "empty", "-o", "n.onnx"], "empty has no images (.bmp"),
    ],
)
def test_options_that_do_not_go_together(
    run: Run, specs: Path, options: list[str], message: str
) -> None:
    Path("empty").mkdir()
    done = run("export", "net.arch", "--random", "0", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not Path("n.onnx").exists()


def test_a_foreign_layer_is_not_run(run: Run, specs: Path) -> None:
    text = ALONE.replace("relu", "mine").replace(
        "network", 'op mine {\n    torch = "not_there.Mine"\n}\n\nnetwork'
    )
    Path("net.arch").write_text(text, encoding="utf-8")
    done = run("export", "net.arch", "--random", "0", "--torch", "-o", "net.pt2")
    assert done.code == 1
    assert "A0704" in done.err and "`mine` is an `op`" in done.err


@pytest.mark.parametrize("missing", ["torch", "openvino", "executorch"])
def test_what_is_not_installed_is_named(missing: str, specs: Path) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
from archdsl.cli import main
suffix = {{"torch": "pt2", "openvino": "xml", "executorch": "pte"}}[{missing!r}]
call = ["export", "net.arch", "--random", "0", "--{missing}", "-o", f"net.{{suffix}}"]
sys.exit(main(call))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert f'pip install "archdsl[{missing}]"' in done.stderr
