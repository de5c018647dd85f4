"""The pages against the code: the tree, the commands, the pieces, the keys, and every snippet."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sweepstake.cli import build_parser
from sweepstake.pieces import REGISTRIES
from sweepstake.study.study import KEYS, load_study, read_study, shipped_studies

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_readmes_tree_equals_the_disk():
    tree = next(block for block in snippets(README, "text") if "sweepstake/" in block)
    written, folders = set(), []
    for line in tree.splitlines()[1:]:
        match = re.match(r"(?P<indent>[│ ]*)[├└]── (?P<name>\S+)", line)
        if not match:
            continue
        depth, name = len(match["indent"]) // 4, match["name"]
        folders[depth:] = [name.rstrip("/")]
        if not name.endswith("/"):
            written.add("/".join(folders))
    on_disk = {str(p.relative_to(ROOT / "sweepstake")) for p in (ROOT / "sweepstake").rglob("*.py") if "__pycache__" not in p.parts}

    assert written == {path for path in on_disk if not (path.endswith("/__init__.py") and path != "pieces/__init__.py")}


def test_generated_pages_are_fresh():
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, env=HERE, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_key_command_piece_and_study_is_documented():
    keys, cli, pieces = ((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("study-file.md", "cli.md", "pieces.md"))
    commands = re.findall(r"^## sweepstake (\S+)", cli, re.MULTILINE)

    assert [key for key in KEYS if f"| `{key}` |" not in keys] == []
    assert [name for name in re.findall(r"^    (\w+) +\S", build_parser().format_help(), re.MULTILINE) if name not in commands] == []
    ours = [p.name for r in REGISTRIES.values() for p in r.pieces.values() if p.function.__module__.startswith("sweepstake.pieces.")]
    assert [name for name in ours if f"| `{name}` |" not in pieces] == []
    assert [name for name in shipped_studies() if f"`{name}`" not in README] == []


def test_readmes_study_loads():
    blocks = snippets(README, "toml")

    assert blocks
    for block in blocks:
        assert read_study(tomllib.loads(block), name="readme").planned


def test_every_command_written_in_a_page_parses():
    parser = build_parser()
    commands = [re.split("[#>]", line)[0].strip() for page in PAGES for block in snippets(page.read_text(encoding="utf-8"), "(?:sh|bash)")
                for line in block.splitlines() if line.strip().startswith("sweepstake ")]

    assert len(commands) >= 5
    for command in commands:
        parser.parse_args(shlex.split(command)[1:])


def test_readmes_python_runs(tmp_path):
    code = "\n".join(snippets(README, "python"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200,
                          env=HERE)

    assert done.returncode == 0, done.stderr[-2000:]


def test_each_recipe_in_contributing_is_short():
    recipes = re.split(r"^## ", CONTRIBUTING, flags=re.MULTILINE)
    how = {r.splitlines()[0]: len(r.strip().splitlines()) - 1 for r in recipes if r.startswith("How to add")}

    what = {title.removeprefix("How to add ").removeprefix("a ").removeprefix("an ") for title in how}
    assert {"init", "criterion", "model", "data set", "study", "claim test", "figure"} <= what
    assert {title: lines for title, lines in how.items() if lines >= 15} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_shipped_studies_load_whole_and_quick(name):
    assert load_study(name).planned
    if "[quick]" in shipped_studies()[name].read_text(encoding="utf-8"):
        assert len(load_study(name, quick=True).planned) <= len(load_study(name).planned)
