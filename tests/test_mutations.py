"""Shipped specs with random mistakes: refused in words, or networks that run.

The mistakes are drawn from numbers, so that every run tries the same. The longer
hunt is `python scripts/soak.py mutants`.
"""

from __future__ import annotations

import pytest

from tests.mutations import NAMES, examine, mutant

CASES = 2000
BATCH = 100


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_mutants(first: int) -> None:
    for case in range(first, first + BATCH):
        text = mutant(case)
        try:
            examine(text)
        except Exception as error:
            error.add_note(f"in case {case}, of {NAMES[case % len(NAMES)]}:\n{text}")
            raise


def test_mistakes_are_made_and_found() -> None:
    """Most mistakes matter, and some leave a spec as good as before."""
    place = NAMES.index("vgg.arch")
    cases = [place + turn * len(NAMES) for turn in range(40)]
    fates = [examine(mutant(case)).fate for case in cases]
    assert 10 < fates.count("refused") < 38
