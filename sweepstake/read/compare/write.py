"""A comparison's files: the page, the rows, the figures, and each pair's study to run again."""

from collections.abc import Sequence
from pathlib import Path

from sweepstake.read import analysis, figures
from sweepstake.read.compare.numbers import Outcome
from sweepstake.read.compare.page import drawing, page
from sweepstake.run.files import clear_abandoned, write_text, write_whole
from sweepstake.study.compare import Comparison
from sweepstake.study.study import Study


def write_studies(asked: Comparison, studies: Sequence[Study], folder: Path) -> None:
    """Each pair's study file, with the criteria's own files beside them: enough to run it again."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_abandoned(folder)
    for study in studies:
        write_text(Path(study.path), study.text)
    for file in asked.files:
        if file.resolve() != (folder / file.name).resolve():
            write_whole(folder / file.name, file.read_bytes())


def write_comparison(asked: Comparison, outcomes: Sequence[Outcome], folder: Path, command: str,
                     warnings: Sequence[str]) -> Path:
    """The page, its rows and its figures; returns the page's path."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    clear_abandoned(folder / "figures")
    write_text(folder / "rows.csv", analysis.to_csv([row for outcome in outcomes for row in outcome.rows]))
    for outcome in outcomes:
        if (spec := drawing(outcome)) is not None:
            name = folder / "figures" / Path(outcome.study.path).stem
            figures.to_svg(spec, name.with_suffix(".svg"))
            figures.to_pdf(spec, name.with_suffix(".pdf"))
    write_text(folder / "compare.html", page(asked, outcomes, command, warnings))
    return folder / "compare.html"
