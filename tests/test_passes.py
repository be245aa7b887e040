"""`archdsl compile --inference` and `archdsl weights --for inference`: one checkpoint.

Their results are run in torch, and compared with the module of the spec.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import archdsl
from archdsl.backends.checkpoints.convert import encoded
from archdsl.backends.torch import emit
from archdsl.backends.torch.modules import module_of, network_class
from archdsl.transforms import PASSES, pipeline
from tests import generated, manual_specs
from tests.comparing import named_outputs, with_statistics
from tests.executor import draw_state, execute
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

NET = """arch 1

# The unit of RepVGG as it trains.
block unit<width> {
    add { bn | a: conv 3x3 width -> bn | b: conv 1x1 width -> bn }
    relu
}

network Net {
    input 3x16x16
    conv 3x3 8 -> bn -> relu
    unit<8>
    low: unit<8>
    training output @low -> aux: conv 1x1 2
    globalavgpool
    dropout 0.2
    linear 4
}
"""


@pytest.fixture
def trained(folder: Path) -> torch.nn.Module:
    """The module of the spec with a checkpoint in net.pth."""
    Path("net.arch").write_text(NET, encoding="utf-8")
    torch.manual_seed(0)
    module = with_statistics(archdsl.build("net.arch"))
    torch.save(module.state_dict(), "net.pth")
    return module


def compiled(text: str) -> Any:
    return network_class(module_of(text, "net"))().eval()


def outputs(trained: torch.nn.Module, text: str, file: str) -> tuple[Tensor, Tensor]:
    """Return the outputs of the module of the spec, and those of another."""
    own = compiled(text)
    own.load_state_dict(safetensors.torch.load_file(file), strict=True)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        return trained(x), own(x)


@pytest.mark.parametrize(
    "options",
    [
        ["-O0"],
        ["-O1"],
        [],
        ["--passes", "fold-norms"],
        ["--passes", "remove-dead, fold-norms,merge-branches"],
    ],
)
def test_one_checkpoint_serves_the_module_for_inference(
    run: Run, trained: torch.nn.Module, options: list[str]
) -> None:
    text = run("compile", "net.arch", "--inference", *options).out
    call = ("weights", "net.arch", "net.pth", "--for", "inference", *options)
    done = run(*call, "-o", "new.safetensors")
    assert done.code == 0, done.err
    wanted, found = outputs(trained, text, "new.safetensors")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert ("aux" in text) == (options == ["-O0"] or "fold-norms" in options)


def test_levels_make_smaller_modules(run: Run, trained: torch.nn.Module) -> None:
    texts = [run("compile", "net.arch", "--inference", f"-O{n}").out for n in range(3)]
    counts = [
        [type(one).__name__ for one in compiled(text).modules()] for text in texts
    ]
    assert [names.count("PackedConv2d") for names in counts] == [0, 0, 3]
    texts[2] = run("compile", "net.arch", "--inference", "--no-packed").out
    counts[2] = [type(one).__name__ for one in compiled(texts[2]).modules()]
    assert [names.count("BatchNorm2d") for names in counts] == [7, 2, 0]
    assert [names.count("Conv2d") for names in counts] == [6, 5, 3]
    assert [names.count("Dropout") for names in counts] == [1, 0, 0]
    assert texts[0] == run("compile", "net.arch").out
    assert "For inference only; transformed by remove-dead" in texts[1]


def test_without_inference_a_module_still_trains(run: Run, folder: Path) -> None:
    text = NET.replace("    unit<8>\n", "    identity\n    unit<8>\n", 1)
    Path("net.arch").write_text(text, encoding="utf-8")
    plain, made = (run("compile", "net.arch", *o).out for o in (["-O0"], ["-O2"]))
    assert plain != made and "Transformed by remove-dead, remove-identities" in made
    first, second = compiled(plain).train(), compiled(made).train()
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.randn(4, 3, 16, 16)
    results = []
    for module in (first, second):
        torch.manual_seed(1)
        found = module(x)
        (found["output"].sum() + found["aux"].sum()).backward()
        results.append([*found.values(), *(p.grad for p in module.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_the_command_says_which_passes_ran(run: Run, trained: torch.nn.Module) -> None:
    assert run("compile", "net.arch", "-O0", "--json").json["passes"] == []
    call = ("compile", "net.arch", "--inference", "--json")
    assert run(*call).json["passes"] == [
        name for name, one in PASSES.items() if one.level is not None
    ]
    assert run(*call, "-O1").json["passes"] == [
        *("remove-dead", "remove-identities", "bake-weights"),
        *("fold-norms", "fold-scales"),
    ]
    text = run("explain", "passes").out
    assert all(
        f"\n{name} ({'from -O' if one.level else 'by name alone'}" in text
        for name, one in PASSES.items()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-O3"], "3 is not in the range 0<=x<=2"),
        (["-O1", "--passes", "fold-norms"], "give either a level or passes"),
        (["--passes", "fold"], "there is no pass `fold`: the passes are remove-dead"),
        (["--passes", "fold-norms"], "fold-norms is for inference"),
    ],
)
@pytest.mark.parametrize("command", [["compile"], ["weights"]])
def test_wrong_options(
    run: Run,
    trained: torch.nn.Module,
    command: list[str],
    options: list[str],
    message: str,
) -> None:
    file = ["net.pth"] if command == ["weights"] else []
    done = run(*command, "net.arch", *file, *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_what_is_left_out_cannot_be_computed_with(
    run: Run, trained: torch.nn.Module
) -> None:
    call = ("weights", "net.arch", "net.pth", "--for", "inference", "-o", "n.st")
    done = run(*call, "--except", "bn1")
    assert done.code == 2 and not Path("n.st").exists()
    assert "--except leaves out bn1.weight, from which other weights" in done.err
    done = run(*call, "--except", "linear1")
    assert done.code == 0, done.err
    assert "linear1.weight" not in safetensors.torch.load_file("n.st")


@pytest.mark.parametrize(
    "word", ["relu", "relu6", "silu", "elu", "selu", "mish", "hardswish", "hardsigmoid"]
)
def test_activations_overwrite_what_no_backward_pass_needs(word: str) -> None:
    lines = [
        "input 3x8x8",
        f"conv 3x3 4 -> {word} -> tanh -> {word}",
        f"a: conv 1x1 4 -> {word}",
        f"add {{ | @a }} -> n: {word}",
    ]
    body = "\n    ".join(lines)
    network = archdsl.loads(f"arch 1\nnetwork Net {{\n    {body}\n}}\n")
    plain, made = emit(network), emit(network, inference=True)
    assert made.count("inplace=True") == 3  # the sum still needs the labelled value
    assert plain.count("inplace=True") == 2  # tanh needs its output
    one, other = compiled(plain), compiled(made)
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(one(x), other(x))
    one(x).sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        other(x).sum().backward()


def test_random_specs_compute_the_same_in_place() -> None:
    for case in range(6):
        for specimens in (generated, manual_specs):
            text = specimens.specimen(case)
            params = manual_specs.params_of(text)
            network = archdsl.loads(text, params=params)
            made = pipeline(inference=True).apply(network)
            state = draw_state(network, 1)
            module = compiled(emit(made, inference=True, packed=True)).double()
            module.load_state_dict(pipeline(inference=True).weights(network, state))
            generator = torch.Generator().manual_seed(2)
            inputs = [
                torch.randn(2, *p.shape, generator=generator, dtype=torch.float64)
                for p in network.inputs
            ]
            with torch.no_grad():
                found = named_outputs(made, module(*inputs))
                wanted = execute(network, state, inputs, False)
            assert list(found) == list(wanted)
            for name, value in wanted.items():
                error = (found[name] - value).abs().max()
                assert error <= 1e-10 * value.abs().max().clamp(min=1), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_keep_their_type(
    run: Run, trained: torch.nn.Module, dtype: torch.dtype
) -> None:
    state = {
        key: one.to(dtype) if one.is_floating_point() else one
        for key, one in trained.state_dict().items()
    }
    torch.save(state, "net.pth")
    call = ("weights", "net.arch", "net.pth", "--for", "inference", "-o", "n.st")
    assert run(*call).code == 0
    found = safetensors.torch.load_file("n.st")
    assert {one.dtype for one in found.values()} == {dtype}
    # As computed and rounded by torch.
    norm = {n: state[f"bn1.{n}"].double() for n in ("weight", "running_var")}
    factors = norm["weight"] * (norm["running_var"] + 1e-5) ** -0.5
    wanted = state["conv1.weight"].double() * factors.reshape(-1, 1, 1, 1)
    exact = dtype != torch.float64  # the last digit of a power may differ
    torch.testing.assert_close(
        found["conv1.weight"], wanted.to(dtype), rtol=0 if exact else 1e-12, atol=0
    )


def test_rounding_to_bfloat16_is_torch_s() -> None:
    numbers = torch.randn(1000, dtype=torch.float32).double()
    ties = (torch.arange(64).to(torch.int32) << 15).view(torch.float32).double()
    for some in (numbers, ties, -ties):
        data = bytearray(encoded(some.numpy(), "BF16"))
        found = torch.frombuffer(data, dtype=torch.bfloat16)
        assert torch.equal(found, some.to(torch.bfloat16))


def test_numpy_is_asked_for(trained: torch.nn.Module) -> None:
    safetensors.torch.save_file(trained.state_dict(), "net.safetensors")
    code = """
import sys
from archdsl.cli import main
from archdsl.backends import extras
need = extras.need
def lacking(what, library, extra, module=""):
    if library == "numpy":
        raise extras.MissingExtra(what, library, extra)
    return need(what, library, extra, module)
import archdsl.backends.checkpoints.convert as convert
convert.need = lacking
call = ["weights", "net.arch", "net.safetensors", "-o", "n.st"]
assert main(call) == 0
sys.exit(main([*call, "--for", "inference"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert 'computing weights needs numpy: pip install "archdsl[onnx]"' in done.stderr
