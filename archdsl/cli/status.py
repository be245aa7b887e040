"""Exit statuses."""

from typing import Final

OK: Final = 0
SPEC_ERRORS: Final = 1
USAGE: Final = 2
MISSING_EXTRA: Final = 3
LIMIT: Final = 4
BUG: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143
