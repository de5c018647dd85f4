"""The command that every copy runs: the caller's own options, with paths that do not hang on where it is run."""

import sys
from pathlib import Path
from typing import Unpack

from sweepstake.base.errors import UserError
from sweepstake.run.settings import AskedHere, Settings
from sweepstake.study.study import Study, shipped_studies

PATHS = ("store", "data", "out")


def command_of(study: Study, settings: Settings, in_pods: bool, out: str | None, **asked: Unpack[AskedHere]
               ) -> tuple[list[list[str]], list[Path]]:
    """The program and the study, then each option with its value; and the folders that it reads and writes.

    Pods find the program on their path, and files where they are said to lie.
    """
    program = ["sweepstake"] if in_pods else _program()
    said = {**asked, "store": settings.store, "workers": settings.workers, "out": out, "wait": None, "no_wait": True}
    options, folders = list[list[str]](), list[Path]()
    shipped = study.path in shipped_studies()
    if not shipped:
        folders.append(_whole("STUDY", study.path, in_pods).parent)
    where = study.path if shipped else str(_whole("STUDY", study.path, in_pods))
    if study.quick:
        options.append(["--quick"])
    options += [["--set", each] for each in study.overrides]
    for name, value in said.items():
        option = f"--{name.replace('_', '-')}"
        if name in PATHS and value:
            path = _whole(option, str(value), in_pods)
            folders.append(path if name == "data" else path.parent)
            options.append([option, str(path)])
        elif value is True:
            options.append([option])
        elif value not in (None, False):
            options.append([option, str(value)])
    return [[*program, "run", where], *options], folders


def _program() -> list[str]:
    """This Python's own command, which nodes find without an environment of the shell's."""
    beside = Path(sys.executable).with_name("sweepstake")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "sweepstake"]


def _whole(option: str, said: str, in_pods: bool) -> Path:
    """A path from the root; one in a pod has to be said so, for the current folder is none of a pod's."""
    path = Path(said).expanduser()
    if in_pods and not path.is_absolute():
        raise UserError(f"{option} {said}: pods have no such folder. Say the path that they see: /shared/{path.name}.")
    return path.absolute()
