"""A plug-in's id is of what its code says: layout does not move it, every other change does, and no version of Python does."""

import ast
import io
import os
import runpy
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepstake.pieces import source
from sweepstake.pieces.source import code_hash, code_of

PACKAGE = Path(source.__file__).parents[1]

TEXT = b'''"""Pieces of mine."""
from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from sweepstake import criterion, dataset

LARGE, SMALL = 0x10, 1e-3j
WORDS = {"a": [1, 2.5, None, True, ...], **{"b": b"\\x00"}}


def named(x: int, /, y=(1,), *rest, z: "int" = -1, **more) -> str:
    return f"{x}{y!r:>{z + 2}}{{}}" "and" f"{x=}" rf"\\d{more:}"


class Kept(dict, metaclass=type):
    size: int = 3

    async def of(self, *, at: Annotated[int, "x"] = LARGE):
        async with self as a, self: pass
        async for _ in self: yield [i async for i in a if i]


@criterion(granularity="weight")
def mine(w_final, alive, *, weight: float = 1.0, kind: Literal["l1", "l2"] = "l1"):
    """|w|: keep what is large (Me 2026)."""
    global SMALL
    try:
        score = w_final.abs() if kind == "l1" else w_final ** 2
    except* ValueError as error:
        raise RuntimeError from error
    finally:
        del alive
    match kind:
        case "l1" | ["l2", *_] if (score := score * weight) is not None: assert score.sum() >= 0, "negative"
        case {"name": str(name), **others}: score -= 1
        case _: pass
    while not score.any():
        break
    else:
        score[1:, ..., ::2] @= lambda x, *, y=None: x or y
    return score if weight > 0 and 0 <= weight < 2 else ~score
'''
HASH = "943d8771e5e4b947"


