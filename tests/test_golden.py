"""Emitted modules, kept so that a person can review every change in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import archdsl
from tests.conftest import ROOT
from tests.oracle import EMITTED, Emitted, meta, noted_shapes

MODELS = ROOT / "tests" / "golden" / "models"


@pytest.mark.parametrize("emitted", EMITTED.values(), ids=EMITTED.keys())
def test_emitted_module(emitted: Emitted, golden: Callable[[Path, str], None]) -> None:
    network = emitted.load()
    text = archdsl.emit(network)
    compile(text, emitted.id, "exec", dont_inherit=True)
    with torch.device("meta"):
        module = archdsl.build(network).eval()
    with meta(), noted_shapes(module) as shapes:
        module(torch.empty(2, 3, 224, 224))
    assert shapes[""] == tuple(network.outputs[0].shape)

    golden(MODELS / f"{emitted.id}.py", text)


def test_no_orphans() -> None:
    # One that is missing fails above.
    orphans = {path.stem for path in MODELS.iterdir()} - EMITTED.keys()
    assert not orphans
