"""What a comparison owes its readers (Blalock et al. 2020, section 6 and appendix B), and whether this one has it."""

from collections.abc import Sequence
from typing import NamedTuple

from sweepstake.read.compare.numbers import Outcome
from sweepstake.study.compare import COMPRESSIONS, Comparison, reduced


class Item(NamedTuple):
    """A point of the checklist: whether it is met, and with what."""

    asks: str
    met: bool
    how: str


def checklist(asked: Comparison, outcomes: Sequence[Outcome]) -> list[Item]:
    """Every point, in the paper's order of thought: what is compared, how it is measured, what is told."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    top5 = bool(rows) and all(row["test_top5"] is not None or row["diverged"] for row in rows)
    sets = {outcome.study.cells[0].dataset.name for outcome in outcomes}
    smaller = sum(bool(reduced(outcome.name)) for outcome in outcomes)
    small = f"all are small, {smaller} reduced" if smaller else "all are small"
    large = f"{small}: nothing here speaks of ImageNet, or of large networks"
    least = min((len(outcome.dense) for outcome in outcomes), default=0)
    same = all(outcome.same_dense for outcome in outcomes)
    dense = sum(len(outcome.whole) for outcome in outcomes)
    levels = {row["compression_asked"] for row in rows}
    told = [", ".join(f"{each}x" for each in sorted(some)) for some in (levels, COMPRESSIONS)]
    return [
        Item("At least three pairs of a data set and a network", len(outcomes) >= 3,
             f"{_count(len(outcomes), 'pair')} on {_count(len(sets), 'data set')}; {large}."),
        Item("Magnitude pruning, by one ranking over all layers and layer by layer", True, "Both are baselines."),
        Item("Random pruning", True, "Of the trained network, layer by layer, and at init by ERK."),
        Item("Random and magnitude pruning with the new method's own share for each layer", False,
             "Not run: a baseline has its own shares, so a difference may be one of shares, not of which weights."),
        Item("Published methods", True,
             "SNIP, GraSP and SynFlow, with their default options here. Their papers' numbers are of other networks."),
        Item("Five compressions or more", len(levels) >= 5,
             f"{told[0] or 'none'} of {told[1]}."),
        Item("Compression ratio and theoretical speedup", True,
             "Weights kept, all parameters, and multiply-adds of one image under the mask. A speedup counts "
             "multiply-adds; it is no measured time."),
        Item("Top-1 and Top-5 accuracy, raw, at every point", top5,
             "Both on the test images; with ten classes Top-5 is near 100 %, and says little." if top5 else
             "Some rounds are from a version that did not measure Top-5. Run into an empty --store to have it."),
        Item("The dense network's own accuracy", bool(dense), "Beside every table, from the same trainings."),
        Item("The same initial weights for every method of a seed", same and bool(dense),
             f"{dense} dense networks were trained, and all of a seed ended at the same test loss to the bit."
             if same else "The dense networks of a seed differ: their numerics are not the same (see the studies)."),
        Item("Several seeds, with a mean and a deviation", least >= 3,
             f"{least} at least; tables have mean and standard deviation (n - 1), figures 95 % intervals."),
        Item("The data split and everything that sets up a training", True,
             "In each pair's study file; the split stands with each pair. No augmentation; no split chose anything."),
        Item("Each method's settings tuned", False,
             "No. All methods have the same settings, and nobody searched for better ones."),
        Item("Equal training for all", False,
             "No. What prunes a trained network has trained twice, what prunes at init once, as each is published."
             if asked.schedule == "one-shot" else
             "No. What prunes a trained network has trained once more with each halving, what prunes at init once."),
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
