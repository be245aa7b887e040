"""torchvision for `archdsl bench --against reference:torchvision.models.resnet50`.

Run from this folder. Its models can be imported here even if its compiled operators do
not load, for example in a build for other hardware.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tests.oracle

torchvision = tests.oracle.torchvision  # type: ignore[attr-defined]

__all__ = ["torchvision"]
