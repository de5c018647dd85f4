"""A figure against weights remaining as a chart of the presentation itself: its numbers can be edited there."""

from collections.abc import Sequence
from math import ceil, floor, log2, log10
from typing import Any

from sweepstake.read.analysis import Row
from sweepstake.read.figures import Spec
from sweepstake.read.figures.style import GREY, PALETTE
from sweepstake.read.slides.deck import SMALLEST, Place, Slide

KINDS = ("accuracy_by_kept", "early_stop_by_kept")
MARKERS = ("CIRCLE", "SQUARE", "TRIANGLE", "DIAMOND", "PLUS", "X", "STAR", "DASH")
NAMESPACE = "http://schemas.openxmlformats.org/drawingml/2006/chart"


LINE = (f'<c:spPr xmlns:c="{NAMESPACE}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">'
        '<a:ln w="15875"><a:solidFill><a:srgbClr val="{colour}"/></a:solidFill></a:ln></c:spPr>')


def is_native(spec: Spec) -> bool:
    """Whether the figure is one that this file draws."""
    return spec.get("usermeta", {}).get("kind") in KINDS


def panels_of(spec: Spec) -> dict[str, list[Row]]:
    """The figure's points by panel, in the panels' order; one without a name where it has none."""
    points = spec["data"]["values"]
    facet = spec.get("facet")
    if facet is None:
        return {"": points}
    return {label: [point for point in points if point["panel"] == label] for label in facet["sort"]}


def add_chart(slide: Slide, spec: Spec, points: Sequence[Row], place: Place) -> None:
    """Lines with points and error bars, a series a group, and grey ones of references; dense on the left."""
    from pptx.chart.data import XyChartData  # pyright: ignore[reportMissingImports]
    from pptx.enum.chart import XL_AXIS_CROSSES, XL_CHART_TYPE, XL_LEGEND_POSITION  # pyright: ignore[reportMissingImports]
    from pptx.util import Inches, Pt  # pyright: ignore[reportMissingImports]

    made, data = spec["usermeta"], XyChartData()
    ours = [point for point in points if "mean" in point]
    labels = [*made["groups"], *dict.fromkeys(point["group"] for point in points if "reference" in point)]
    groups = {label: [point for point in points if point["group"] == label] for label in labels}
    groups = {label: some for label, some in groups.items() if some}
    for label, some in groups.items():
        series = data.add_series(label)
        for point in some:
            series.add_data_point(point["kept"], point.get("mean", point.get("reference")))
    frame = slide.made.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER_LINES, *map(Inches, place), data)
    frame._element.nvGraphicFramePr.cNvPr.set("descr", spec["description"])
    chart = frame.chart
    chart.has_title, chart.has_legend = False, len(groups) > 1
    chart.font.size = Pt(SMALLEST)
    if chart.has_legend:
        chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.RIGHT, False
    for number, (series, some) in enumerate(zip(chart.plots[0].series, groups.values(), strict=True)):
        if "reference" in some[0]:
            _style(series, GREY, number, dashed=True)
        else:
            _style(series, PALETTE[number % len(PALETTE)], number)
            _bars(series, some)
    x, y = chart.category_axis, chart.value_axis
    _title(x, "weights remaining (%)")
    _title(y, _y_title(spec))
    x.reverse_order, x.crosses, x.has_major_gridlines = True, XL_AXIS_CROSSES.MAXIMUM, False
    x.tick_labels.number_format, x.tick_labels.number_format_is_linked = "[<99]0.0;0", False
    if made["x"] == "log":
        _logarithmic(x, min(point["kept"] for point in ours))
    else:
        x.maximum_scale = 100
    reached = [each[end] for each in points for end in ("lo", "hi", "reference") if end in each]
    low, high, step = axis(*(_domain(spec) or (min(reached), max(reached))))
    y.minimum_scale, y.maximum_scale, y.major_unit = low, high, step
    y.tick_labels.number_format, y.tick_labels.number_format_is_linked = "General", False


