"""Limits on the size of specs, checked before memory is allocated."""

from typing import Final

MAX_FILE_BYTES: Final = 1 << 20
# Of a network as JSON.
MAX_NETWORK_BYTES: Final = 32 << 20
MAX_TOKENS: Final = 80_000
MAX_IMPORTS: Final = 64
MAX_DEPTH: Final = 64
MAX_REPEAT: Final = 10_000
MAX_PARTS: Final = 15_000
# Of all networks of a file together, where a network counts as this many besides.
MAX_CHECKED: Final = 40_000
NETWORK_PARTS: Final = 10
# Layers of a network that is compiled, expanded, exported, trained or drawn.
MAX_WRITTEN: Final = 11_000
# Layers of a network that torch runs to be compared, or for its gradients.
MAX_RUN: Final = 2_000
# Positions of all its maps together, where units are compared in what they see.
MAX_SEEN: Final = 20_000_000
# MACs of all forward passes whose gradients are measured.
MAX_RUN_MACS: Final = 2_000_000_000_000
# Rows that all arrows of a picture cross, which a layout engine does in seconds.
MAX_DRAWN: Final = 2_000
# Dots per inch of a png, the least and the most.
DPI: Final = (10, 1_200)
MAX_INTEGER: Final = 2**31 - 1
MAX_LIST: Final = 10_000
# A sum of all of them is one expression, as deep as they are many, for Python's parser.
MAX_BRANCHES: Final = 2_000
MAX_NAMES: Final = 500
MAX_STEPS: Final = 500_000
# Folders below one that stands for its specs; a slip such as `fmt /` finds more.
MAX_FOLDERS: Final = 500
