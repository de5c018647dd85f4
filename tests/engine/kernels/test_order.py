"""The kernels' files stand in one order, and each imports from those above it alone."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from sweepstake.engine import kernels
from sweepstake.engine.kernels import conv
from tests.test_floors import modules_imported

FOLDERS = pytest.mark.parametrize("package", [kernels, conv])


def folder_of(package: ModuleType) -> Path:
    assert package.__file__
    return Path(package.__file__).parent


def order_of(package: ModuleType) -> list[str]:
    """The files, as the package's own text lists them."""
    return re.findall(r"^    (\w+) {2,}\S", (package.__doc__ or "").partition("The files")[2], re.MULTILINE)


def files_imported(source: str, package: str) -> set[str]:
    """The files of that folder that it imports, in functions too."""
    inside = {each for each in modules_imported(source, package) if each.startswith(f"{package}.")}
    return {each.removeprefix(f"{package}.").split(".")[0] for each in inside}


def below(order: list[str], sources: dict[str, str], package: str = kernels.__name__) -> dict[str, set[str]]:
    """What each file imports that does not stand above it."""
    wrong = {name: files_imported(sources[name], package) - set(order[:place]) for place, name in enumerate(order)}
    return {name: each for name, each in wrong.items() if each}


@FOLDERS
def test_every_file_stands_in_the_list_and_imports_only_what_stands_above_it(package):
    folder, order = folder_of(package), order_of(package)
    assert sorted(order) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert below(order, {name: (folder / f"{name}.py").read_text() for name in order}, package.__name__) == {}


def test_an_import_of_what_stands_below_is_found():
    lanes = "def f():\n    from sweepstake.engine.kernels import dense"
    dense = "from sweepstake.engine.kernels.lanes import fma"
    assert below(["lanes", "dense"], {"lanes": lanes, "dense": dense}) == {"lanes": {"dense"}}


def test_no_trainer_stands_below_the_kernels():
    """They know a network and its weights, and nothing of what trains it."""
    paths = folder_of(kernels).rglob("*.py")
    imported = set().union(*(modules_imported(path.read_text(), kernels.__name__) for path in paths))
    files = {".".join(each.split(".")[:3]) for each in imported if not each.startswith(kernels.__name__)}
    assert files == {"sweepstake.engine.chains", "sweepstake.engine.network", "sweepstake.engine.units"}