def axis(low: float, high: float) -> tuple[float, float, float]:
    """Round ends of an axis and the step between its marks, of which there are about five."""
    rough = max(high - low, 1e-6) / 5
    size = 10 ** floor(log10(rough))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= rough)
    return round(floor(low / step) * step, 9), round(ceil(high / step) * step, 9), round(step, 9)


def _domain(spec: Spec) -> tuple[float, float] | None:
    """Where the figure clips its axis, its ends."""
    if not spec["usermeta"]["clip"]:
        return None
    layers = spec.get("layer") or spec["spec"]["layer"]
    low, high = layers[-1]["encoding"]["y"]["scale"]["domain"]
    return low, high


def _y_title(spec: Spec) -> str:
    layers = spec.get("layer") or spec["spec"]["layer"]
    return layers[-1]["encoding"]["y"]["title"]


def _title(axis: Any, text: str) -> None:
    from pptx.util import Pt  # pyright: ignore[reportMissingImports]

    axis.axis_title.text_frame.text = text
    font = axis.axis_title.text_frame.paragraphs[0].runs[0].font
    font.size, font.bold = Pt(SMALLEST), False


def _logarithmic(axis: Any, least: float) -> None:
    """Of two, so that marks stand at 100, 50, 25 %. The library has no word for it."""
    from lxml import etree  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    scaling = axis._element.find(f"{{{NAMESPACE}}}scaling")
    base = etree.Element(f"{{{NAMESPACE}}}logBase", val="2")
    scaling.insert(0, base)
    axis.maximum_scale, axis.major_unit = 100, 2
    axis.minimum_scale = 100 / 2 ** max(1, ceil(log2(100 / least) - 1e-6))


def _style(series: Any, hue: str, number: int, dashed: bool = False) -> None:
    from pptx.dml.color import RGBColor  # pyright: ignore[reportMissingImports]
    from pptx.enum.chart import XL_MARKER_STYLE  # pyright: ignore[reportMissingImports]
    from pptx.enum.dml import MSO_LINE  # pyright: ignore[reportMissingImports]
    from pptx.util import Pt  # pyright: ignore[reportMissingImports]

    colour = RGBColor.from_string(hue.lstrip("#").upper())
    series.smooth = False
    series.format.line.width, series.format.line.color.rgb = Pt(2.25), colour
    if dashed:
        series.format.line.dash_style = MSO_LINE.DASH
    series.marker.style, series.marker.size = getattr(XL_MARKER_STYLE, MARKERS[number % len(MARKERS)]), 8
    series.marker.format.fill.solid()
    series.marker.format.fill.fore_color.rgb = series.marker.format.line.color.rgb = colour


def _bars(series: Any, points: Sequence[Row]) -> None:
    """The figure's error bars. The library has no word for them, either."""
    from lxml import etree  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    from pptx.oxml import parse_xml  # pyright: ignore[reportMissingImports]

    if all(point["lo"] == point["hi"] for point in points):
        return
    bars = etree.Element(f"{{{NAMESPACE}}}errBars")
    for name, value in (("errDir", "y"), ("errBarType", "both"), ("errValType", "cust"), ("noEndCap", "0")):
        etree.SubElement(bars, f"{{{NAMESPACE}}}{name}", val=value)
    for name, lengths in (("plus", [point["hi"] - point["mean"] for point in points]),
                          ("minus", [point["mean"] - point["lo"] for point in points])):
        numbers = etree.SubElement(etree.SubElement(bars, f"{{{NAMESPACE}}}{name}"), f"{{{NAMESPACE}}}numLit")
        etree.SubElement(numbers, f"{{{NAMESPACE}}}ptCount", val=str(len(lengths)))
        for place, length in enumerate(lengths):
            one = etree.SubElement(numbers, f"{{{NAMESPACE}}}pt", idx=str(place))
            etree.SubElement(one, f"{{{NAMESPACE}}}v").text = repr(length)
    bars.append(parse_xml(LINE.format(colour=series.format.line.color.rgb)))
    series._element.find(f"{{{NAMESPACE}}}xVal").addprevious(bars)
