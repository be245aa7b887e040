"""The cheapest parts to recompute for a step to fit.

On chains of blocks, the choice is compared with all possible choices; the compiled
module, with torch's memory tracker and with the module that keeps everything.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

import archdsl
import archdsl.backends.torch as backend
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.lean import DoesNotFit, lean
from archdsl.passes.memory import Memory
from archdsl.passes.memory import memory as memory_with
from archdsl.passes.recompute import candidates, parts
from tests.test_cli import Run, folder, run
from tests.test_peak import _kept, _made, _train
from tests.test_recompute import compare

__all__ = ["folder", "run"]

CHAIN = """arch 1

block unit<width, stride = 1> {
    conv 3x3 width /stride -> bn -> relu -> conv 3x3 -> bn -> relu
}

block skip<width> {
    residual { conv 3x3 width -> bn -> relu -> conv 3x3 -> bn } -> relu
}

network Net {
    input 3x32x32
    conv 3x3 8
    BODY
    globalavgpool -> linear 10
}
"""
BODIES = (
    "unit<32> -> unit<16> -> unit<64> -> unit<8> -> unit<48>",
    "unit<8> -> skip<8> -> tanh -> unit<16, 2> -> skip<16> -> unit<12>",
)


def network_of(body: str) -> Network:
    return archdsl.loads(CHAIN.replace("BODY", body))


def memory_of(network: Network, **options: object) -> Memory:
    return archdsl.analyze(network, **options).memory  # type: ignore[arg-type]


def all_choices(memory: Memory) -> dict[tuple[str, ...], tuple[int, float]]:
    """Return peak and operations of every choice, computed part by part.

    Recomputing a part costs the operations of its layers up to the last one that keeps
    something; in these blocks, up to the last `relu`.
    """
    graph = memory.graph
    facts = archdsl.analyze(graph.network, mode="train", batch=memory.batch)
    flops = [one.batch_flops for one in facts.costs.layers]
    found: dict[tuple[str, ...], tuple[int, float]] = {}
    able = candidates(graph)
    for number in range(len(able) + 1):
        for chosen in combinations(able, number):
            paths = tuple(part.path for part in chosen)
            own = memory_with(
                graph,
                facts.cost,
                batch=memory.batch,
                optimizer=memory.optimizer,
                recompute=frozenset(paths),
            )
            again = sum(flops[at] for part in chosen for at in part.places)
            found[paths] = own.training_peak_bytes, again
    return found


@pytest.mark.parametrize(
    ("body", "batch", "optimizer"),
    [(BODIES[0], 64, "adam"), (BODIES[1], 4, "sgd")],
)
def test_the_choice_is_the_cheapest_of_all(
    body: str, batch: int, optimizer: str
) -> None:
    memory = memory_of(network_of(body), batch=batch, optimizer=optimizer)
    choices = all_choices(memory)
    peaks = sorted({peak for peak, _ in choices.values()})
    assert len(peaks) > 5
    for budget in peaks:
        found = lean(memory, budget)
        assert found.after.peak_bytes == choices[found.parts][0] <= budget
        least = min(again for peak, again in choices.values() if peak <= budget)
        assert found.after.flops - found.before.flops == least
        assert least <= choices[tuple(p.path for p in candidates(memory.graph))][1] or (
            found.whole.peak_bytes > budget
        )
    with pytest.raises(DoesNotFit) as error:
        lean(memory, peaks[0] - 1)
    assert error.value.least_bytes == peaks[0]


def test_a_module_keeps_what_the_analysis_says() -> None:
    network = archdsl.load("resnet18")
    found = archdsl.lean(network, 200 * 2**20, batch=4, optimizer="momentum")
    assert found.before.peak_bytes > 200 * 2**20 >= found.after.peak_bytes
    assert any("." in path for path in found.parts)  # below the outermost level
    module = _made(lambda: archdsl.build(network, recompute=found.parts))
    assert _kept(module, network, 4) == found.after.saved_bytes
    _, peak = _train(module, network, 4, "momentum")
    assert abs(peak - found.after.peak_bytes) < 0.001 * peak
    assert found.after.flops < found.whole.flops


def test_a_module_trains_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    build = backend.build
    paths = ("layer1.1", "layer3", "layer4.0")

    def chosen(network: Network, recompute: bool = False) -> object:
        return build(network, recompute=frozenset(paths) if recompute else False)

    monkeypatch.setattr(backend, "build", chosen)
    compare(archdsl.load("resnet18", input="3x32x32", classes=10))


def test_times_of_a_device_are_costs() -> None:
    network = archdsl.load("resnet18")
    found = archdsl.lean(network, 2**31, batch=128, device="a100-sxm-40gb")
    seconds = found.after.seconds
    assert found.before.seconds is not None and found.whole.seconds is not None
    assert seconds is not None
    assert found.before.seconds < seconds < found.whole.seconds


def test_nothing_is_recomputed_where_all_fits() -> None:
    found = archdsl.lean("resnet18", 2**40, batch=8)
    assert found.parts == () and found.after == found.before


def test_of_very_many_blocks_all_or_none_are_recomputed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = memory_of(network_of(BODIES[0]), batch=64)
    budget = lean(memory, 0x7FFF_FFFF).whole.peak_bytes
    assert len(lean(memory, budget + 2**20).parts) < 5
    monkeypatch.setattr("archdsl.passes.lean._MOST_WORK", 100)
    found = lean(memory, budget + 2**20)
    assert found.after == found.whole and len(found.parts) == 5


def test_parts_inside_of_others_count_once() -> None:
    graph = flatten(archdsl.load("resnet18"))
    paths = [part.path for part in parts(graph, {"layer1.0", "layer2.1", "layer1"})]
    assert paths == ["layer1", "layer2.1"]


@pytest.mark.parametrize("path", ["layer1.9", "layer1.0.conv1", "fc"])
def test_what_is_no_block_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=f"`{path}` is not a block"):
        archdsl.emit("resnet18", recompute=[path])


# ---- the command ------------------------------------------------------------------


def test_the_command_tells_what_it_chose(run: Run, folder: Path) -> None:
    call = ("compile", "resnet18", "--recompute", "--fits", "2GiB", "--batch", "128")
    done = run(*call, "-o", "net.py")
    assert done.code == 0 and done.out == ""
    found = archdsl.lean("resnet18", 2**31, batch=128)
    assert f"recomputed: {', '.join(found.parts)}" in done.err
    text = Path("net.py").read_text(encoding="utf-8")
    assert text == archdsl.emit("resnet18", recompute=found.parts)
    assert run(*call, "--json").json["fits"] == found.as_dict()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--fits", "2GiB"], 2, "--fits needs --recompute"),
        (["--recompute", "--batch", "8"], 2, "--batch needs --fits"),
        (["--recompute", "--device", "t4"], 2, "--device needs --fits"),
        (
            ["--recompute", "--fits", "90MiB", "--batch", "64"],
            4,
            "a step of 64 images does not fit into 90.0 MiB: the smallest need",
        ),
    ],
)
def test_what_cannot_be_is_said(
    run: Run, folder: Path, options: list[str], code: int, message: str
) -> None:
    done = run("compile", "resnet18", *options, "-o", "net.py")
    assert done.code == code
    assert message in " ".join(done.err.split())
    assert not Path("net.py").exists()
