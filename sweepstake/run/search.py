"""A search: trials are proposed, trained as cells of their own, and what came out is kept beside them as plain JSON.

It stays inside its study: a value that a command had written into a file could be edited apart from its trials.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import log
from typing import Any

from sweepstake.base import events
from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.events import OnEvent
from sweepstake.run.names import id_in, search_id_in, sources_of
from sweepstake.run.sealed import Damaged
from sweepstake.run.store import Store
from sweepstake.study.search import SAME, Params, Range, Search, filled, levels, sign, with_found
from sweepstake.study.study import Planned, Study

Trial = dict[str, Any]
"""A point of the space as it is kept: {params, cells, value}; no value where a cell failed or diverged."""


def trials_of(search: Search, home: Store) -> tuple[list[Trial], str]:
    """The trials that have ended, in their order; and what is damaged, where they were found again from their cells."""
    try:
        return (home.search(search_id_in(home, search)) or {"trials": []})["trials"], ""
    except Damaged as error:
        return found_again(search, home), str(error)


def found_again(search: Search, home: Store) -> list[Trial]:
    """The trials that the cells in the store tell of.

    None without Optuna, or where a later one proposes other points.
    """
    trials: list[Trial] = []
    with suppress(UserError):
        while len(trials) < search.spec.trials:
            points = next_points(search, trials)
            planned = planned_trials(search, trials, points, home)
            statuses = (home.look(each.id).status for cells in planned for each in cells)
            if any(status not in ("done", "diverged", "failed") for status in statuses):
                break
            trials += ended(search, points, planned, home)
    return trials


def next_points(search: Search, trials: Sequence[Trial]) -> list[Params]:
    return propose(search, trials, min(search.spec.batch, search.spec.trials - len(trials)))


def planned_trials(search: Search, trials: Sequence[Trial], points: Sequence[Params],
                   home: Store) -> list[list[Planned]]:
    return [planned_trial(search, number, point, home) for number, point in enumerate(points, len(trials) + 1)]


def ended(search: Search, points: Sequence[Params], planned: Sequence[Sequence[Planned]], home: Store) -> list[Trial]:
    return [{"params": point, "cells": [each.id for each in cells], "value": worth(search, cells, home)}
            for point, cells in zip(points, planned, strict=True)]


def found_in(search: Search, trials: Sequence[Trial]) -> Params | None:
    """The best point, once all trials have ended; of equals the first. None before, and where no trial has a value."""
    whole = [trial for trial in trials if trial["value"] is not None]
    if len(trials) < search.spec.trials or not whole:
        return None
    return max(whole, key=lambda trial: sign(search.spec.metric) * trial["value"])["params"]


def settled(study: Study, home: Store) -> Study:
    """The study as a store has it: each cell under its id there, with the account of its search.

    Once the search has ended, also with the found value where it was waited for.
    """
    search = study.search
    if search is None:
        named = (_named(each, each.cell, home) if sources_of(each.cell) else each for each in study.planned)
        return dataclasses.replace(study, planned=tuple(named))
    trials, damage = trials_of(search, home)
    found = found_in(search, trials)
    planned = [_named(each, with_found(each.cell, search.ref(found)) if found else each.cell, home)
               for each in study.planned]
    searched = {**account(search, trials), **({"damaged": damage} if damage else {})}
    return dataclasses.replace(study, planned=tuple(planned), searched=searched)


def _named(planned: Planned, cell: Cell, home: Store) -> Planned:
    return Planned(id_in(home, cell), cell, planned.labels)


def search_first(study: Study, home: Store, compute: Callable[[list[Planned], str], None], again: bool,
                 on_event: OnEvent) -> Study:
    """Run the trials that the store lacks, and return the study with what they found.

    With `again` failed cells are tried again. A batch is proposed from the batches before it and from nothing else,
    so a search that was stopped goes on as if it had not been.
    """
    search = study.search
    if search is None:
        return settled(study, home)
    trials, damage = trials_of(search, home)
    if damage:
        on_event(events.Damaged(damage, "its trials are found again from their cells"))
        if trials:
            _put(study, search, trials, home)
    if again:
        trials = []
    while len(trials) < search.spec.trials:
        points = next_points(search, trials)
        planned = planned_trials(search, trials, points, home)
        stage = f"search: {len(trials)} of {search.spec.trials} trials ended"
        compute(list({each.id: each for cells in planned for each in cells}.values()), stage)
        trials += ended(search, points, planned, home)
        _put(study, search, trials, home)
    if found_in(search, trials) is None:
        raise UserError(f"{study.path or study.name}: [search]: not one of {len(trials)} trials has a value: "
                        f"all failed or diverged. "
                        f"`sweepstake run ... --retry` tries failed ones again; or change the space.")
    return settled(study, home)


def _put(study: Study, search: Search, trials: list[Trial], home: Store) -> None:
    home.put_search(search_id_in(home, search), {"study": study.name, "metric": search.spec.metric, "trials": trials})


def planned_trial(search: Search, number: int, point: Params, home: Store) -> list[Planned]:
    labels = {"search": f"trial {number} of {search.spec.trials}"}
    return [Planned(id_in(home, cell), cell, dict(labels)) for _, cell in search.trial(point)]


def with_search(study: Study) -> Study:
    """The study and, as cells of it, the trials that have yet to end: what is still to be paid.

    Each trial as the middle of the space.
    """
    search, ended = study.search, len((study.searched or {"trials": []})["trials"])
    if search is None:
        return study
    more = [Planned(f"{id_}-trial-{number}", cell, {})
            for number in range(ended, search.spec.trials)
            for id_, cell in search.trial(search.middle)]
    return dataclasses.replace(study, planned=(*study.planned, *more))


def worth(search: Search, planned: Sequence[Planned], home: Store) -> float | None:
    """A trial's value: the mean over its seeds and levels; None if a cell has no number there."""
    split, measure = search.spec.metric.split("_")
    values: list[float] = []
    for each in planned:
        result = home.get(each.id)
        if result is None or result["status"] != "done":
            return None
        rounds = result["rounds"]
        for level in levels(search.spec) or [rounds[-1]["kept_fraction"]]:
            left = (r for r in rounds if r["kept_fraction"] > 0)
            near = min(left, key=lambda r: abs(log(r["kept_fraction"] / level)))
            if abs(near["kept_fraction"] / level - 1) > SAME:
                raise UserError(f"[search]: kept = {level}: no round of a trial keeps that; "
                                f"the nearest keeps {near['kept_fraction']:.3g}.")
            values.append(near["end"][split][measure])
    return sum(values) / len(values)


