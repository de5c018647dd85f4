"""A figure at the size in which it is printed: one unit of its spec is a point (1/72 inch), its fonts too.

`fitted` takes any figure of ours, whatever its kind, and gives it the size, the fonts and the colours of a page. In the
style `print` a group is told by its marker and by its dashes, and its colour has a lightness of its own, so that a copy
in black and white says the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

from sweepstake.base.errors import UserError
from sweepstake.read.figures.references import LINE
from sweepstake.read.figures.style import SHAPES, Spec, cycle
from sweepstake.read.figures.write import to_svg
from sweepstake.run.files import write_text, write_whole

Style = Literal["print", "screen"]
FORMATS = ("svg", "pdf", "png")
UNITS = {"pt": 1.0, "mm": 72 / 25.4, "cm": 72 / 2.54, "in": 72.0}
FLOORED = 0.001
"""Dots an inch more, since the converter cuts 999.9997 pixels down to 999."""
SMALLEST, LARGEST = 60.0, 2000.0
"""In points: below it nothing is legible, above it no page goes."""
LIGHTNESS: tuple[str, ...] = ("#1b1b1b", "#45207a", "#a02020", "#0a64a8", "#00876c", "#d0701a", "#4fa8d8", "#dcaf37")
"""Colours from dark to light, so that each is a grey of its own in black and white."""
DASHES = ([1, 0], [5, 1.5], [1.5, 1.5], [5, 1.5, 1, 1.5], [3, 1], [8, 2], [5, 1, 1, 1, 1, 1], [2.5, 2.5])
REFERENCE = "#8a8a8a"
NARROW, WIDE = frozenset("fijlrtI.,:;'|!()[]-/ "), frozenset("mwMW@%")


@dataclass(frozen=True)
class Paper:
    """How a figure is printed: sizes in points."""

    width: float = 240.0
    height: float | None = None
    """None: what looks well beside the width."""
    font_size: float = 8.0
    style: Style = "print"
    title: bool = False


def points(said: str | float, place: str = "width") -> float:
    """A length in points: `240pt`, `85mm`, `8.5 cm`, `3.3in`; a bare number is in points."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(said))
    unit = (found[2] or "pt") if found else ""
    if not found or unit not in UNITS:
        raise UserError(f'{place} {said}: not a length. Say a number and a unit: 240pt, 85mm, 8.5cm or 3.3in.')
    length = float(found[1]) * UNITS[unit]
    if not SMALLEST <= length <= LARGEST:
        raise UserError(f"{place} {said}: is {length:.0f} points. Say {SMALLEST:.0f}pt to {LARGEST:.0f}pt.")
    return length


