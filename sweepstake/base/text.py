"""Text that somebody else wrote: what no study may hold, and how the rest is shown.

Shown text never moves the cursor and never reverses a line.
"""

import re
from collections.abc import Iterator
from typing import Any

from sweepstake.base.values import is_list, is_table

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Characters that a study may not hold.

Control characters but newline and tab, other line ends, what reverses the order of letters, and what UTF-8 or XML
cannot hold.
"""
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the beginning of a formula."""


def visible(text: object) -> str:
    """The text with what is hidden in it written out: `\\u001b`."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def all_visible(value: Any) -> Any:
    """The same of every text in a value."""
    if isinstance(value, str):
        return visible(value)
    if is_table(value):
        return {visible(key): all_visible(each) for key, each in value.items()}
    return [all_visible(each) for each in value] if is_list(value) else value


def hidden_in(text: str) -> str:
    """What is wrong with a text that holds a hidden character; empty where it holds none."""
    found = HIDDEN.search(text)
    if found is None:
        return ""
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"holds a byte (0x{code - 0xDC00:02x}) that is not UTF-8. Write it in UTF-8"
    return f"holds the character \\u{code:04x}, which cannot be shown. Take it out"


def hidden_texts(value: Any, place: str) -> Iterator[str]:
    """What is wrong with the texts of a study's table (keys too), each with its place."""
    if isinstance(value, str):
        if problem := hidden_in(value):
            yield f"{place}: {problem}."
    elif is_table(value):
        for key, each in value.items():
            if problem := hidden_in(str(key)):
                yield f"{place}: {visible(key)}: {problem}."
            yield from hidden_texts(each, f"{place}: {visible(key)}")
    elif is_list(value):
        for each in value:
            yield from hidden_texts(each, place)


def label_problem(label: str) -> str:
    """What is wrong with a label, which has to fit into a field of a CSV file; empty where nothing is."""
    if "\n" in label or "\t" in label:
        return "a label is one line, without tabs. Write it so"
    if label.lstrip().startswith(FORMULA) and not _is_number(label):
        return f"begins with {label.lstrip()[0]}, which a spreadsheet would take for a formula. Begin it otherwise"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
