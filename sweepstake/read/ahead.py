"""Before the run: which claims and figures no result could answer. Stand-in results are read as real ones will be."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import msgspec

from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.pieces import model, reset
from sweepstake.read import analysis, claims, figures, statistics
from sweepstake.read.analysis import Row, StudyLike


class ForeseenLike(Protocol):
    """What is known of a cell before it trains."""

    @property
    def kept(self) -> Sequence[float] | None: ...


def heed(study: StudyLike, foreseen: Mapping[str, ForeseenLike]) -> list[str]:
    """What cannot be answered: refused for a study as written, told for one that --quick or --set has changed.

    Few seeds are told, inits that nothing draws from, and rounds that prune nothing.
    """
    place = getattr(study, "path", "") or study.name
    never, few = unanswerable(study, foreseen)
    if never and not (study.quick or study.overrides):
        raise UserError(*(f"{place}: {problem}" for problem in never))
    some = (f"{len(few)} of {len(study.claims)} claims have fewer than {statistics.MIN_SEEDS} seeds, "
            "so they will stay undecided.")
    return [*never, *([some] if few else []), *unused_inits(study), *never_pruned(study, foreseen)]


def never_pruned(study: StudyLike, foreseen: Mapping[str, ForeseenLike]) -> list[str]:
    """A line where rounds are asked for in which no cell of the study loses a weight."""
    kept = [foreseen[one.id].kept if one.id in foreseen else None for one in study.planned if one.cell.rounds]
    if not kept or any(levels is None or min(levels) < 1 for levels in kept):
        return []
    return ["nothing is ever pruned: every round of every cell keeps all weights. Say keep = 0.8 to lose a fifth of "
            "them in each round, or rounds = 0 to train once."]


def unused_inits(study: StudyLike) -> list[str]:
    """A line where cells of a model that comes trained differ in an init alone that none of them draws from."""
    seen, alike = dict[bytes, str](), dict[str, None]()
    for cell in (planned.cell for planned in study.planned):
        trained = model.get(cell.model.name).traits.get("pretrained")
        if not trained or "redraw" in reset.get(cell.reset.name).takes:
            continue
        rest = {key: value for key, value in msgspec.to_builtins(cell).items() if key not in ("init", "bias_init")}
        first = seen.setdefault(msgspec.json.encode(rest), str(cell.init) + str(cell.bias_init))
        if first != str(cell.init) + str(cell.bias_init):
            alike[cell.model.name] = None
    return [f'model = "{name}": begins from the trained weights it brings, so cells that differ in init alone train '
            'alike. Take the axis out, or say a reset that draws from the init, such as "fresh".' for name in alike]


def unanswerable(study: StudyLike, foreseen: Mapping[str, ForeseenLike]) -> tuple[list[str], list[int]]:
    """The claims and figures that no result of this study answers, and the claims of too few seeds to be decided.

    Of the latter, their numbers. A claim on cells whose levels hang on scores, or on data that are not here, is
    passed over.
    """
    known = [one for one in study.planned if one.id in foreseen and foreseen[one.id].kept is not None]
    unknown = [dict(one.labels) for one in study.planned if one not in known]
    results = [_stand_in(one, foreseen[one.id].kept or []) for one in known]
    rows, curves = analysis.tidy(results, timing=True), analysis.curves(results)
    never, few = list[str](), list[int]()
    verdicts = claims.judge(study, rows) if rows else []
    short = len({row["seed"] for row in rows}) < statistics.MIN_SEEDS
    for number, (claim, verdict) in enumerate(zip(study.claims, verdicts, strict=False), 1):
        if any(_is_about(claim, labels) for labels in unknown):
            continue
        if verdict.effect is not None or (claims.test_of(claim).needs_seeds and short):
            few += [number] if verdict.n < statistics.MIN_SEEDS else []
        else:
            named = f" ({claim.name})" if claim.name else ""
            reason = verdict.reason.replace("was measured", "will be measured")
            never.append(f"[[claim]] {number}{named} cannot be answered: {reason}")
    for number, figure in enumerate(study.figures, 1):
        if not any(analysis.chosen([labels], figure.where) for labels in unknown):
            drawn = analysis.chosen(rows, figure.where), analysis.chosen(curves, figure.where)
            never += [f"[[figure]] {number} {problem}" for problem in _undrawn(figure, *drawn)]
    return never, few


def _is_about(claim: ClaimSpec, labels: Row) -> bool:
    """Whether a cell of these labels is among those the claim chooses."""
    here = analysis.chosen([labels], claim.where)
    return any(analysis.chosen(here, side) for side in (claim.this, claim.than or claim.this))


def _undrawn(figure: FigureSpec, rows: Sequence[Row], curves: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    kind = figures.kind_of(figure)
    column, points = kind.column(figure), curves if kind.of_curves else rows
    if column and all(row.get(column) is None for row in points):
        needs = " It needs a validation split." if column.startswith(("validation", "early")) else ""
        yield f"({figure.kind}) has nothing to draw: no {column} will be measured.{needs}"
    last = max(row["round"] for row in rows)
    if figure.every and 0 < last < figure.every:
        yield (f"({figure.kind}): every = {figure.every} chooses round 0 alone, for the last round is {last}. "
               f"Say every = {last} or less.")


def _stand_in(planned: analysis.PlannedLike, kept: Sequence[float]) -> dict[str, Any]:
    """A result of the shape this cell's will have, its numbers drawn."""
    cell, draw = planned.cell, Random(planned.id)

    def measured() -> dict[str, Any]:
        one = {"loss": draw.random(), "accuracy": draw.random()}
        return {"train": one, "validation": one if cell.validation else None, "test": one}

    steps = 2 if cell.steps is None else min(cell.steps, 2)
    curve = {name: [0.5] for name in ("train_loss", "test_loss", "test_accuracy",
                                      *(("validation_loss", "validation_accuracy") if cell.validation else ()))}
    rounds = [{
        "round": round_, "kept_fraction": fraction, "kept": 0, "kept_by_layer": {}, "size_by_layer": {},
        "units_by_layer": {"hidden": 1000, "output": 10}, "alive_units": {"hidden": draw.randrange(1000), "output": 10},
        "steps": steps, "diverged": False, "end": measured(),
        "early": {"step": steps // 2, **measured()} if cell.validation else None,
        "curve": {"step": [0], **curve}, "proofs": {}, "seconds": {"train": 1 + draw.random(), "evaluate": 0.1},
    } for round_, fraction in enumerate(kept)]
    return {"id": planned.id, "labels": planned.labels, "seed": cell.seed, "status": "done", "rounds": rounds,
            "provenance": {}}
