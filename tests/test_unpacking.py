"""If all equal parts of a tensor are read, emitted code splits it once."""

from __future__ import annotations

import pytest

import archdsl
from tests.comparing import faults

SPEC = """arch 1
block unit {{
    {body}
}}
network Net {{
    input 8x4x4
    unit  x2
}}
"""


@pytest.mark.parametrize(
    ("body", "cut", "count"),
    [
        ("concat { chunk 1 of=2 | chunk 2 of=2 -> conv 3x3 }", "x1, x2 = x.chunk(2", 1),
        # Two of four parts are read: each is split off where it is read.
        ("add { chunk 1 of=4 | chunk 4 of=4 } -> conv 1x1 8", "x.chunk(4, 1)[0]", 2),
        ("chunk 2 of=2 -> conv 1x1 8", "x.chunk(2, 1)[1]", 1),
        # The name is in use.
        (
            "x1: conv 3x3; concat { chunk 1 of=2 | chunk 2 of=2 | @x1 } -> conv 1x1 8",
            "x1.chunk(2",
            1,
        ),
        # The second split is of another tensor.
        (
            "concat { chunk 1 of=2 | chunk 2 of=2 -> conv 3x3 }; relu\n"
            "    concat { chunk 2 of=2 | chunk 1 of=2 -> bn }",
            "x1, x2 = x.chunk(2",
            2,
        ),
    ],
)
def test_cuts(body: str, cut: str, count: int) -> None:
    text = SPEC.format(body=body)
    code = archdsl.emit(archdsl.loads(text))
    assert cut in code, code
    assert code.count(".chunk(") == count, code
    assert not faults(text, figures=False)
