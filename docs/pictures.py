"""Draw the tutorial's figures anew, from the study that the tutorial shows: python docs/pictures.py. It trains for a quarter of a minute."""

import re
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


def main() -> None:
    text = re.findall(r"```toml\n(.*?)```", (DOCS / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)[-1]
    study = read_study(tomllib.loads(text), name="my-study", text=text)
    with TemporaryDirectory() as store:
        results = ss.run_study(study, store)
        rows, curves = results.rows(), analysis.curves(results.cells)
    for name, figure in DRAWN.items():
        spec = figures.draw(figure, rows, curves, study.axes)
        assert spec is not None
        (DOCS / name).write_text(slim(figures.to_svg(spec)), encoding="utf-8")
    print([verdict.reason for verdict in results.verdicts()])


if __name__ == "__main__":
    main()
