"""What somebody else wrote: refused in one line when a study is read, or shown everywhere as the text that it is."""

import base64
import csv
import gzip
import io
import json
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.text import HIDDEN
from sweepstake.read import analysis, claims, figures, findings, publish, report
from sweepstake.read.page import document
from sweepstake.read.page.document import told
from sweepstake.run.progress import LineDisplay, NotebookDisplay, Tally, Terminal
from sweepstake.study.study import Study, read_study
from tests.read.fakes import fake_results

NASTY = ["relu [/leaky]", "[bold]x[/]", "\x1b[31mred\x1b[0m", "\x00", "<script>alert(1)</script>", "[x](javascript:alert(1))", "=cmd|' /C calc'!A0",
         "-0.3", "@x", "a|b", "]]>", "<!--", "\u2028", "\u202egnp", "`code`", "*a* _b_ **c** ~~d~~", "&lt;b&gt;", "\\<b>", "![i](http://e.x/i.png)",
         "{{ 7 * 7 }}", "https:x",
         "</script><img src=x onerror=alert(1)>", ":smile:", "\udcff", "\x9b31m", "a\nb", "# h", "1. one", "[r]: http://e.x",
         '" onload="x', "datum.value", "\x7f", "\ufffe", "—é漢\U0001f600", " ", ""]
TEXT = some.sampled_from(NASTY) | some.text(max_size=30) | some.tuples(some.sampled_from(NASTY), some.sampled_from(NASTY)).map("".join)
GOOD = {"title": "A title", "about": "About it.", "label": "one", "case": "first", "says": "It holds.", "source": "Nobody 1900", "claim": "a",
        "figure": "A figure"}
TEXTS = some.dictionaries(some.sampled_from(list(GOOD)), TEXT, min_size=1, max_size=3).map(lambda said: {**GOOD, **said})


def study_of(texts: dict[str, str]) -> Study | None:
    """A study that says these texts; None where it is refused, in lines that can be shown."""
    first = {"init": texts["label"], "case": texts["case"]}
    try:
        return read_study({
            "title": texts["title"], "about": texts["about"], "model": {"name": "mlp", "hidden": [2]}, "steps": 1, "rounds": 2, "seeds": 2,
            "init": [{"name": "xavier_normal", "label": texts["label"]}, {"name": "zeros", "label": "other"}],
            "case": [{"label": texts["case"], "lr": 0.1}, {"label": "second", "lr": 0.2}],
            "claim": [{"says": texts["says"], "source": texts["source"], "name": texts["claim"], "test": "better", "this": first,
                       "than": {"init": "other"}, "margin": 0.9}],
            "figure": [{"title": texts["figure"]}]}, name="own", text=texts["about"])
    except UserError as error:
        assert not HIDDEN.search(str(error))
        return None


def results_of(study: Study) -> list[dict[str, Any]]:
    return fake_results(study.axes, seeds=2, rounds=2)


class Page(HTMLParser):
    """The names of a page's elements and attributes, and where its links lead."""

    def __init__(self, text: str):
        super().__init__()
        self.names, self.links = set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(f"{tag} {name}" for name, _ in attrs)}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "xlink:href")}


