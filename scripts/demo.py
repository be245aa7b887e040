"""Take one training step's forward and backward pass through an emitted module."""

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is not a Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network_class(module: ModuleType) -> type[nn.Module]:
    """Return the last class the file defines: blocks come before the network."""
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]
    if not classes:
        sys.exit(f"{module.__file__} defines no nn.Module")
    return classes[-1]


def tensors(output: object) -> Iterator[Tensor]:
    """Yield the main output, then those of the auxiliary heads, if there are any."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for part in output.values():
            yield from tensors(part)
    elif isinstance(output, tuple | list):
        for part in output:
            yield from tensors(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what `archdsl compile` wrote")
    parser.add_argument("--input", default="3x224x224", help="shape of one image")
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    network = network_class(load(arguments.file))().train()
    shape = [int(size) for size in arguments.input.split("x")]
    images = torch.randn(arguments.batch, *shape)

    start = time.perf_counter()
    outputs = list(tensors(network(images)))
    labels = torch.randint(outputs[0].shape[1], (arguments.batch,))
    losses = [nn.functional.cross_entropy(logits, labels) for logits in outputs]
    # Auxiliary heads weigh 0.3, as in the GoogLeNet paper.
    loss = losses[0] + 0.3 * sum(losses[1:])
    loss.backward()
    seconds = time.perf_counter() - start

    missing = [name for name, p in network.named_parameters() if p.grad is None]
    if missing:
        sys.exit(f"no gradient reached {', '.join(missing)}")
    norm = nn.utils.get_total_norm([p.grad for p in network.parameters()])
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        sys.exit(f"loss {loss.item()} or gradient norm {norm.item()} is not finite")
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{type(network).__name__}: {parameters:,} parameters, "
        f"a batch of {arguments.batch} x {arguments.input} forward and backward "
        f"in {seconds:.2f} s\n"
        f"loss {loss.item():.4f}, gradient norm {norm.item():.4f}"
    )


if __name__ == "__main__":
    main()
