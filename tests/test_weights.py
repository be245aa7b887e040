"""Checkpoints: what fits a network, under which names, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import archdsl
from archdsl.backends.checkpoints import (
    Match,
    OldNames,
    maps,
    match,
    parse_rules,
    read_weights,
    safetensors_bytes,
    shipped_rules,
    state_dict,
    tensors_of,
    wanted,
)
from archdsl.diagnostics import SpecError
from archdsl.source import Source
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

State = dict[str, Tensor]

NET = """arch 1

network Net<classes = 4> {
    input 3x8x8
    stem: seq { conv 3x3 6 -> bn -> relu }
    residual { a: conv 3x3 6 -> norm: bn }
    globalavgpool
    head: linear classes
}
"""


@pytest.fixture(scope="module")
def net() -> archdsl.Network:
    return archdsl.loads(NET)


@pytest.fixture(scope="module")
def state(net: archdsl.Network) -> State:
    torch.manual_seed(0)
    own: State = archdsl.build(net).state_dict()
    return {
        key: torch.randn(one.shape) if one.is_floating_point() else one + 7
        for key, one in own.items()
    }


def fits(network: archdsl.Network, state: Any, path: Path, **options: Any) -> Match:
    """Save a state to a file, and match it."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return match(network, read_weights(path, options.pop("part", None)), **options)


def same(found: Match, state: State) -> bool:
    """Whether exactly a state's tensors were found, under its keys."""
    loaded = state_dict(found)
    return loaded.keys() == state.keys() and all(
        torch.equal(loaded[key], state[key]) and loaded[key].dtype == state[key].dtype
        for key in state
    )


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_first_convolution_is_adapted_to_other_channels(
    channels: int, state: State, tmp_path: Path
) -> None:
    """One channel gets the sum, more get copies, as in timm's `adapt_input_conv`."""
    other = archdsl.loads(NET.replace("3x8x8", f"{channels}x8x8"))
    found = fits(other, state, tmp_path / "rgb.pth")
    assert [one.tensor.key for one in found.reshaped] == ["stem.0.weight"]
    adapted = found.with_adapted_input(other)
    assert adapted.complete and not found.complete
    rgb = state["stem.0.weight"]
    each = [rgb[:, n % 3] * 3 / channels for n in range(channels)]
    expected = torch.stack(each, 1) if channels > 1 else rgb.sum(1, keepdim=True)
    made = tensors_of(adapted)["stem.0.weight"]
    values = torch.frombuffer(bytearray(made.read()), dtype=torch.float32)
    torch.testing.assert_close(values.reshape(made.shape), expected)


# ---- the tensors of a network


@pytest.mark.parametrize(
    "name",
    ["googlenet", "densenet121", "convnext_tiny", "inception_v3", "hrnet_w18", "unet"],
)
def test_wanted_is_the_modules_state_dict(name: str) -> None:
    """torch's own order: a module's tensors before those of its children."""
    network = archdsl.load(name)
    with torch.device("meta"):
        due = archdsl.build(network).state_dict()
    found = {one.key: one.shape for one in wanted(network)}
    assert [*found.items()] == [(key, tuple(one.shape)) for key, one in due.items()]


# ---- files


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_checkpoint_of_its_own(
    net: archdsl.Network, state: State, suffix: str, tmp_path: Path
) -> None:
    found = fits(net, state, tmp_path / f"w.{suffix}")
    assert found.complete and same(found, state)
    assert not (found.prefix or found.rules or found.extra or found.filled)


@pytest.mark.parametrize(
    ("wrap", "inside", "prefix"),
    [
        (lambda s: {"module." + k: v for k, v in s.items()}, "", "module."),
        (
            lambda s: {
                "epoch": 3,
                "state_dict": {"model." + k: v for k, v in s.items()},
                "hyper_parameters": {"lr": 0.1},
                "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
            },
            "state_dict",
            "model.",
        ),
        (
            lambda s: {"model": {"_orig_mod.module." + k: v for k, v in s.items()}},
            "model",
            "_orig_mod.module.",
        ),
    ],
    ids=["ddp", "lightning", "compile"],
)
def test_wrappers_are_seen_through(
    net: archdsl.Network,
    state: State,
    wrap: Callable[[State], Any],
    inside: str,
    prefix: str,
    tmp_path: Path,
) -> None:
    found = fits(net, wrap(state), tmp_path / "w.pth")
    assert (found.checkpoint.inside, found.prefix) == (inside, prefix)
    assert same(found, state)


