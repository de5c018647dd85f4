"""results/ against the code and the pages: what is published is what the rows and the shipped studies give."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.specs import ClaimSpec
from sweepstake.read import claims
from sweepstake.read.findings import BLOCK, ORDER, Published, filled, page, published
from sweepstake.read.publish import LARGEST, publish, verdict_table
from sweepstake.study.study import load_study, shipped_studies
from tests.read.fakes import FakeStudy, fake_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
HERE = published(RESULTS)
SHIPPED = [study for study in HERE if study.provenance["study"] in shipped_studies()]


def test_the_pages_are_exactly_what_results_give():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == page(RESULTS, ROOT / "docs").rstrip() + "\n", "run `make docs`"
    assert BLOCK.search(readme) and filled(readme, RESULTS, ROOT) == readme, "run `make docs`"


def test_every_shipped_study_but_the_demo_is_run_by_make_studies_in_the_pages_order():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = re.findall(r"^STUDIES := ((?:.*\\\n)*.*)", makefile, re.MULTILINE)[0].replace("\\", " ").split()

    assert tuple(run) == ORDER
    assert set(shipped_studies()) - {"demo"} <= set(ORDER)


@pytest.mark.parametrize("study", HERE, ids=lambda study: study.name)
def test_what_is_published_is_whole_and_light(study: Published):
    assert (study.folder / "verdicts.md").read_text(encoding="utf-8").count(verdict_table(study.verdicts)) == 1
    assert [path.name for path in study.folder.glob("figures/*.svg") if path.stat().st_size > LARGEST] == []
    assert sorted(f"figures/{path.name}" for path in study.folder.glob("figures/*")) == sorted(o["file"] for o in study.provenance["figures"])


@pytest.mark.parametrize("study", SHIPPED, ids=lambda study: study.name)
def test_no_published_study_has_changed_since(study: Published):
    assert not study.stale, f"results/{study.name} is stale: the study file has changed since. Run `sweepstake publish {study.name}`."


@pytest.mark.parametrize("study", SHIPPED, ids=lambda study: study.name)
def test_published_verdicts_are_those_of_the_published_rows(study: Published):
    if study.stale or not study.provenance["whole"]:
        pytest.skip("not the shipped study as it is")
    assert differing(study, load_study(study.provenance["study"])) == []


def differing(study: Published, asked: Any) -> list[str]:
    """The claims whose published verdict is not what judging the published rows gives."""
    parquet = pytest.importorskip("pyarrow.parquet")
    again = json.loads(json.dumps(claims.table(claims.judge(asked, parquet.read_table(study.folder / "rows.parquet").to_pylist()))))
    assert [one["claim"] for one in again] == [one["claim"] for one in study.verdicts]
    return [one["claim"] for one, kept in zip(again, study.verdicts, strict=True)
            if any(kept.get(key) != (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value)
                   for key, value in one.items())]


def test_a_changed_verdict_row_or_figure_would_be_found(tmp_path: Path):
    asked = FakeStudy(name="demo", axes={"init": ["a", "b"]}, claims=[
        ClaimSpec(name="a", says="a is above b.", test="better", this={"init": "a"}, than={"init": "b"}, kept=0.0352)])
    publish(asked, fake_results(asked.axes, seeds=4), tmp_path / "demo")
    [study] = published(tmp_path)
    assert differing(study, asked) == []
    test_what_is_published_is_whole_and_light(study)
    assert study.stale  # Its text is not the shipped demo's.

    effect = study.verdicts[0]["effect"]
    assert differing(study._replace(verdicts=[{**study.verdicts[0], "effect": effect + 0.001}]), asked) == ["a"]
    assert differing(study._replace(verdicts=[{**study.verdicts[0], "n": 5}]), asked) == ["a"]
    with pytest.raises(AssertionError):
        test_what_is_published_is_whole_and_light(study._replace(verdicts=[{**study.verdicts[0], "shown": "+9.99 points"}]))
    with pytest.raises(AssertionError, match="stale"):
        test_no_published_study_has_changed_since(study)
    (study.folder / "figures" / "9-old.svg").write_text("<svg/>")
    with pytest.raises(AssertionError):
        test_what_is_published_is_whole_and_light(study)


def test_a_page_that_says_another_number_would_be_found(tmp_path: Path):
    asked = FakeStudy(name="demo", axes={"init": ["a", "b"]}, claims=[ClaimSpec(says="It ends at 90 %.", test="about", value=0.9, margin=0.02)])
    publish(asked, fake_results(asked.axes, seeds=4), tmp_path / "demo")
    text = page(tmp_path, tmp_path)
    verdicts = json.loads((tmp_path / "demo" / "verdicts.json").read_text())
    (tmp_path / "demo" / "verdicts.json").write_text(json.dumps([{**one, "shown": "99.99 %"} for one in verdicts]))

    assert "99.99 %" not in text
    assert page(tmp_path, tmp_path) != text
