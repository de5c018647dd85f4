"""Imports only point down, and the doors open fast."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "sweepstake"
FLOORS = {"base": 0, "pieces": 1, "study": 2, "engine": 3, "run": 4, "tickets": 5, "read": 6}
DOORS = {"__init__", "__main__", "cli", "commands"}


def modules_imported(source: str, package: str) -> set[str]:
    """Every module of ours that a source imports, in functions and under TYPE_CHECKING too; relative ones made whole."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[:len(parents) - node.level + 1]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            found |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "sweepstake"}


def upward(source: str, floor: str) -> list[str]:
    """The imports of a file on that floor that do not point down; its own floor is no way up."""
    bad = []
    for name in modules_imported(source, f"sweepstake.{floor}"):
        parts = name.split(".")
        if len(parts) > 1 and ((parts[1] in FLOORS and FLOORS[parts[1]] > FLOORS[floor]) or parts[1] in DOORS):
            bad.append(name)
        if len(parts) > 1 and parts[1] in FLOORS and parts[1] != floor and FLOORS[parts[1]] == FLOORS[floor]:
            bad.append(name)
    return sorted(bad)


def test_every_folder_of_the_package_is_a_floor():
    here = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert here <= set(FLOORS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == DOORS


def test_imports_only_point_down():
    bad = {str(path.relative_to(PACKAGE)): found for floor in FLOORS for path in (PACKAGE / floor).rglob("*.py")
           if (found := upward(path.read_text(), floor))}
    assert bad == {}


def test_a_planted_upward_import_is_caught():
    assert upward("def f():\n    from sweepstake.run.store import Store", "engine") == ["sweepstake.run.store", "sweepstake.run.store.Store"]
    assert upward("import sweepstake.read.report", "run") == ["sweepstake.read.report"]
    assert upward("from .. import run", "base") == ["sweepstake.run"]
    assert upward("from sweepstake import cli", "read") == ["sweepstake.cli"]
    assert upward("from sweepstake.read import results", "tickets") == ["sweepstake.read", "sweepstake.read.results"]
    assert upward("from sweepstake.base.cell import Cell", "run") == []


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "print(sorted({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)))"


def test_import_sweepstake_and_its_help_reach_no_heavy_library():
    said = fresh_python(f"import sys, sweepstake\n{HEAVY}\nfrom sweepstake.cli import main\n"
                        f"try:\n    main(['run', '-h'])\nexcept SystemExit:\n    {HEAVY}")
    assert said.splitlines()[0] == "[]"
    assert said.splitlines()[-1] == "[]"


def test_help_takes_under_0_3_seconds_and_reaches_no_library_of_the_commands():
    """Of processor time, as the command itself; the fastest of three, for the machine may be busy."""
    times = []
    for _ in range(3):
        out = fresh_python("import sys, time\nfrom sweepstake.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
                           "print(sorted({'torch', 'numpy', 'scipy', 'pandas', 'rich', 'sweepstake.commands'} & set(sys.modules)))\n"
                           "print(time.process_time())")
        assert "first steps:" in out
        assert out.splitlines()[-2] == "[]"
        times.append(float(out.splitlines()[-1]))
    assert min(times) < 0.3


def test_a_command_that_only_reads_reaches_no_torch():
    said = fresh_python("import sys\nfrom sweepstake.cli import main\nmain(['pieces', 'reset'])\nprint('torch' in sys.modules)")
    assert said.splitlines()[-1] == "False"


def test_every_command_is_a_function_that_takes_what_the_command_line_gives():
    import argparse
    import inspect
    from typing import get_args

    from sweepstake import commands
    from sweepstake.cli import build_parser

    parser = build_parser()
    choices = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    for name, each in choices.items():
        given = {action.dest for action in each._actions} - {"help"}
        takes = inspect.signature(getattr(commands, name)).parameters
        asked = set(get_args(takes["asked"].annotation)[0].__annotations__) if "asked" in takes else set()
        assert given == (set(takes) - {"asked"}) | asked, name


def test_reading_a_study_reaches_no_torch():
    assert fresh_python(f"import sys, sweepstake as ss\nassert len(ss.load_study('demo').cells) == 20\n{HEAVY}") == "[]\n"


def test_the_words_import_in_under_0_3_seconds():
    took = fresh_python("import time\nbegan = time.process_time()\nimport sweepstake.base.cell, sweepstake.base.specs, sweepstake.base.registry\n"
                        "print(time.process_time() - began)")
    assert float(took) < 0.3


def imports_of(path: Path) -> set[str]:
    """The files of ours that a file imports, lazily or not."""
    package = ".".join(("sweepstake", *path.relative_to(PACKAGE).parts[:-1]))
    known = {".".join(("sweepstake", *each.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
             for each in PACKAGE.rglob("*.py")}
    return modules_imported(path.read_text(), package) & known


def cycles(edges: dict[str, set[str]]) -> set[str]:
    """The files from which a chain of imports leads back to themselves."""
    reached = {name: set(into) for name, into in edges.items()}
    for through in edges:
        for into in reached.values():
            if through in into:
                into |= reached[through]
    return {name for name, into in reached.items() if name in into}


def test_no_file_of_a_floor_imports_itself_back_not_even_lazily():
    edges = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(("sweepstake", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        if len(path.relative_to(PACKAGE).parts) > 1:
            edges[name] = {other for other in imports_of(path) if other != name and other.count(".") > 1}
    assert cycles(edges) == set()
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


def test_no_private_name_is_imported_from_another_file():
    bad = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sweepstake"):
                private = [alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"]
                bad += [f"{path.relative_to(PACKAGE)}: {name}" for name in private]
    assert bad == []
