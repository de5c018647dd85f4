"""A chart in Python: it shows itself in a notebook, and is saved at the size in which it is printed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepstake.read import figures
from sweepstake.read.figures import Spec, paper

MIME = f"application/vnd.vegalite.v{figures.VEGALITE.split('.')[0]}+json"


@dataclass(frozen=True, repr=False)
class Chart:
    """One figure, as `results.plot()` and `sweepstake.plot()` make it."""

    spec: Spec
    """The figure as Vega-Lite: a plain dict."""
    told: list[str] = field(default_factory=list)
    """What it shows, for a caption: its title, over how many seeds, what its bars are, and every source."""
    size: paper.Paper | None = None
    """Its printed size; None: as the report shows it."""

    @property
    def caption(self) -> str:
        return " ".join(one if one.endswith(".") else f"{one}." for one in self.told)

    def svg(self) -> str:
        return paper.svg(self.spec, self.size) if self.size else figures.to_svg(self.spec)

    def save(self, path: str | Path, dpi: int = 300) -> Path:
        """Write it as .svg, .pdf or .png, by the path's end; `dpi` is of a PNG."""
        if self.size:
            return paper.write(self.spec, self.size, path, dpi)
        path = Path(path)
        ending = paper.check_ending(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == "png":
            return figures.to_png(self.spec, path, dpi / 96)
        (figures.to_svg if ending == "svg" else figures.to_pdf)(self.spec, path)
        return path

    def __repr__(self) -> str:
        size = f", {self.size.width:g} pt wide" if self.size else ""
        return f"<Chart: {self.told[0] if self.told else 'a figure'}{size}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """For notebooks: the figure itself, and its picture where no Vega-Lite 6 is at hand."""
        return {"image/svg+xml": self.svg(), MIME: self.spec, "text/plain": repr(self)}
