"""A verdict on each claim: `judge` decides, `tell` says it in English, and each test of a claim is one object."""

# ruff: noqa: I001
# First the tests, in the order in which the study file's reference tells them; then what others read.
from sweepstake.read.claims.levels import LevelTest as LevelTest
from sweepstake.read.claims.spreads import MoreStable as MoreStable
from sweepstake.read.claims.curves import CurveTest as CurveTest

from sweepstake.read.claims.contract import ClaimTest as ClaimTest
from sweepstake.read.claims.contract import Found as Found
from sweepstake.read.claims.contract import Verdict as Verdict
from sweepstake.read.claims.contract import test_of as test_of
from sweepstake.read.claims.judge import judge as judge
from sweepstake.read.claims.judge import table as table
from sweepstake.read.claims.judge import verdicts as verdicts
from sweepstake.read.claims.numbers import finished as finished
from sweepstake.read.claims.numbers import half_level as half_level
from sweepstake.read.claims.numbers import is_dense as is_dense
from sweepstake.read.claims.numbers import smallest_winner as smallest_winner
from sweepstake.read.claims.numbers import smallest_winning as smallest_winning
from sweepstake.read.claims.tell import instead as instead
from sweepstake.read.claims.tell import p_value as p_value
from sweepstake.read.claims.tell import sentence as sentence
from sweepstake.read.claims.tell import shown as shown
from sweepstake.read.claims.tell import with_range as with_range
