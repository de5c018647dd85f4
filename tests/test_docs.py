"""The pages against the code: the tree, the commands, the pieces, the keys, and every snippet."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sweepstake
from sweepstake.cli import build_parser
from sweepstake.pieces import REGISTRIES
from sweepstake.study.keys import KEYS
from sweepstake.study.study import load_study, read_study, shipped_studies

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_generated_pages_are_fresh():
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, env=HERE, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_key_command_piece_and_study_is_documented():
    keys, cli, pieces, studies = ((ROOT / "docs" / page).read_text(encoding="utf-8")
                                  for page in ("study-file.md", "cli.md", "pieces.md", "studies.md"))
    commands = re.findall(r"^## sweepstake (\S+)", cli, re.MULTILINE)

    assert [key for key in KEYS if f"| `{key}` |" not in keys] == []
    assert [name for name in re.findall(r"^    (\w+) +\S", build_parser().format_help(), re.MULTILINE) if name not in commands] == []
    ours = [p.name for r in REGISTRIES.values() for p in r.pieces.values() if p.function.__module__.startswith("sweepstake.pieces.")]
    assert [name for name in ours if f"| `{name}` |" not in pieces] == []
    assert [name for name in shipped_studies() if f"| `{name}` |" not in studies] == []


def test_every_study_and_part_of_one_that_a_page_shows_loads(tmp_path):
    shown = [(page.name, block) for page in PAGES for block in snippets(page.read_text(encoding="utf-8"), "toml")]
    python = "\n".join(snippets((ROOT / "docs" / "own-pieces.md").read_text(encoding="utf-8"), "python"))
    (tmp_path / "mine.py").write_text(python, encoding="utf-8")

    assert len(shown) >= 8
    for name, block in shown:
        table = tomllib.loads(block)
        if "title" in table:
            assert read_study(table, name=name.removesuffix(".md"), folder=tmp_path).planned, name


def test_every_public_name_is_on_the_page_of_python():
    python = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

    assert [name for name in sweepstake.__all__ if f"\n### {name}\n" not in python] == []


def test_every_command_written_in_a_page_parses():
    parser = build_parser()
    commands = [re.split("[#>|]", line)[0].strip() for page in PAGES for block in snippets(page.read_text(encoding="utf-8"), "(?:sh|bash)")
                for line in block.splitlines() if line.strip().startswith("sweepstake ")]

    assert len(commands) >= 5
    for command in commands:
        parser.parse_args(shlex.split(command)[1:])


@pytest.fixture(scope="module")
def beginner(tmp_path_factory):
    """A reader of the tutorial who does what it says, and runs the small version alone: their folder, and what was said to them."""
    folder, said = tmp_path_factory.mktemp("tutorial"), ""
    for language, block in re.findall(r"```(toml|sh)\n(.*?)```", TUTORIAL, re.DOTALL):
        if language == "toml":
            (folder / "my-study.toml").write_text(block, encoding="utf-8")
        for line in block.splitlines() if language == "sh" else ():
            if line.startswith("sweepstake ") and line != "sweepstake run my-study.toml":
                command = f"{shlex.quote(sys.executable)} -m {line.replace('results', 'results --quick')}"
                done = subprocess.run(command, shell=True, cwd=folder, env=HERE, capture_output=True, text=True, timeout=200)
                assert done.returncode == 0, (line, done.stderr)
                said += done.stdout + done.stderr
    return folder, said


def test_the_tutorials_commands_do_what_it_says(beginner):
    folder, said = beginner
    shown = [line for block in snippets(TUTORIAL, "text") for line in block.splitlines()]

    assert len(shown) == 4 and [line for line in shown if line not in said] == []
    assert (folder / "reports" / "my-study-quick" / "report.html").exists()
    assert (folder / "rows.csv").read_text(encoding="utf-8").startswith("id,reset,seed,status,round,kept_fraction")


@pytest.mark.long
def test_the_commands_of_the_pages_on_figures_and_on_what_survives_write_what_they_say(tmp_path):
    """In small: every command with --quick, in a folder with the tutorial's study."""
    (tmp_path / "my-study.toml").write_text(snippets(TUTORIAL, "toml")[-1], encoding="utf-8")
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("figures.md", "what-survives.md")]
    lines = [line.partition("#")[0] for page in pages for block in snippets(page, "sh") for line in block.splitlines()
             if line.startswith("sweepstake ")]

    assert len(lines) >= 7
    for line in ["sweepstake run demo", "sweepstake run my-study.toml", *lines]:
        command = shlex.split(line.replace("--round 8", "--round 2"))[1:]
        done = subprocess.run([sys.executable, "-m", "sweepstake", *command, "--quick"], cwd=tmp_path, env=HERE, capture_output=True, text=True,
                              timeout=200)
        assert done.returncode == 0, (line, done.stderr)
        if "--out" in command:
            assert (tmp_path / command[command.index("--out") + 1]).stat().st_size > 1000, line


def test_the_tutorials_numbers_are_those_of_the_readme():
    readme = " ".join(README.split())

    assert "+5.83 points (95 % interval +4.64 to +7.03, over 5 seeds)" in TUTORIAL
    assert "above the network drawn anew (95 % interval 4.6 to 7.0)" in readme and "5.8 points" in readme


def test_readmes_python_runs(tmp_path):
    code = "\n".join(snippets(README, "python"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200,
                          env=HERE)

    assert done.returncode == 0, done.stderr[-2000:]


def test_the_site_builds_without_a_warning_and_every_page_is_in_its_sidebar(tmp_path):
    """A link that leads nowhere is a warning, to a heading too."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-c", "docs", "-d", tmp_path / "read", ".", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stderr) == (0, "")

    door, first = (tmp_path / "site" / page for page in ("index.html", "docs/index.html"))
    assert "url=docs/index.html" in door.read_text(encoding="utf-8")
    entries = re.findall(r'<li class="toctree-l1"><a class="reference internal" href="([^"]+)">', first.read_text(encoding="utf-8"))
    pages = {page.name.replace(".md", ".html") for page in PAGES} - {"README.html", "index.html"}
    assert {Path(entry).name for entry in entries} == pages | {"CHANGELOG.html"}
    fetched = re.compile(r'(src|href)="https?://[^"]+\.(js|css|woff2?)"')
    assert [path for path in (tmp_path / "site").rglob("*.html") if fetched.search(path.read_text(encoding="utf-8"))] == []


def test_readme_is_short_and_leads_to_every_page_a_newcomer_needs():
    assert len(README.splitlines()) <= 150
    assert [page for page in ("tutorial", "own-pieces", "data", "tickets", "cluster", "sharing", "study-file", "pieces", "cli", "python", "results",
                              "method", "statistics", "rely-on", "findings", "studies") if f"](docs/{page}.md)" not in README] == []


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
