"""The kernels' files stand in one order, and each imports from those above it alone."""

import re
from pathlib import Path

from sweepstake.engine import kernels
from tests.test_floors import modules_imported

FOLDER = Path(kernels.__file__).parent
NAME = kernels.__name__
ORDER = re.findall(r"^    (\w+) {2,}\S", (kernels.__doc__ or "").partition("The files")[2], re.MULTILINE)


def files_imported(source: str) -> set[str]:
    """The files here that it imports, in functions too."""
    inside = {each for each in modules_imported(source, NAME) if each.startswith(f"{NAME}.")}
    return {each.removeprefix(f"{NAME}.").split(".")[0] for each in inside}


def below(order: list[str], sources: dict[str, str]) -> dict[str, set[str]]:
    """What each file imports that does not stand above it."""
    wrong = {name: files_imported(sources[name]) - set(order[:place]) for place, name in enumerate(order)}
    return {name: each for name, each in wrong.items() if each}


def test_every_file_stands_in_the_list_and_imports_only_what_stands_above_it():
    assert sorted(ORDER) == sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    assert below(ORDER, {name: (FOLDER / f"{name}.py").read_text() for name in ORDER}) == {}


def test_an_import_of_what_stands_below_is_found():
    lanes = "def f():\n    from sweepstake.engine.kernels import dense"
    dense = "from sweepstake.engine.kernels.lanes import fma"
    assert below(["lanes", "dense"], {"lanes": lanes, "dense": dense}) == {"lanes": {"dense"}}


def test_no_trainer_stands_below_the_kernels():
    """They know a network and its weights, and nothing of what trains it."""
    imported = set().union(*(modules_imported(path.read_text(), NAME) for path in FOLDER.glob("*.py")))
    files = {".".join(each.split(".")[:3]) for each in imported if not each.startswith(NAME)}
    assert files == {"sweepstake.engine.network", "sweepstake.engine.units"}
