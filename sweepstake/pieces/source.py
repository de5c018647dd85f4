"""What a plug-in's code says, however it is laid out: the part of a plug-in that ids hold.

It is Python's own tree of the code, written out in a form of ours: that of `ast.dump` differs among versions of Python.
"""

import ast
import hashlib
import warnings
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

FORM = 1
"""Of what `code_of` gives. Another form gives the cells of every plug-in other ids."""

READS_DOCSTRINGS = ("__doc__", "getdoc")
"""What code says that may do what its docstrings say."""


def hash_of(text: bytes) -> str:
    """A plug-in's file to the byte in 16 hex digits, as results and people are told it."""
    return hashlib.sha256(text).hexdigest()[:16]


@lru_cache(maxsize=256)
def code_hash(text: bytes) -> str:
    """What a plug-in's code says in 16 hex digits, as the ids of its pieces' cells hold it."""
    return hash_of(f"plug-in {FORM}: {code_of(text)}".encode())


def code_of(text: bytes) -> str:
    """The code of a file without comments and layout, the same under every version of Python that reads it.

    A text that is a statement by itself does nothing, as a docstring. It is left out, unless the code may read its
    docstrings.
    """
    with warnings.catch_warnings(action="ignore"):  # Of a "\d", which Python tells where it compiles the file.
        tree = ast.parse(text)
    whole = "".join(_written(tree, texts=True))
    return whole if any(name in whole for name in READS_DOCSTRINGS) else "".join(_written(tree, texts=False))


def _written(tree: ast.AST, *, texts: bool) -> Iterator[str]:
    """A tree as text: `Return(value=Name(id='w',),)`."""
    left: list[Any] = [tree]  # A stack and no recursion: code may nest deeper than calls may.
    while left:
        each = left.pop()
        if isinstance(each, ast.AST):
            left.append(")")
            for name, value in reversed(_fields(each, texts)):
                left += [",", value, f"{name}="]
            left.append(f"{type(each).__name__}(")
        elif isinstance(each, list):
            left.append("]")
            for one in reversed(each):
                left += [",", one]
            left.append("[")
        else:
            yield each


def _fields(node: ast.AST, texts: bool) -> list[tuple[str, Any]]:
    """The fields of a node that are not empty, by name: versions of Python add fields to a node, and reorder them."""
    if isinstance(node, ast.Constant):  # Its kind says that it was written u"a", which is "a".
        return [("value", _constant(node.value))]
    if isinstance(node, ast.JoinedStr):
        return [("values", list(_joined(node.values)))]
    return [(name, _field(value, texts)) for name, value in sorted(ast.iter_fields(node)) if value]


def _field(value: Any, texts: bool) -> Any:
    if isinstance(value, list):
        return [_field(each, texts) for each in value if texts or not _is_a_text(each)]
    return value if isinstance(value, ast.AST) else ascii(value)


def _is_a_text(node: Any) -> bool:
    """Whether a statement is a text and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _joined(parts: list[ast.expr]) -> Iterator[Any]:
    """The parts of an f-string. Python 3.12 has empty texts among them."""
    for is_text, some in groupby(parts, lambda part: isinstance(part, ast.Constant)):
        if not is_text:
            yield from some
        elif text := "".join(part.value for part in some):  # pyright: ignore[reportAttributeAccessIssue]
            yield ascii(text)


def _constant(value: object) -> str:
    """A constant by its value: 0x10 is 16, and 'a' is "a". Of a long integer Python refuses the decimal digits."""
    return hex(value) if type(value) is int else ascii(value)
