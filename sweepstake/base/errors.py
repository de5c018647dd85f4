"""The two kinds of error: a user's mistake, and a control that did not hold."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave, with every problem found. Shown as it is, without a traceback; exit code 2."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


class BrokenControl(Exception):
    """A self-check of a round failed: the numbers of this cell would not mean what they say."""


def unknown(place: str, kind: str, name: str, known: Iterable[str], next_step: str = "") -> str:
    """The message for a name that does not exist: where it stands, the nearest name, all names, what to do next."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f'Did you mean "{near[0]}"?  ' if near else ""
    lines = [f"{place}: no {kind} of that name.", f"  {guess}Known: {', '.join(names) or '(none)'}."]
    return "\n".join(lines + ([f"  {next_step}"] if next_step else []))


def one_of(words: Sequence[str]) -> str:
    """`a, b or c`, for messages."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