def test_averages_are_taken_when_asked_for(
    net: archdsl.Network, state: State, tmp_path: Path
) -> None:
    averages = {key: one * 2 for key, one in state.items()}
    saved = {"state_dict_ema": averages, "state_dict": state}
    plain = fits(net, saved, tmp_path / "w.pth")
    assert plain.checkpoint.others == ("state_dict_ema",) and same(plain, state)
    found = fits(net, saved, tmp_path / "w.pth", part="state_dict_ema")
    assert same(found, averages)


def test_several_files_with_an_index(
    net: archdsl.Network, state: State, tmp_path: Path
) -> None:
    keys = [*state]
    where = {key: f"part-{place % 2}.safetensors" for place, key in enumerate(keys)}
    for file in set(where.values()):
        part = {key: state[key] for key in keys if where[key] == file}
        safetensors.torch.save_file(part, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    assert same(match(net, read_weights(index)), state)
    (tmp_path / "out").mkdir()
    for file in ("../part-0.safetensors", "/etc/passwd", "", ".."):
        path = tmp_path / "out" / "w.index.json"
        path.write_text(json.dumps({"weight_map": {"a": file}}))
        with pytest.raises(SpecError, match="does not name a file in the same folder"):
            read_weights(path)


def test_old_checkpoints_have_no_counters(
    net: archdsl.Network, state: State, tmp_path: Path
) -> None:
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    found = fits(net, old, tmp_path / "w.pth")
    assert found.complete and len(found.filled) == 2
    loaded = state_dict(found)
    archdsl.build(net).load_state_dict(loaded)
    assert loaded["stem.1.num_batches_tracked"].item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_converted_file_is_read_by_the_library(
    net: archdsl.Network, state: State, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Every type is kept, and non-contiguous tensors are written row by row."""
    turned = {
        f"module.{key}": (
            one.to(dtype).t().contiguous().t() if one.dim() == 2 else one.to(dtype)
        )
        for key, one in state.items()
        if one.is_floating_point()
    }
    found = fits(net, turned, tmp_path / "w.pth")
    data = safetensors_bytes(tensors_of(found), {"network": "Net"})
    own = tmp_path / "own.safetensors"
    own.write_bytes(data)
    loaded = safetensors.torch.load_file(own)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[k], turned[f"module.{k}"]) for k in found.names)
    with safetensors.safe_open(own, "pt") as file:
        assert file.metadata() == {"network": "Net"}
    assert same(match(net, read_weights(own)), loaded)


# ---- other names


def old_densenet(key: str) -> str:
    """Return the name in checkpoints of 2017, by torchvision's pattern."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key)


def hugging_face(key: str) -> str:
    """Return the name of a tensor of torchvision's ResNet in transformers."""
    layer = re.fullmatch(r"layer(\d)\.(\d+)\.(\w+?)(\d)?\.(?:(\d)\.)?(\w+)", key)
    if layer is None:
        for own, theirs in (
            ("conv1.", "resnet.embedder.embedder.convolution."),
            ("bn1.", "resnet.embedder.embedder.normalization."),
            ("fc.", "classifier.1."),
        ):
            key = f"{theirs}{key.removeprefix(own)}" if key.startswith(own) else key
        return key
    stage, block, kind, number, place, last = layer.groups()
    words = {"conv": "convolution", "bn": "normalization"}
    if kind == "downsample":
        inner = f"shortcut.{[*words.values()][int(place)]}"
    else:
        inner = f"layer.{int(number) - 1}.{words[kind]}"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{inner}.{last}"


@pytest.mark.parametrize(
    ("name", "layout", "rename"),
    [
        ("resnet18", "huggingface-resnet", hugging_face),
        ("resnet50", "huggingface-resnet", hugging_face),
    ],
)
def test_shipped_layouts_are_recognised(
    name: str, layout: str, rename: Callable[[str], str], tmp_path: Path
) -> None:
    network = archdsl.load(name)
    own = {
        one.key: torch.zeros(one.shape, dtype=torch.uint8) for one in wanted(network)
    }
    renamed = {rename(key): one for key, one in own.items()}
    assert renamed.keys() != own.keys()
    found = fits(network, renamed, tmp_path / "w.safetensors")
    assert found.rules is not None and found.rules.name == layout
    assert found.complete and not found.extra
    assert {key: rename(key) for key in own} == found.names
    asked = match(network, found.checkpoint, rules=shipped_rules(layout))
    assert asked.names == found.names


def test_old_densenets_are_read_by_the_older_names_in_the_spec(tmp_path: Path) -> None:
    network = archdsl.load("densenet121")
    own = {
        one.key: torch.zeros(one.shape, dtype=torch.uint8) for one in wanted(network)
    }
    renamed = {old_densenet(key): one for key, one in own.items()}
    assert renamed.keys() != own.keys()
    found = fits(network, renamed, tmp_path / "w.safetensors")
    assert found.older and found.rules is None
    assert found.complete and not found.extra
    assert {key: old_densenet(key) for key in own} == found.names


OLDER = """arch 1

block unit<width> {
    conv1: conv 3x3 width renamed from "conv" or "0.conv" -> norm: bn
}

network Net {
    input 3x8x8
    layer{}: unit<4> renamed from "stage.{}" or "part"  x2
    body: seq { conv 3x3 4 renamed from "first"; relu } renamed from "_tail"
    globalavgpool
    head: linear 4 renamed from "fc"
}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("layer1.conv1.weight", "layer1.conv1.weight"),
        ("layer1.conv.weight", "layer1.conv1.weight"),
        ("stage.2.0.conv.weight", "layer2.conv1.weight"),
        ("stage.2.norm.running_mean", "layer2.norm.running_mean"),
        ("layer2.0.conv.weight", "layer2.conv1.weight"),
        ("_tail.first.weight", "body.0.weight"),
        ("_tail.0.bias", "body.0.bias"),
        ("fc.weight", "head.weight"),
        # Names without a tensor stay: of a tensor, a layer, a block, and half of a
        # name.
        ("fc.gamma", "fc.gamma"),
        ("stage.2.norm.weight.x", "stage.2.norm.weight.x"),
        ("stage.3.conv.weight", "stage.3.conv.weight"),
        ("fcc.weight", "fcc.weight"),
        ("fc", "fc"),
        ("", ""),
        ("...", "..."),
    ],
)
def test_older_names_are_read_part_by_part(old: str, new: str) -> None:
    assert OldNames(archdsl.loads(OLDER)).rename(old) == new


def test_exchanged_names_go_by_what_fits_more(tmp_path: Path) -> None:
    """After renumbering, the older name of one layer is now the name of another."""
    text = """arch 1

network Net {
    input 3x8x8
    a: conv 3x3 4 renamed from "b"
    b: conv 3x3 6 renamed from "a"
}
"""
    network = archdsl.loads(text)
    state = archdsl.build(network).state_dict()
    now = fits(network, state, tmp_path / "now.pth")
    assert now.complete and not now.older and same(now, state)
    exchanged = {{"a": "b", "b": "a"}[key[0]] + key[1:]: v for key, v in state.items()}
    then = fits(network, exchanged, tmp_path / "then.pth")
    assert then.complete and then.older and same(then, state)


def test_a_file_with_an_older_and_a_newer_name_of_one_layer(tmp_path: Path) -> None:
    network = archdsl.loads(OLDER)
    state = archdsl.build(network).state_dict()
    both = {**state, "fc.weight": torch.ones(4, 4)}
    assert fits(network, both, tmp_path / "a.pth").extra == ("fc.weight",)
    mixed = dict(both)
    mixed["layer1.conv.weight"] = mixed.pop("layer1.conv1.weight")
    with pytest.raises(ValueError, match="`renamed from` names both"):
        fits(network, mixed, tmp_path / "b.pth")


def test_build_loads_older_names_and_weights_converts_them(
    folder: Path, run: Run
) -> None:
    (folder / "net.arch").write_text(OLDER)
    network = archdsl.load(folder / "net.arch")
    state = archdsl.build(network).state_dict()
    old = {
        key.replace("conv1", "0.conv").replace("layer", "stage."): value
        for key, value in state.items()
    }
    torch.save(old, folder / "old.pth")
    again = archdsl.build(network, weights=folder / "old.pth").state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())
    code, out, _ = run("weights", "net.arch", "old.pth", "-o", "new.safetensors")
    assert code == 0 and "under older names" in out
    new = safetensors.torch.load_file(folder / "new.safetensors")
    assert new.keys() == state.keys()
    assert all(torch.equal(new[key], value) for key, value in state.items())


def test_older_names_that_begin_alike_are_read_in_bounded_time() -> None:
    """At each level, the name can have one part or two."""
    inner = "conv1: conv 1x1 4"
    for _ in range(40):
        inner = f'a: {{ {inner} }} renamed from "x" or "x.x"'
    network = archdsl.loads(f"arch 1\n\nnetwork Net {{\n input 4x1x1\n {inner}\n}}\n")
    start = time.process_time()
    key = "x." * 79 + "weight"
    assert OldNames(network).rename(key) == key
    assert time.process_time() - start < 2


def test_every_shipped_layout_says_what_it_is() -> None:
    for name in maps():
        rules = shipped_rules(name)
        assert rules is not None and rules.about and rules.rules


def test_rules_of_a_file(net: archdsl.Network, state: State, tmp_path: Path) -> None:
    text = """# Ours.
body.{i}.{rest...} -> stem.{i - 3}.{rest...}   # numbered from 3
x_{rest...} -> {rest...}
loss.{rest...} ->
"""
    saved = {
        "body." + str(int(k[5]) + 3) + k[6:] if k.startswith("stem.") else f"x_{k}": v
        for k, v in state.items()
    }
    saved["loss.weight"] = torch.ones(3)
    found = fits(
        net, saved, tmp_path / "w.pth", rules=parse_rules(Source("own.map", text))
    )
    assert same(found, state) and not found.extra
    both = parse_rules(Source("own.map", "{a}.{rest...} -> all.{rest...}"))
    with pytest.raises(ValueError, match="the rules name both"):
        fits(net, {"a.w": torch.ones(1), "b.w": torch.ones(1)}, tmp_path / "x.pth",
             rules=both)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("a.b", "`a.b` is not a rule of the form `FROM -> TO`"),
        ("-> a", "`-> a` is not a rule of the form `FROM -> TO`"),
        ("a.{i} -> b.{j}", "`{j}` is not in FROM"),
        ("a.{i}.{i} -> b.{i}", "`{i}` occurs twice in FROM"),
        ("a.{i}{j} -> b", "nothing separates `{j}` from the word before it"),
        ("a.{i...}.b -> {i...}", "`{i...}` is not at the end of FROM"),
        ("a.{i...} -> {i}", "`i` has `...` on one side only"),
        ("a.{i + 1} -> {i}", "`{i + 1}` can only be in TO"),
        (
            "a.{1} -> b",
            "`a.{1}` can be neither part of a key nor a placeholder in braces",
        ),
        ("a b -> c", "`a b` can be neither part of a key nor a placeholder in braces"),
    ],
)
def test_lines_that_are_no_rules(line: str, wrong: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_rules(Source("own.map", f"# One.\na -> b\n  {line}  # why\n"))
    (one,) = raised.value.diagnostics
    assert (one.code, one.message) == ("A1002", wrong)
    assert one.span is not None and (one.span.line, one.span.column) == (3, 3)
    assert one.span.source.text[one.span.start : one.span.end] == line


def test_a_rule_reads_a_key_once() -> None:
    """A backtracking regular expression would practically never finish here."""
    words = "".join(f"a{{w{n}}}" for n in range(40))
    rules = parse_rules(Source("own.map", f"{words}z -> x"))
    start = time.process_time()
    assert rules.rename("a" * 20_000) == "a" * 20_000
    assert time.process_time() - start < 2


# ---- suggestions


def test_modules_of_unique_shapes_need_no_names(
    net: archdsl.Network, state: State, tmp_path: Path
) -> None:
    """The head and the first convolution have unique shapes, the norms do not."""
    saved = {f"zz_{key}": one for key, one in state.items()}
    found = fits(net, saved, tmp_path / "w.pth")
    assert {one.target: one.among for one in found.suggestions} == {
        "stem.0": 1,
        "stem.1": 2,
        "a": 1,
        "norm": 2,
        "head": 1,
    }
    sure = found.with_suggestions(by_order=False)
    assert not sure.complete
    assert {one.module for one in sure.missing} == {"stem.1", "norm"}
    assert same(found.with_suggestions(by_order=True), state)


def test_nothing_is_suggested_where_the_numbers_differ(
    net: archdsl.Network, state: State, tmp_path: Path
) -> None:
    saved = {f"zz_{k}": v for k, v in state.items() if not k.startswith("norm")}
    found = fits(net, saved, tmp_path / "w.pth").with_suggestions(by_order=True)
    assert {one.module for one in found.missing} == {"stem.1", "norm"}


def test_another_head(net: archdsl.Network, state: State, tmp_path: Path) -> None:
    other = archdsl.loads(NET, params={"classes": 9})
    found = fits(other, state, tmp_path / "w.pth")
    assert [(one.tensor.key, one.shape) for one in found.reshaped] == [
        ("head.weight", (4, 6)),
        ("head.bias", (4,)),
    ]
    assert found.reshaped[0].tensor.step.span.line == 8
    without = match(other, found.checkpoint, leave_out=["head"])
    assert without.complete and not without.extra
    left = archdsl.build(other).load_state_dict(state_dict(without), strict=False)
    assert left.missing_keys == ["head.weight", "head.bias"]
    with pytest.raises(ValueError, match="no weights at `hea`"):
        match(other, found.checkpoint, leave_out=["hea"])


# ---- hostile files


class Call:
    """Makes a pickle create a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["zip", "pickle"])
def test_nothing_of_a_pickle_runs(how: str, tmp_path: Path) -> None:
    path, made = tmp_path / "w.pth", tmp_path / "made"
    if how == "zip":
        torch.save({"a": torch.ones(1), "b": Call(made)}, path)
    else:
        path.write_bytes(pickle.dumps({"b": Call(made)}, protocol=2))
    with pytest.raises(SpecError) as raised:
        read_weights(path)
    assert raised.value.diagnostics[0].code == "A1001" and not made.exists()


def test_a_whole_module_is_named(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(SpecError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_weights(tmp_path / "w.pth")


def test_archives_that_would_grow(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(SpecError, match="contents are larger"):
        read_weights(path)


def test_tensors_that_repeat_one_element(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "w.pth")
    with pytest.raises(SpecError, match="larger than the file"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "header",
    [
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        ' "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}',
        '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        '{"a": {"dtype": "F32", "shape": [9999999999], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F7", "shape": [2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F8_E5M2", "shape": [8], "data_offsets": [0, 8]}}',
        '{"a": ' * 5_000,
        "[]",
    ],
)
def test_headers_that_lie(header: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    text = header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(SpecError) as raised:
        read_weights(path)
    assert raised.value.diagnostics[0].code == "A1001"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_are_refused_or_compared(
    net: archdsl.Network, state: State, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w.{suffix}"
    fits(net, state, path)
    whole = path.read_bytes()
    chance = random.Random(suffix)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            found = match(net, read_weights(path))
        except SpecError as error:
            assert error.diagnostics[0].code == "A1001"
            refused += 1
        else:
            state_dict(found)
    assert refused


# ---- the command and the function


def test_build_with_weights(net: archdsl.Network, state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"module." + key: one for key, one in state.items()}, path)
    loaded = archdsl.build(net, weights=path).state_dict()
    assert all(torch.equal(loaded[key], one) for key, one in state.items())
    other = archdsl.loads(NET, params={"classes": 9})
    with pytest.raises(ValueError, match=r"lacks head\.weight and 1 more"):
        archdsl.build(other, weights=str(path))
    with pytest.raises(SpecError, match="no such file"):
        archdsl.build(net, weights=tmp_path / "nothing.pth")


def test_the_command(run: Run, folder: Path, state: State) -> None:
    (folder / "net.arch").write_text(NET)
    torch.save({"module." + key: one for key, one in state.items()}, "w.pth")
    code, out, err = run("weights", "net.arch", "w.pth", "-o", "own.safetensors")
    assert (code, err) == (0, "wrote own.safetensors\n")
    assert "14 of the 14 tensors that net.arch needs fit" in out
    assert "the prefix `module.` is removed from their names" in out
    assert same(match(archdsl.loads(NET), read_weights(Path("own.safetensors"))), state)


def test_the_command_names_what_is_missing(
    run: Run, folder: Path, state: State
) -> None:
    (folder / "net.arch").write_text(NET)
    torch.save({k: v for k, v in state.items() if k != "a.weight"}, "w.pth")
    call = ["weights", "net.arch", "-D", "classes=9", "w.pth"]
    code, out, err = run(*call, "-o", "own.safetensors")
    assert code == 1 and "not written" in err and not Path("own.safetensors").exists()
    assert "a.weight  6x6x3x3  net.arch:6:19" in out
    assert "head.bias  4 in the file, 9 in the network  net.arch:8:11" in out
    code, out, _ = run(*call, "--except", "head", "--except", "a", "--json")
    found = json.loads(out)
    assert code == 0 and found["left_out"] == ["a.weight", "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--except", "hed"], 2, "no weights at `hed`"),
        (["--map", "nothing"], 2, "huggingface-resnet"),
        (["--map", "bad.map"], 1, "A1002"),
        (["--part", "ema"], 1, "it has no part `ema`"),
    ],
)
def test_the_commands_errors(
    options: list[str], code: int, words: str, run: Run, folder: Path, state: State
) -> None:
    (folder / "net.arch").write_text(NET)
    (folder / "bad.map").write_text("a\n")
    torch.save(state, "w.pth")
    got, _, err = run("weights", "net.arch", "w.pth", *options)
    assert got == code and words in err


OWN = """arch 1

op own<width> {
    torch = "torch.nn.Conv2d"
    args = [channels, width, 1]
    params = (channels + 1) * width
    shape = [width, in_height, in_width]
}

network Net {
    input 3x8x8
    conv 3x3 4 -> bn
    d: own 6
}
"""


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_tensors_of_an_op_have_the_names_of_the_file(
    prefix: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "own.arch").write_text(OWN)
    built = archdsl.build(archdsl.loads(OWN), allow_foreign=True)
    own: State = built.state_dict()
    path = tmp_path / "own.pt"
    torch.save({prefix + key: tensor for key, tensor in own.items()}, path)
    assert same(match(archdsl.loads(OWN), read_weights(path)), own)
    out = tmp_path / "out.safetensors"
    options = ("--for", "inference", "-o", out)
    assert run("weights", tmp_path / "own.arch", path, *options).code == 0
    found = safetensors.torch.load_file(out)
    assert found.keys() >= {"d.weight", "d.bias", "conv1.weight"}
    assert torch.equal(found["d.weight"], own["d.weight"])


def test_an_op_needs_as_many_elements_as_it_declares(tmp_path: Path) -> None:
    own = archdsl.build(archdsl.loads(OWN), allow_foreign=True).state_dict()
    del own["d.bias"]
    found = fits(archdsl.loads(OWN), own, tmp_path / "less.pt")
    assert [one.key for one in found.missing] == ["d.*"]
    assert found.extra == ("d.weight",)
