"""A spec as a file: SVG for pages, PDF for papers, PNG."""

from pathlib import Path

from sweepstake.read.figures.style import VEGALITE, Spec
from sweepstake.run.files import write_text, write_whole


def to_svg(spec: Spec, path: Path | str | None = None) -> str:
    """The figure as SVG; written to the path if one is given."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE, allowed_base_urls=[])
    if path is not None:
        write_text(Path(path), svg)
    return svg


def to_pdf(spec: Spec, path: Path | str) -> Path:
    """The figure as a PDF for papers: text stays text."""
    import vl_convert

    write_whole(Path(path), vl_convert.vegalite_to_pdf(spec, vl_version=VEGALITE, allowed_base_urls=[]))
    return Path(path)


def to_png(spec: Spec, path: Path | str, scale: float = 2.0) -> Path:
    """The figure as a bitmap."""
    write_whole(Path(path), bitmap(spec, scale))
    return Path(path)


def bitmap(spec: Spec, scale: float) -> bytes:
    """The bytes of that PNG, so many pixels a pixel."""
    import vl_convert

    return vl_convert.vegalite_to_png(spec, vl_version=VEGALITE, scale=scale, allowed_base_urls=[])
