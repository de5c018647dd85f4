"""The page about tickets: its snippets run, one after the other, and print what it shows."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).parents[2] / "docs" / "tickets.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(title))


def test_the_snippet_of_a_search_keeps_as_many_weights_as_the_page_says(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = section("In a network of your own")
    code, shown = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("python", "text"))
    assert code.count("epochs=3") == 1
    with torch.random.fork_rng():
        exec(compile(code.replace("epochs=3", "epochs=1"), "docs/tickets.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_the_snippets_about_your_own_loop_run_and_print_what_the_page_shows(capsys):
    text = section("Masks in your own training loop")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    names = {}
    assert len(code) == 4
    with torch.random.fork_rng():
        for each in code:
            exec(compile(each, "docs/tickets.md", "exec"), names)
    assert capsys.readouterr().out == shown[0] + "1,480 of 7,400\n"
