"""The report: the page, and beside it the figures, the rows and the verdicts, each a file."""

import hashlib
import json
from pathlib import Path

from sweepstake.read import analysis, claims, figures
from sweepstake.read.analysis import StudyLike
from sweepstake.read.means import terminal_table as terminal_table
from sweepstake.read.page.document import Results, page, read
from sweepstake.run.files import clear_abandoned, write_text
from sweepstake.run.store import Store


def folder_name(study: StudyLike) -> str:
    """The study's name; one that is not as written has a folder of its own, so that it replaces no other report."""
    digest = hashlib.sha256("\n".join(study.overrides).encode()).hexdigest()[:6] if study.overrides else ""
    return "-".join([study.name, *(["quick"] if study.quick else []), *([digest] if digest else [])])


def write_report(study: StudyLike, results: Results, folder: Path | str | None = None,
                 store: Store | None = None, data: Path | str | None = None) -> Path:
    """The page, figures, rows, summary and verdicts in the folder (else reports/STUDY); returns the page's path.

    With the store that the results are of, the page shows what survives by their masks, and images of their data set,
    which is looked for in `data` first.
    """
    folder = Path(folder or Path("reports") / folder_name(study))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    clear_abandoned(folder)
    clear_abandoned(folder / "figures")
    found = read(study, results)
    write_text(folder / "rows.csv", analysis.to_csv(found.rows))
    if found.groups:
        write_text(folder / "summary.csv", analysis.to_csv(found.groups))
    write_text(folder / "verdicts.json", json.dumps(claims.table(found.verdicts), indent=1) + "\n")
    for name, spec in found.drawn:
        figures.to_svg(spec, folder / "figures" / f"{name}.svg")
        figures.to_pdf(spec, folder / "figures" / f"{name}.pdf")
    if searched := getattr(study, "searched", None):
        write_text(folder / "search.json", json.dumps(searched, indent=1) + "\n")
    write_text(folder / "report.html", page(study, results, found, store, data=data))
    return folder / "report.html"
