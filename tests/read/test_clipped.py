"""A y axis that leaves out what a few groups do, where that would squeeze all others."""

from sweepstake.read.figures.clipped import clipped


def points(**means):
    return [{"group": group, "mean": mean, "lo": mean - bar, "hi": mean + bar} for group, (mean, bar) in means.items()]


def told(value):
    return f"{value:.4g} %"


def test_one_that_falls_is_cut_off_where_the_others_end():
    found = clipped(points(a=(95, 1), b=(94, 1), c=(11, 1)), told)
    assert found == (93, 96, "Clipped at 93 %: c falls to 11 %.")


def test_two_that_rise_are_named():
    found = clipped(points(a=(1, 0), b=(2, 0), c=(2, 0), d=(90, 0), e=(80, 0)), told)
    assert found == (1, 2, "Clipped at 2 %: d and e rise to 90 %.")


def test_bars_alone_may_be_what_squeezes():
    found = clipped([*points(a=(95, 1), b=(95, 1)), {"group": "c", "mean": 95, "lo": 55, "hi": 96}], told)
    assert found is not None and found.says == "Clipped at 94 %: the bars of c go on."


def test_half_of_the_groups_or_more_are_never_cut_off_nor_what_leaves_the_others_a_quarter():
    assert clipped(points(a=(95, 1), b=(11, 1)), told) is None
    assert clipped(points(a=(95, 0), b=(96, 0), c=(11, 0), d=(12, 0)), told) is None
    assert clipped(points(a=(90, 0), b=(10, 0), c=(70, 0)), told) is None
