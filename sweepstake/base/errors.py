"""The two kinds of error: the user's, told in their own words, and a control that did not hold."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what we were given. Shown as it is, exit code 2, never a traceback; holds every problem found."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


class BrokenControl(Exception):
    """A self-check of a round failed: the numbers of this cell would not mean what they say."""


def unknown(place: str, kind: str, name: str, known: Iterable[str], next_step: str = "") -> str:
    """The message for a name that does not exist: the place, the value, the nearest name, all of them, what to do."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f'Did you mean "{near[0]}"?  ' if near else ""
    lines = [f"{place}: no {kind} of that name.", f"  {guess}Known: {', '.join(names) or '(none)'}."]
    return "\n".join(lines + ([f"  {next_step}"] if next_step else []))


def one_of(words: Sequence[str]) -> str:
    """`a, b or c`, for messages."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
