"""Import random modules, and the shipped presets from the modules that they compile to.

    python scripts/import_random.py --modules 500     random modules, by seed
    python scripts/import_random.py --presets         all presets, at a small size
    python scripts/import_random.py --presets NAME... only these

Each import is proven equal, as `archdsl import` does. Besides, a preset must come back
with the same structure, and so must a spec that was imported from a random module.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import archdsl  # noqa: E402
from archdsl.backends.importer import NotImported  # noqa: E402
from archdsl.diagnostics import SpecError  # noqa: E402
from archdsl.resources import shipped_presets  # noqa: E402
from tests.modules import IMAGE, module_of, structure  # noqa: E402

# Sizes to try for maps, the smallest first; a preset's own is the last.
SIZES = (64, 96, 128)


def imported(
    module: nn.Module, inputs: Sequence[tuple[int, ...]]
) -> tuple[archdsl.Network | None, str]:
    """Return the network of a module's spec, or the reason why there is none."""
    try:
        found = archdsl.from_module(module, list(inputs))
    except NotImported as error:
        return None, str(error).replace(f"{ROOT}/", "")
    return archdsl.loads(found.text, symbolic=False), ""


def random_module(seed: int) -> str:
    """Return why a random module does not survive the round trip; empty if it does."""
    network, reason = imported(module_of(seed), [IMAGE])
    if network is None:
        return reason
    return again(network)


def again(network: archdsl.Network) -> str:
    """Return why a network differs from its module's spec; empty if it does not."""
    inputs = [tuple(map(int, port.shape)) for port in network.inputs]
    found, reason = imported(archdsl.build(network), inputs)
    if found is None:
        return reason
    same = structure(found) == structure(network)
    return "" if same else "its structure is another"


def preset(name: str) -> str:
    """Return why a preset does not survive the round trip; empty if it does."""
    return again(small(name))


def small(name: str) -> archdsl.Network:
    """Return a preset at a small size that it takes."""
    network = archdsl.load(name, symbolic=False)
    (first, *others) = [port.shape for port in network.inputs]
    if others or len(first) != 3:
        return network
    for size in SIZES:
        if size >= first[1]:
            break
        try:
            shape = (int(first[0]), size, size)
            return archdsl.load(name, input=shape, symbolic=False)
        except (SpecError, ValueError):
            continue
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description="Import what has just been built.")
    parser.add_argument("names", nargs="*", help="presets")
    parser.add_argument(
        "--modules", type=int, default=0, help="how many random modules"
    )
    parser.add_argument("--first", type=int, default=0, help="the first module's seed")
    parser.add_argument("--presets", action="store_true", help="the shipped presets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reasons: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.modules):
        reason = random_module(seed)
        reasons[reason] += 1
        if reason:
            print(f"module {seed}: {reason}", flush=True)
    names = options.names
    if options.presets and not names:
        names = sorted(shipped_presets())
    for name in names:
        reason = preset(name)
        reasons[reason] += 1
        print(f"{name}: {reason or 'the same'}", flush=True)
    print(f"{reasons['']} of {sum(reasons.values())} come back")


if __name__ == "__main__":
    main()
