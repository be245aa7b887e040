"""Answers for editors: mistakes, outline, definitions, hovers and completions.

    >>> from archdsl.editor import Document
    >>> document = Document("arch 1\\nnetwork n { input 3x8x8; conv 3x3 16 }")
    >>> document.hover(36).text.splitlines()[0]
    '`conv 3x3 16`: 3x8x8 -> 16x8x8, 448 parameters, 27,648 MACs'

Places are offsets into the text, in characters; `Document.offset` returns the offset of
a line and a column. All functions also work while the text is incomplete or wrong.
"""

from archdsl.editor.complete import Completion
from archdsl.editor.document import Document, Hover, Target
from archdsl.editor.outline import Symbol

__all__ = ["Completion", "Document", "Hover", "Symbol", "Target"]
