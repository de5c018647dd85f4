"""The page about tickets: its snippets run, section after section, and print what it shows."""

import os
import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[2] / "docs" / "tickets.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(title))


def run(title: str, names: dict) -> str:
    """Run a section's snippets; what they are to print."""
    text = section(title)
    with torch.random.fork_rng():
        for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(each, f"docs/tickets.md, {title}", "exec"), names)
    return "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def here(tmp_path):
    was = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(was)


def test_the_snippets_about_your_own_loop_run_and_print_what_the_page_shows(capsys):
    shown = run("Masks in your own training loop", {})
    assert capsys.readouterr().out == shown + "1,480 of 7,400\n"


def test_a_ticket_is_found_kept_made_small_and_exported_as_the_page_says(here, capsys):
    names = {}
    shown = run("In a network of your own", names)
    assert capsys.readouterr().out == shown
    run("Keep it in a file", names)
    names["example"] = names["x"][:64]
    run("Make it small and fast", names)
    assert "time, batch 64" in capsys.readouterr().out
    run("Export", names)
    assert (here / "ticket.onnx").exists()


def test_a_ticket_of_a_study_is_as_the_page_says(here):
    import sweepstake as ss

    ss.run_study(ss.load_study("demo", quick=True), "runs", progress=False)
    text = section("Out of a study").replace('ss.load_results("demo", "runs")', 'ss.load_results(ss.load_study("demo", quick=True), "runs")')
    names = {"ss": ss}
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code.replace(", round=15", ""), "docs/tickets.md", "exec"), names)
    assert names["ticket"].masks["fc1.weight"].shape == names["module"].fc1.weight.shape