def shown_in_terminal(study: Study, results: list[dict[str, Any]]) -> str:
    console = Terminal(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    console.print(study.title, style="bold")
    console.print(report.terminal_table(study, analysis.tidy(results)))
    for verdict in claims.verdicts(study, results):
        console.print(f"{verdict.says}  ({verdict.reason})")
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def tokens(markdown: str) -> Iterator[Any]:
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        yield token
        yield from token.children or []


def folded(text: str) -> str:
    return " ".join(text.split())


@settings(max_examples=60, deadline=None)
@given(TEXTS)
@example({**GOOD, "label": "relu [/leaky]", "title": "[/b]", "says": "[/leaky]"})
@example({**GOOD, "title": "<script>x</script>", "says": "[x](javascript:y)", "source": "</td><b>", "claim": "`a", "label": "x|y"})
def test_any_text_is_refused_or_is_text_in_the_terminal_in_markdown_and_in_tables(texts: dict[str, str]):
    study = study_of(texts)
    if study is None:
        return
    results = results_of(study)
    said = shown_in_terminal(study, results)
    assert not HIDDEN.search(said)
    assert folded(study.title) in folded(said)
    assert folded(texts["says"]) in folded(said)

    rows = list(csv.DictReader(io.StringIO(analysis.to_csv(analysis.tidy(results)))))
    assert {(row["init"], row["case"]) for row in rows} == {(init, case) for init in (texts["label"], "other") for case in (texts["case"], "second")}
    assert json.loads(analysis.to_json(analysis.tidy(results)))[0]["init"] == texts["label"]
    for row in rows:
        assert not re.match(r"\s*[=+@-](?![0-9.inf])", row["init"] + row["case"])

    judged = [told(verdict) for verdict in claims.verdicts(study, results)]
    table = publish.verdict_table(judged)
    page = f"# {publish.cell(study.title)}\n\n{table}\n{publish.reasons(judged)}\n{publish.lines(study.about)}\n"
    assert not HIDDEN.search(page)
    found = list(tokens(page))
    assert {token.type for token in found} <= {"heading_open", "heading_close", "inline", "text", "text_special", "softbreak", "paragraph_open",
        "paragraph_close", "table_open", "thead_open", "tr_open", "th_open", "th_close", "tr_close", "thead_close", "tbody_open", "td_open",
        "td_close", "tbody_close", "table_close", "bullet_list_open", "list_item_open", "strong_open", "strong_close", "list_item_close",
        "bullet_list_close"}
    assert len([token for token in found if token.type == "td_open"]) == 5
    assert len([token for token in found if token.type in ("heading_open", "list_item_open")]) == 2
    text = ["".join(child.content for child in token.children) for token in found if token.type == "inline"]
    assert text[0] == folded(study.title)
    assert folded(texts["says"]) in text


@settings(max_examples=4, deadline=None)
@given(TEXTS)
@example({**dict.fromkeys(GOOD, "</script><img src=x onerror=alert(1)>"), "label": "<b>", "case": "]]>"})
@example({**GOOD, "label": "relu [/leaky]", "case": '" onload="x', "figure": "<!-- &amp;"})
def test_any_text_is_refused_or_is_text_on_the_page_and_in_its_figures(texts: dict[str, str]):
    study = study_of(texts)
    if study is None:
        return
    results = results_of(study)
    reading = document.read(study, results)
    text = document.page(study, results, reading)
    for _, spec in reading.drawn:
        ElementTree.fromstring(figures.to_svg(spec))
    own = re.sub(r"(<script>).*?(</script>)", r"\1\2", text, flags=re.DOTALL)  # Vega itself is a program, not a text.
    assert not HIDDEN.search(own)
    page = Page(text)
    assert not [name for name in page.names if name.split()[0] in ("img", "b2", "iframe") or " on" in name]
    assert not page.links
    packed = re.findall(r'<script type="text/plain" class="spec">(.*?)</script>', text)
    specs = [gzip.decompress(base64.b64decode(spec)) for spec in packed]
    assert {point["group"] for point in json.loads(specs[0])["data"]["values"]} == {texts["label"], "other"}


@pytest.mark.parametrize("key", list(GOOD))
@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x00", "a\x9b", "a\u202eb", "a\u2028b", "a\udcffb"])
def test_a_hidden_character_is_refused_by_its_place_when_the_study_is_read(key: str, text: str):
    with pytest.raises(UserError) as refused:
        read_study({"title": text} if key == "title" else {"about": text} if key == "about" else {
            "init": [{"name": "zeros", "label": text}]} if key in ("label", "case") else {
            "figure": [{"title": text}]} if key == "figure" else {"claim": [{key if key != "claim" else "name": text}]}, name="own")
    (said,) = refused.value.problems
    assert said.startswith("own: ")
    assert "holds the character \\u" in said or "holds a byte (0xff) that is not UTF-8" in said


@pytest.mark.parametrize("label", ["=1+1", "+x", "-x", "@x", " =x", "\uff1dx", "a\nb", "a\tb"])
def test_a_label_that_a_spreadsheet_would_run_or_break_is_refused(label: str):
    for axes in ({"init": [{"name": "zeros", "label": label}, "normal"]}, {"case": [{"label": label, "lr": 0.1}, {"label": "x", "lr": 0.2}]}):
        with pytest.raises(UserError, match="label .* (begins with|is one line)"):
            read_study({"steps": 1, **axes}, name="own")


def test_a_negative_number_is_no_formula():
    study = read_study({"steps": 1, "init": [{"name": "zeros", "label": "-0.3"}, {"name": "normal", "label": "+1e5"}]}, name="own")
    assert study.axes == {"init": ["-0.3", "+1e5"]}


def test_what_only_a_store_or_a_plug_in_says_is_shown_as_text():
    study = study_of(GOOD)
    assert study
    results = results_of(study)
    for result in results:
        result["status"], result["error"] = "failed", "\x1b]0;owned\x07</pre><script>x</script>"
        for record in result["rounds"]:
            for part in ("kept_by_layer", "size_by_layer", "units_by_layer", "alive_units", "degrees"):
                record[part] = {f"fc\x00{layer}\x1b<b>": value for layer, value in record[part].items()}
    results[0]["status"] = "done"
    results[0]["provenance"]["machine"] = {"cpu": "\x1b[31m<i>CPU</i>"}
    with tempfile.TemporaryDirectory() as folder:
        text = report.write_report(study, results, folder).read_text(encoding="utf-8")
        table = (Path(folder) / "rows.csv").read_text(encoding="utf-8")
    own = re.sub(r"(<script>).*?(</script>)", r"\1\2", text, flags=re.DOTALL)
    assert not HIDDEN.search(own)
    assert "\\u001b]0;owned\\u0007&lt;/pre&gt;&lt;script&gt;" in own
    assert "i" not in Page(text).names
    assert "kept.fc\\u0000fc1\\u001b<b>" in table
    drawn = figures.framed("t\x00", ["s"], [{"layer": "a\x00b"}], {"layer": ["\x07"]})
    assert not HIDDEN.search("".join(re.findall(r"'[^']*'", repr(drawn)))) and "\\u0000" in drawn["title"]["text"]


def test_an_event_is_shown_as_text():
    stream = io.StringIO()
    lines = LineDisplay(Tally(), stream)
    lines(events.Plan(cells=1, missing=1, rounds={"a": 1}, begun={}, labels={"a": "[/x]"}, stage="<b>\x1b"))
    lines(events.Failed("a", "\x1b[2J[/red]"))
    with lines:
        pass
    assert stream.getvalue().startswith("failed: [/x]: \\u001b[2J[/red]\n<b>\\u001b · ")
    assert "&lt;b&gt;\\u001b" in NotebookDisplay(lines.tally)._draw()


def test_the_page_of_findings_is_text(tmp_path: Path):
    pytest.importorskip("pyarrow")
    about = "# h\n- [x](javascript:y)\n<img src=x>\n1. one"
    study = study_of({**GOOD, "title": "<script>x</script>", "about": about, "says": "<b>`", "figure": "](x)"})
    assert study
    publish.publish(study, results_of(study), tmp_path / "own")
    page = findings.page(tmp_path, tmp_path)
    assert [token.content for token in tokens(page) if token.type in ("html_inline", "html_block")
            and not re.fullmatch(r"<!-- Written by .* -->\n|<details><summary>[^<]*</summary>\n|</details>\n", token.content)] == []
    assert not [token for token in tokens(page) if token.type == "link_open" and "javascript" in str(token.attrs)]
    assert "&#60;script>x&#60;/script>" in page
