"""torchvision for `archdsl bench --against reference:torchvision.models.resnet50`.

Run from this folder. Its models are found here also where its own operators do not
load, as with a build for other hardware.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tests.oracle

torchvision = tests.oracle.torchvision  # type: ignore[attr-defined]

__all__ = ["torchvision"]