def pythons() -> list[str]:
    """Every Python of 3.11 or newer that this machine has, but for the one that runs."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [*(path for name in names if (path := shutil.which(name))), *map(str, pyenv.glob("versions/3.1*/bin/python"))]
    asked = "import sys; print(sys.version_info >= (3, 11), sys.version_info[:2])"
    said = {path: subprocess.run([path, "-Ic", asked], capture_output=True, text=True).stdout.strip() for path in found}
    ours = str(sys.version_info[:2])
    return list({version: path for path, version in said.items() if version.startswith("True") and not version.endswith(ours)}.values())


def test_the_hash_of_a_plug_ins_code_is_pinned():
    assert code_hash(TEXT) == HASH


def test_every_other_python_here_gives_the_same_hash():
    others = pythons()
    if not others:
        pytest.skip("there is one version of Python on this machine")
    ask = f"import runpy, sys; print(runpy.run_path({source.__file__!r})['code_hash'](sys.stdin.buffer.read()))"
    files = [TEXT, *(path.read_bytes() for path in sorted((PACKAGE / "pieces").glob("*.py")))]
    for python in others:
        for text in files:
            ran = subprocess.run([python, "-Ic", ask], input=text, capture_output=True, timeout=60)
            assert (ran.stdout.decode().strip(), ran.stderr) == (code_hash(text), b""), python


# What does not move it

@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py"))[::7], ids=lambda path: path.stem)
def test_a_file_written_anew_by_python_has_the_same_hash(path: Path):
    """Without comments and blank lines, on other lines, in other brackets and quotes."""
    text = path.read_bytes()
    again = ast.unparse(ast.parse(text)).encode()
    assert again != text
    assert code_hash(again) == code_hash(text)


LAYOUT = [
    ("a comment", lambda text: text.replace("global", "# why\n    global").replace("break", "break  # why")),
    ("blank lines", lambda text: text.replace("\n    match", "\n\n\n    match")),
    ("an indent of two", lambda text: text.replace("    ", "  ")),
    ("tabs", lambda text: text.replace("    ", "\t")),
    ("CRLF", lambda text: text.replace("\n", "\r\n")),
    ("a byte order mark", lambda text: "\ufeff" + text),
    ("single quotes", lambda text: text.replace('"l1"', "'l1'")),
    ("a raw text", lambda text: text.replace('"l1"', 'r"l1"')),
    ("a joined text", lambda text: text.replace('"negative"', '"neg" """ative"""')),
    ("brackets", lambda text: text.replace("return score if", "return (score) if")),
    ("a trailing comma", lambda text: text.replace('kind: Literal["l1", "l2"] = "l1"):', 'kind: Literal["l1", "l2"] = "l1",\n):')),
    ("a line that goes on", lambda text: text.replace("LARGE, SMALL =", "LARGE, \\\n SMALL =")),
    ("a semicolon", lambda text: text.replace("= 0x10, 1e-3j\n", "= 0x10, 1e-3j;")),
    ("another base", lambda text: text.replace("0x10", "1_6").replace("2.5", "25e-1")),
    ("a docstring laid out", lambda text: text.replace('(Me 2026)."""', '(Me 2026).\n\n        More.\n    """')),
    ("a docstring's words", lambda text: text.replace("keep what is large", "keep the large")),
    ("a docstring more", lambda text: text.replace("size: int = 3\n", 'size: int = 3\n    """How many."""\n')),
    ("a docstring less", lambda text: text.replace('"""Pieces of mine."""\n', "")),
]


@pytest.mark.parametrize(("what", "change"), LAYOUT, ids=[what for what, _ in LAYOUT])
def test_layout_does_not_move_the_hash(what: str, change: Any):
    other = change(TEXT.decode())
    assert other != TEXT.decode()
    assert code_hash(other.encode()) == HASH


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["", "# a word", "\t", "        # deep", "\x0c"])), max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_comments_and_blank_lines_anywhere_move_nothing(added: list[tuple[int, str]]):
    lines = TEXT.decode().splitlines()
    for at, line in added:
        lines.insert(min(at, len(lines)), line)
    assert code_hash("\n".join(lines).encode()) == HASH


# What does

def of_code(text: bytes) -> Any:
    """All that Python makes of a file but for lines and docstrings: what it does."""

    def bare(code: CodeType) -> Any:
        consts = tuple(bare(each) if isinstance(each, CodeType) else (type(each).__name__, repr(each)) for each in code.co_consts)
        return code.co_code, consts, code.co_names, code.co_varnames, code.co_freevars, code.co_flags, code.co_argcount, code.co_name

    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass(lineno=1, col_offset=0)]
    return bare(compile(tree, "", "exec", dont_inherit=True))


def changed_tokens(text: bytes) -> list[bytes]:
    """The text with one token replaced by another of its kind, or taken out, wherever that is still Python."""
    others = {tokenize.NAME: ["w_final", "None", "not", "is"], tokenize.NUMBER: ["7", "1.0", "True"], tokenize.STRING: ["'q'", "b'q'"],
              tokenize.OP: ["+", "<", ",", "|", "=", "**"]}
    made, lines = [], text.decode().splitlines(keepends=True)
    for token in tokenize.tokenize(io.BytesIO(text).readline):
        (row, start), (end_row, end) = token.start, token.end
        if token.type not in others or row != end_row:
            continue
        line = lines[row - 1]
        for other in ["", *others[token.type]]:
            whole = [*lines[:row - 1], f"{line[:start]}{other}{line[end:]}", *lines[row:]]
            try:
                compile(made_text := "".join(whole).encode(), "", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            made.append(made_text)
    return made


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_a_changed_token_that_changes_what_the_code_does_moves_the_hash():
    does, moved = of_code(TEXT), 0
    changes = changed_tokens(TEXT)
    for other in changes:
        if of_code(other) != does:
            assert code_hash(other) != HASH, other.decode()
            moved += 1
    assert moved > 300  # Of those that are Python, most do something else.


OTHERS = [("a + b", "a - b"), ("f(a)", "f(a,), "), ("a, = b", "a = b"), ("1", "1.0"), ("1", "True"), ("x = 'a'", "x = b'a'"), ("x = 'a '", "x = 'a'"),
          ("f'{a}'", "x = '{a}'"), ("f'{a}'", "f'{a!r}'"), ("f'{a:1}'", "f'{a:2}'"), ("f'{a}b'", "f'{a}' + 'b'"), ("{**a}", "{*a}"),
          ("lambda *, a, b=1: 0", "lambda *, a=1, b: 0"), ("a if b else c", "a and b or c"), ("x: int", "x: float"), ("x: int = 0", "x = 0"),
          ("(x): int = 0", "x: int = 0"), ("from a import b", "from .a import b"), ("import a as b", "import a"), ("-1", "- -1"),
          ("if a:\n    b\nc", "if a:\n    b\n    c"), ("a\nb", "b\na"), ("'''a\n  b'''.c", "'''a\n b'''.c"), ("pass", ""), ("1_0", "11"),
          ("def f():\n    'd'", "def f():\n    'd'\n    return 0"), ("try:\n    a\nexcept B: c", "try:\n    a\nexcept* B: c"),
          ("def f(a, /): 0", "def f(a): 0"), ("for a in b: c", "async def f():\n    async for a in b: c"), ("x = y = 1", "x = 1; y = 1")]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_code_that_does_something_else_has_another_hash(one: str, other: str):
    assert code_hash(one.encode()) != code_hash(other.encode())


@pytest.mark.parametrize("reads", ["help = mine.__doc__", "from inspect import getdoc", "getattr(mine, '__doc__')"])
def test_a_docstring_counts_where_the_code_may_read_it(reads: str):
    one, other = (f'def mine():\n    """{said}"""\n\n\n{reads}\n'.encode() for said in ("Half.", "All."))
    assert code_hash(one) != code_hash(other)


def test_code_that_nests_deeply_has_a_hash_and_what_is_no_python_has_none():
    assert len(code_hash(b"x = " + b" + ".join([b"y"] * 900))) == 16
    with pytest.raises(SyntaxError):
        code_hash(b"def")


def test_the_form_is_text_that_names_what_is_there():
    assert code_of(b'def f(w, *, a: int = 1):\n    """Doc."""\n    return w') == (
        "Module(body=[FunctionDef(args=arguments(args=[arg(arg='w',),],kw_defaults=[Constant(value=0x1,),],"
        "kwonlyargs=[arg(annotation=Name(ctx=Load(),id='int',),arg='a',),],),body=[Return(value=Name(ctx=Load(),id='w',),),],name='f',),],)")


def test_the_file_needs_nothing_but_python():
    assert runpy.run_path(source.__file__)["code_hash"](TEXT) == HASH
