"""The two kinds of error: a user's mistake, and a control that did not hold."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from sweepstake.base.synonyms import OPPOSITES, SYNONYMS

LISTED = 16
"""Names that a message lists. Where there are more, it tells the likely one and how to list all."""


class UserError(Exception):
    """A mistake in what the user gave, with every problem found. Shown as it is, without a traceback; exit code 2."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


class BrokenControl(Exception):
    """A self-check of a round failed: the numbers of this cell would not mean what they say."""


def unknown(place: str, kind: str, name: str, known: Iterable[str], next_step: str = "", *, lists: str = "") -> str:
    """The message for a name that does not exist: where it stands, the likely name, the others, what to do next.

    `lists` is the command that lists all: it stands in for names that are too many to read.
    """
    names = sorted(known)
    if len(names) <= LISTED:
        others = f"Known: {', '.join(names) or '(none)'}."
        next_step = next_step or (lists and f"List them with {lists}.")
    elif lists:
        others = f"{lists} lists all {len(names)}."
    else:
        nearest = get_close_matches(str(name), names, n=LISTED, cutoff=0)
        others = f"Known: {', '.join(sorted(nearest))} and {len(names) - LISTED:,} more."
    lines = [f"{place}: no {kind} of that name.", f"  {_guess(str(name), names)}{others}"]
    return "\n".join(lines + ([f"  {next_step}"] if next_step else []))


def _guess(name: str, names: Sequence[str]) -> str:
    """Which of the names was meant: the one that stands for a word of other libraries, or the nearest in spelling."""
    word = name.lower().replace("-", "_").replace(" ", "_")
    if (opposite := OPPOSITES.get(word)) in names:
        return f'Did you mean "{opposite}" (1 - {name})?  '
    meant = SYNONYMS.get(word)
    near = [meant] if meant in names else get_close_matches(name, names, n=1, cutoff=0.5)
    return f'Did you mean "{near[0]}"?  ' if near else ""


def one_of(words: Sequence[str]) -> str:
    """`a, b or c`, for messages."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
