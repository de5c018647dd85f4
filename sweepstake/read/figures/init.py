"""How the weights of each init are distributed, before any training."""

from sweepstake.base.specs import figure_kind
from sweepstake.read import analysis
from sweepstake.read.figures.contract import Data, Drawn, FigureKind
from sweepstake.read.figures.style import FADED, PICKED, Spec, colours


@figure_kind("init_density")
class InitDensity(FigureKind):
    """The density of a weight before training (Wijnja et al. 2020, fig. 1)."""

    says = "how each init's weights are distributed, a panel a layer"

    def draw(self, data: Data) -> Drawn | None:
        from sweepstake.read.densities import densities

        by = data.figure.by or ("init" if "init" in data.axes else next(iter(data.axes), None))
        cells = {row[by] if by else "all": row["cell"] for row in reversed(
            analysis.chosen([{**one.labels, "cell": one.cell} for one in data.planned], data.figure.where))}
        points = [{"group": group, "panel": layer, "place": place, "weight": weight, "density": density,
                   "told": f"{group}, {layer}"}
                  for group, cell in reversed(cells.items()) for layer, found in densities(cell).items()
                  for place, (weight, density) in enumerate(found)]
        if not points:
            return None
        colour, _ = colours(by, points, data.axes)
        if colour["legend"]:
            colour["legend"] |= {"symbolType": "stroke", "symbolStrokeWidth": 3}
        x = {"field": "weight", "type": "quantitative", "title": "initial weight", "scale": {"nice": False},
             "axis": {"tickCount": 3, "grid": False}}
        y = {"field": "density", "type": "quantitative", "title": "density", "axis": {"tickCount": 4}}
        mark = {"type": "line", "strokeWidth": 1.6, "strokeJoin": "round"}
        line: Spec = {"params": [PICKED], "mark": mark, "encoding": {
            "x": x, "y": y, "order": {"field": "place"}, "color": colour, "opacity": FADED,
            "description": {"field": "told"}}}
        layers = list(dict.fromkeys(point["panel"] for point in points))
        return Drawn(points, [line], "How initial weights are distributed in each layer",
                     "The density of a weight before training; its outermost thousandth is not drawn.", layers,
                     columns=3, shared=False, averaged=False)