def propose(search: Search, trials: Sequence[Trial], count: int) -> list[Params]:
    """The next points, by Optuna's TPE over all of the space at once.

    The same for the same trials, whoever asks and when.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("[search]: Optuna is not installed. `pip install sweepstake[search]`, "
                        "or name a store in which the search has ended.") from None
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import TrialState, create_trial

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        space: dict[str, BaseDistribution] = {
            path: (FloatDistribution(knob.low, knob.high, log=knob.log) if isinstance(knob, Range)
                   else CategoricalDistribution(knob))
            for path, knob in search.knobs.items()}
        sampler = optuna.samplers.TPESampler(seed=search.spec.seed + len(trials), n_startup_trials=search.spec.random,
                                             multivariate=True)
        direction = "maximize" if sign(search.spec.metric) > 0 else "minimize"
        asked = optuna.create_study(sampler=sampler, direction=direction)
        asked.add_trials([create_trial(params=trial["params"], distributions=space, value=trial["value"],
                                       state=TrialState.PRUNED if trial["value"] is None else TrialState.COMPLETE)
                          for trial in trials])
        points = [asked.ask(space).params for _ in range(count)]
    finally:
        optuna.logging.set_verbosity(before)
    return [{path: knob.rounded(point[path]) if isinstance(knob, Range) else point[path]
             for path, knob in search.knobs.items()}
            for point in points]


def account(search: Search, trials: Sequence[Trial]) -> dict[str, Any]:
    """The search as a report tells it: its trials, each with its value, and what was found."""
    found = found_in(search, trials)
    return {"name": search.spec.name, "field": search.spec.field, "metric": search.spec.metric,
            "of": search.spec.trials, "kept": levels(search.spec), "seeds": list(search.spec.seeds),
            "trials": list(trials),
            "found": None if found is None else filled(search.spec.options, found)}
