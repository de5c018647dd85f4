"""Figures: `draw` makes a spec of rows, and each kind of figure is one object."""

# ruff: noqa: I001
# First the kinds, in the order in which the study file's reference tells them; then what others read.
from sweepstake.read.figures.by_kept import AccuracyByKept as AccuracyByKept
from sweepstake.read.figures.by_level import AccuracyByLevel as AccuracyByLevel
from sweepstake.read.figures.curves import LearningCurves as LearningCurves
from sweepstake.read.figures.remaining import WeightsRemaining as WeightsRemaining
from sweepstake.read.figures.early_stop import EarlyStopByKept as EarlyStopByKept
from sweepstake.read.figures.init import InitDensity as InitDensity
from sweepstake.read.figures.layers import LayerDensity as LayerDensity

from sweepstake.read.figures.by_kept import ByKept as ByKept
from sweepstake.read.figures.contract import Data as Data
from sweepstake.read.figures.contract import Drawn as Drawn
from sweepstake.read.figures.contract import FigureKind as FigureKind
from sweepstake.read.figures.contract import kind_of as kind_of
from sweepstake.read.figures.draw import default_figures as default_figures
from sweepstake.read.figures.draw import draw as draw
from sweepstake.read.figures.draw import laid_out as laid_out
from sweepstake.read.figures.style import HEIGHT as HEIGHT
from sweepstake.read.figures.style import NAMES as NAMES
from sweepstake.read.figures.style import PALETTE as PALETTE
from sweepstake.read.figures.style import SHAPES as SHAPES
from sweepstake.read.figures.style import VEGALITE as VEGALITE
from sweepstake.read.figures.style import WIDTH as WIDTH
from sweepstake.read.figures.style import Spec as Spec
from sweepstake.read.figures.style import framed as framed
from sweepstake.read.figures.style import percent as percent
from sweepstake.read.figures.write import bitmap as bitmap
from sweepstake.read.figures.write import to_pdf as to_pdf
from sweepstake.read.figures.write import to_png as to_png
from sweepstake.read.figures.write import to_svg as to_svg