def fitted(spec: Spec, paper: Paper) -> Spec:
    """The figure at its printed size: the inner width and height are sought at which the whole has it."""
    styled = _styled(spec, paper)
    panels = len(_panels(spec)) or 1
    across = min(spec.get("columns", 1), panels)
    down = -(-panels // across)
    wanted = (paper.width, paper.height)
    inner = (0.8 * paper.width / across, 0.8 * (paper.height or 0.68 * paper.width * down / across) / down)
    made = _assembled(styled, spec, paper, inner)
    for _ in range(6):
        seen = _size(to_svg(made))  # In whole points, rounded up.
        missing = [0.0 if want is None else want - has for want, has in zip(wanted, seen, strict=True)]
        if all(0 <= one < 1 for one in missing):
            break
        missing = [one - 0.5 if one < 0 else one for one in missing]
        inner = tuple(max(10.0, one + more / many)
                      for one, more, many in zip(inner, missing, (across, down), strict=True))
        made = _assembled(styled, spec, paper, inner)
    return made


def svg(spec: Spec, paper: Paper) -> str:
    """A fitted figure as SVG that says its size in points, whatever place it is shown in."""
    return _framed(to_svg(spec), paper, "pt")


def write(spec: Spec, paper: Paper, path: Path | str, dpi: int = 300) -> Path:
    """A fitted figure as SVG, PDF (its fonts embedded, its text still text) or PNG, by the path's end."""
    import vl_convert

    path = Path(path)
    ending = check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == "svg":
        write_text(path, svg(spec, paper))
        return path
    drawn = _framed(to_svg(spec), paper, "")  # The converter takes a bare number for a point.
    made = vl_convert.svg_to_pdf(drawn) if ending == "pdf" else vl_convert.svg_to_png(drawn, ppi=dpi + FLOORED)
    write_whole(path, made)
    return path


def check_ending(path: Path) -> str:
    """The format that a file's name says."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UserError(f'figure "{path}": ends in {path.suffix or "nothing"}. Say .svg, .pdf or .png.')
    return ending


def lightness(colour: str) -> float:
    """The lightness L* of a colour, from 0 (black) to 100 (white): what is left of it in black and white (CIE 1976)."""
    channels = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    y = sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


# The size

def _size(drawn: str) -> tuple[float, float]:
    found = re.search(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"', drawn)
    assert found is not None
    return float(found[1]), float(found[2])


def _framed(drawn: str, paper: Paper, unit: str) -> str:
    """The size as it was asked for, to the last digit; the drawing is less than a point smaller."""
    width, height = paper.width, paper.height or _size(drawn)[1]
    head = f'width="{width:g}{unit}" height="{height:g}{unit}" viewBox="0 0 {width:g} {height:g}"'
    drawn = re.sub(r'width="[\d.]+" height="[\d.]+" viewBox="[^"]*"', head, drawn, count=1)
    return re.sub(r'<rect width="[\d.]+" height="[\d.]+"', f'<rect width="{width:g}" height="{height:g}"', drawn,
                  count=1)


# The style

@dataclass(frozen=True)
class _Groups:
    """The groups of a figure as they are drawn, and as its legend says them."""

    field: str
    labels: list[str]
    title: str | None
    colours: list[str]
    shapes: list[str]
    dashes: list[list[float]]
    lined: bool
    """Whether there are lines, and below: whether there are markers."""
    marked: bool
    alone: frozenset[str] = frozenset()
    """Printed numbers of others: a marker, and no line."""


def _styled(spec: Spec, paper: Paper) -> tuple[list[Spec], _Groups | None]:
    """The layers as they are printed, and the groups that their legend tells."""
    layers = (spec["spec"] if "facet" in spec else spec)["layer"]
    groups = _groups(layers, spec["data"]["values"], paper.style)
    return [_layer(one, groups, paper) for one in layers if one["mark"].get("opacity") != 0], groups


def _groups(layers: Sequence[Spec], values: Sequence[Mapping[str, Any]], style: Style) -> _Groups | None:
    colour = next((one for one in _encoded(layers, "color") if "domain" in one.get("scale", {})), None)
    if colour is None:
        return None
    labels = list(colour["scale"]["domain"])
    laid = {one["group"] for one in values if one.get("reference")}
    own = [one for one in labels if one not in laid]
    printed = dict(zip(own, _spread(len(own)), strict=True))
    dashes = dict(zip(labels, cycle_dashes(len(labels)), strict=True))
    shape = next((one for one in _encoded(layers, "shape") if "range" in one.get("scale", {})), None)
    shapes = dict(zip(labels, shape["scale"]["range"] if shape else cycle(SHAPES, len(labels)), strict=True))
    seen = colour["scale"]["range"]
    legend = colour.get("legend") or {}
    return _Groups(
        colour["field"], labels, legend.get("title"),
        [printed.get(one, REFERENCE) for one in labels] if style == "print" else list(seen),
        [shapes[one] for one in labels],
        [dashes[one] if style == "print" else [3, 2] if one in laid else [1, 0] for one in labels],
        lined=any(one["mark"]["type"] == "line" for one in layers), marked=shape is not None,
        alone=frozenset(one for one in laid if shapes[one] != LINE))


def _encoded(layers: Sequence[Spec], channel: str) -> Iterator[Spec]:
    return (found for one in layers if isinstance(found := one.get("encoding", {}).get(channel), dict))


def _spread(count: int) -> list[str]:
    """So many colours, as far apart in lightness as they can be."""
    if count > len(LIGHTNESS):
        return cycle(LIGHTNESS, count)
    dark, light, left = lightness(LIGHTNESS[0]), lightness(LIGHTNESS[-1]), list(LIGHTNESS)
    found: list[str] = []
    for place in range(count):
        wanted = dark + (light - dark) * place / max(1, count - 1)
        found.append(min(left, key=lambda colour: abs(lightness(colour) - wanted)))
        left.remove(found[-1])
    return sorted(found, key=lightness)


def cycle_dashes(count: int) -> list[list[float]]:
    return [list(DASHES[place % len(DASHES)]) for place in range(count)]


THIN = {"line": 1.0, "rule": 0.6, "tick": 0.6, "point": 0.5}
"""How thick a mark's strokes are, in points."""


def _layer(layer: Spec, groups: _Groups | None, paper: Paper) -> Spec:
    """A layer that says nothing to a pointer, in the groups' colours, with strokes of a printed figure."""
    mark, encoding = dict(layer["mark"]), dict(layer["encoding"])
    kind = mark["type"]
    for key in ("tooltip", "description"):
        encoding.pop(key, None)
    if "condition" in encoding.get("opacity", {}):  # What is picked on a screen is all of it on paper.
        encoding["opacity"] = {"value": encoding["opacity"]["condition"]["value"]}
    for key in ("x", "y", "y2", "x2"):
        if isinstance(encoding.get(key), dict) and "axis" in encoding[key]:
            encoding[key] = {**encoding[key], "axis": _axis(encoding[key]["axis"])}
    if kind in THIN:
        mark["thickness" if kind == "tick" else "strokeWidth"] = THIN[kind]
    if kind == "tick":
        mark["size"] = 0.4 * paper.font_size
    if kind == "point":
        mark["size"] = (0.55 * paper.font_size) ** 2 * (2 if "shape" in mark else 1)
    if kind == "rule" and "strokeDash" in mark:
        mark["strokeDash"] = [2, 2]
    if groups is not None and encoding.get("color", {}).get("field") == groups.field:
        for channel, values in (("color", groups.colours), ("shape", groups.shapes)):
            if channel in encoding:
                encoding[channel] = {**encoding[channel], "legend": None,
                                     "scale": {"domain": groups.labels, "range": values}}
        if kind == "line" and "strokeDash" not in mark:
            encoding["strokeDash"] = {"field": groups.field, "type": "nominal", "legend": None,
                                      "scale": {"domain": groups.labels, "range": groups.dashes}}
    return {**{key: one for key, one in layer.items() if key != "params"}, "mark": mark, "encoding": encoding}


def _axis(axis: Any) -> Any:
    """An axis that a narrow figure has room for."""
    return {**axis, "labelOverlap": "greedy", "labelSeparation": 2} if isinstance(axis, dict) else axis


def _assembled(styled: tuple[list[Spec], _Groups | None], spec: Spec, paper: Paper,
               inner: tuple[float, ...]) -> Spec:
    """The legend over the figure, both at these inner sizes."""
    layers, groups = styled
    width, height = inner
    labels = _panels(spec)
    body: Spec = {"width": width, "height": height, "layer": layers}
    whole = width
    if labels:
        across, gap = min(spec["columns"], len(labels)), 1.2 * paper.font_size
        whole = across * width + (across - 1) * gap
        body = {"facet": {**spec["facet"], "header": _header(labels, width, paper)}, "columns": across, "spec": body,
                "spacing": gap, **({"resolve": spec["resolve"]} if "resolve" in spec else {})}
    legend = [_legend(groups, whole, paper.font_size)] if groups is not None and len(groups.labels) > 1 else []
    told = spec["title"]
    title: Spec = {"title": {"text": _wrapped(told["text"], paper), "subtitle": [
        line for part in told["subtitle"] for line in _wrapped(part, paper)]}} if paper.title else {}
    return {"$schema": spec["$schema"], "config": _config(paper), "padding": 1, "description": spec["description"],
            **title, "data": spec["data"], "spacing": 0.6 * paper.font_size, "vconcat": [*legend, body]}


def _panels(spec: Spec) -> list[str]:
    return spec["facet"]["sort"] if "facet" in spec else []


def _header(labels: Sequence[str], width: float, paper: Paper) -> Spec:
    """A panel's name, over several lines where it is wider than the panel."""
    wide = any(text_width(one, paper.font_size) > width for one in labels)
    return {"labelLimit": width, **({"labelExpr": "split(datum.label, ', ')"} if wide else {})}


def _wrapped(text: str, paper: Paper) -> list[str]:
    return wrap(text, max(12, int(paper.width / (0.5 * paper.font_size)))) or [""]


def _config(paper: Paper) -> Spec:
    size: dict[str, Any] = {"labelFontSize": paper.font_size, "titleFontSize": paper.font_size,
                            "titleFontWeight": "normal"}
    line = {"domainWidth": 0.6, "tickWidth": 0.6, "gridWidth": 0.4, "domainColor": "black", "tickColor": "black",
            "labelColor": "black", "titleColor": "black"}
    return {"font": "Helvetica, Arial, 'Liberation Sans', sans-serif", "background": "white",
            "view": {"stroke": None}, "concat": {"spacing": 0.6 * paper.font_size},
            "axis": {**size, **line, "gridOpacity": 0.5, "tickSize": 0.35 * paper.font_size, "titlePadding": 3,
                     "labelPadding": 2},
            "header": {**size, "labelPadding": 2, "labelColor": "black"}, "text": {"fontSize": paper.font_size},
            "title": {"fontSize": paper.font_size, "subtitleFontSize": paper.font_size, "anchor": "start",
                      "frame": "bounds", "offset": 0.6 * paper.font_size}}


# The legend

def text_width(text: str, font_size: float) -> float:
    """About how wide a text is in Helvetica."""
    return font_size * sum(0.33 if one in NARROW else 0.86 if one in WIDE else 0.68 if one.isupper() else 0.56
                           for one in text)


def _legend(groups: _Groups, width: float, font_size: float) -> Spec:
    """A line with its dashes, a marker and a name for each group.

    Drawn as marks: a legend of Vega's has one symbol an entry, of a line or of a marker.
    """
    line, gap = 2.6 * font_size, 0.5 * font_size
    widest = max(text_width(one, font_size) for one in groups.labels) + line + 2 * gap
    columns = max(1, min(len(groups.labels), int((width + gap) // widest)))
    rows = -(-len(groups.labels) // columns)
    step, high = max(widest, width / columns) if columns > 1 else width, 1.3 * font_size
    headed = int(groups.title is not None)
    entries = [{"entry": label, "x": (place % columns) * step, "mid": (place % columns) * step + line / 2,
                "end": (place % columns) * step + line, "text": (place % columns) * step + line + gap,
                "y": (place // columns + headed + 0.5) * high} for place, label in enumerate(groups.labels)]

    def at(field: str) -> Spec:
        return {"field": field, "type": "quantitative", "axis": None,
                "scale": {"domain": [0, width], "nice": False, "zero": False}}

    def of(values: Sequence[Any]) -> Spec:
        return {"field": "entry", "type": "nominal", "legend": None,
                "scale": {"domain": groups.labels, "range": list(values)}}

    whole = (rows + headed) * high
    y = {"field": "y", "type": "quantitative", "axis": None,
         "scale": {"domain": [whole, 0], "nice": False, "zero": False}}
    layers: list[Spec] = []
    if groups.lined:
        lined = [label for label in groups.labels if label not in groups.alone]
        layers.append({"transform": [{"filter": {"field": "entry", "oneOf": lined}}],
                       "mark": {"type": "rule", "strokeWidth": THIN["line"], "aria": False},
                       "encoding": {"x": at("x"), "x2": {"field": "end"}, "y": y, "color": of(groups.colours),
                                    "strokeDash": of(groups.dashes)}})
    if groups.marked:
        layers.append({"transform": [{"filter": {"field": "entry", "oneOf": _marked(groups)}}],
                       "mark": {"type": "point", "filled": True, "opacity": 1, "size": (0.55 * font_size) ** 2,
                                "aria": False},
                       "encoding": {"x": at("mid"), "y": y, "color": of(groups.colours), "shape": of(groups.shapes)}})
    layers.append({"mark": {"type": "text", "align": "left", "baseline": "middle", "limit": step - line - gap},
                   "encoding": {"x": at("text"), "y": y, "text": {"field": "entry"}}})
    if groups.title is not None:
        layers.append({"data": {"values": [{"entry": groups.title, "text": 0, "y": high / 2}]},
                       "mark": {"type": "text", "align": "left", "baseline": "middle"},
                       "encoding": {"x": at("text"), "y": y, "text": {"field": "entry"}}})
    return {"data": {"values": entries}, "width": width, "height": whole, "view": {"stroke": None}, "layer": layers,
            "resolve": {"scale": {"color": "independent", "shape": "independent", "strokeDash": "independent"}}}


def _marked(groups: _Groups) -> list[str]:
    """The groups whose points are drawn: a reference has none."""
    return [label for label, shape in zip(groups.labels, groups.shapes, strict=True) if shape != LINE]
