"""`archdsl bench`: engines take turns, and compute the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from archdsl.backends.bench import measure_times
from archdsl.cli import main, status

NET = """\
arch 1

block unit<width> {
    residual { conv 3x3 width -> bn -> relu; conv 3x3 -> bn } -> relu
}

network Net<classes = 5> {
    input 3x16x16
    conv1: conv 3x3 8 -> bn1: bn -> relu
    unit<8>  x2
    training output globalavgpool -> aux: linear classes
    globalavgpool
    dropout 0.5
    fc: linear classes
}
"""
OTHER = """\
import torch
import net


def same():
    return net.Net()


class Slow(net.Net):
    def forward(self, x):
        torch.randn(3_000_000).sort()
        return super().forward(x)


class Other(net.Net):
    def forward(self, x, y):
        return super().forward(x + y)


def wrong():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.arch").write_text(NET)
    (tmp_path / "others.py").write_text(OTHER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["compile", "net.arch", "-o", "net.py"]) == 0
    return tmp_path


def test_contestants_take_turns_until_time_is_up() -> None:
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        time.sleep(seconds)

    both = [lambda: call("a", 0.06), lambda: call("b", 0.12)]
    *_, (a, b) = measure_times(both, 0)
    assert len(a.rounds) == len(b.rounds) == 5
    assert a.calls == b.calls == 1  # one call is longer than a round must be
    # Two calls each to warm up, one to measure their time, then five rounds.
    assert order == list("aabb" + "ab" + "ab" * 5)
    assert 0.06 <= a.median < 0.1 and b.median >= 0.12
    low, high = b.quartiles
    assert 0.12 <= low <= b.median <= high


def test_short_calls_are_repeated_in_a_round() -> None:
    *_, (times,) = measure_times([lambda: time.sleep(0.001)], 0)
    assert 10 < times.calls <= 50


def result(line: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:  # type: ignore[type-arg]
    assert main(["bench", "net.arch", "--seconds", "0", "--json", *line]) == 0
    found = json.loads(capsys.readouterr().out)
    return {one["name"]: one for one in found["results"]}


def test_engines_and_foreign_modules_compute_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--engines", "eager,inference,onnxruntime", "--batch", "2"]
    found = result([*line, "--against", "others:same"], capsys)
    assert [*found] == [
        *("Net, eager", "Net, inference", "Net, onnxruntime"),
        *("others:same, eager", "others:same, onnxruntime"),
    ]
    for one in found.values():
        assert one["difference"] < 1e-5 and one["seconds"] > 0
    # It got the network's weights, so its outputs are bit-identical.
    assert found["others:same, eager"]["difference"] == 0


def test_what_is_slower_has_the_larger_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(["--engines", "eager", "--against", "others:Slow"], capsys)
    assert found["others:Slow, eager"]["seconds"] > 3 * found["Net, eager"]["seconds"]


def test_training_and_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["bench", "net.arch", "--engines", "eager", "--seconds", "0", "--train"]
    line += ["--channels-last", "--dtype", "bfloat16", "--batch", "2"]
    assert main([*line, "--device", "a100-sxm-40gb"]) == 0
    text = capsys.readouterr().out
    assert "a step of training, batch 2, bfloat16, channels last, cpu" in text
    assert "roofline" in text and "torch 2." in text


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (["--engines", "fast"], status.USAGE, "no engine `fast`"),
        (["--engines", "onnxruntime", "--train"], status.USAGE, "does not train"),
        (["--engines", "inference", "--train"], status.USAGE, "cannot be trained"),
        (["--on", "cuda"], status.USAGE, "no GPU"),
        (
            ["--against", "others:wrong"],
            status.SPEC_ERRORS,
            "not return a torch.nn.Module",
        ),
        (["--against", "others:Other"], status.USAGE, "Other fails on the network's"),
        (["--against", "others"], status.USAGE, "MODULE:FACTORY"),
    ],
)
def test_what_cannot_be_measured(
    line: list[str],
    code: int,
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "net.arch", *line]) == code
    assert message in capsys.readouterr().err
