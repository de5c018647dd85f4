"""Draw the tutorial's pictures anew: python docs/pictures.py. It trains for a minute, and needs Chromium for the picture of a report.

The figures are of the study that the tutorial shows, and docs/report.png is the first screen of the demo's report.
"""

import re
import shutil
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import sweepstake as ss
from sweepstake.base.specs import FigureSpec
from sweepstake.read import analysis, figures
from sweepstake.read.publish import slim
from sweepstake.study.study import read_study

DOCS = Path(__file__).resolve().parent
DRAWN = {
    "tutorial-accuracy.svg": FigureSpec(kind="accuracy_by_kept", title="Test accuracy, mean of five seeds", error="ci"),
    "tutorial-curves.svg": FigureSpec(kind="learning_curves", title="Learning curves: test accuracy", every=5),
}
WIDTH, HEIGHT = 1280, 800


def main() -> None:
    text = re.findall(r"```toml\n(.*?)```", (DOCS / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)[-1]
    study = read_study(tomllib.loads(text), name="my-study", text=text)
    with TemporaryDirectory() as store:
        results = ss.run_study(study, store)
        rows, curves = results.rows(), analysis.curves(results.cells)
        report = ss.run_study("demo", store).report(Path(store) / "report")
        photograph(report, DOCS / "report.png")
    for name, figure in DRAWN.items():
        spec = figures.draw(figure, rows, curves, study.axes)
        assert spec is not None
        (DOCS / name).write_text(slim(figures.to_svg(spec)), encoding="utf-8")
    print([verdict.reason for verdict in results.verdicts()])


def photograph(page: Path, picture: Path) -> None:
    """The first screen of a page, in Chromium without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
        opened = context.new_page()
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("figure svg, figure canvas")
        opened.wait_for_timeout(1000)
        opened.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
