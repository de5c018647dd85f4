"""The command, and `python -m sweepstake`: in both nothing of the current folder is imported."""

import os
import sys


def command() -> None:
    forget_current_folder(by_module=False)
    from sweepstake.cli import command

    command()


def forget_current_folder(by_module: bool) -> None:
    """Take the current folder off the path, where `python -m` or an empty entry of PYTHONPATH has put it.

    A folder that PYTHONPATH names stays.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        here = os.getcwd()
    except OSError:  # It was removed meanwhile.
        return
    if here in map(os.path.abspath, filter(None, named)):
        return
    for put in (by_module and not sys.flags.safe_path, len(named) > 1 and "" in named):
        if put and here in sys.path:
            sys.path.remove(here)
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if ours == here and ours not in sys.path:
        sys.path.append(ours)  # A checkout that is not installed.


if __name__ == "__main__":
    forget_current_folder(by_module=True)
    command()
