"""The page of a comparison: one HTML document of all pairs, made of their results. It writes nothing."""

from collections.abc import Callable, Sequence
from typing import Any

from sweepstake.base.text import visible
from sweepstake.read import analysis, claims, figures, origins
from sweepstake.read.analysis import Row
from sweepstake.read.compare.checklist import checklist
from sweepstake.read.compare.numbers import Outcome, in_short, word
from sweepstake.study.compare import COMPRESSIONS, Comparison, Method, file_name, reduced


def page(asked: Comparison, outcomes: Sequence[Outcome], command: str, warnings: Sequence[str]) -> str:
    """The page of all pairs that have results."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("sweepstake.read.compare", "."), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                              finalize=lambda value: visible(value) if type(value) is str else value)
    return environment.get_template("compare.html.j2").render(
        title=f"{' and '.join(method.label for method in asked.new)}, compared", command=command,
        asked=asked, warnings=warnings, compressions=COMPRESSIONS, items=checklist(asked, outcomes),
        glance=[(mine.label, [(outcome.name, _words(outcome, mine)) for outcome in outcomes]) for mine in asked.new],
        pairs=[_pair(outcome) for outcome in outcomes], provenance=_provenance(outcomes))


def drawing(outcome: Outcome) -> figures.Spec | None:
    """The curves of all methods on one pair."""
    rows = analysis.tidy(outcome.results)
    (spec,) = outcome.study.figures
    return figures.draw(spec, rows, [], outcome.study.axes, outcome.study.planned) if rows else None


def _pair(outcome: Outcome) -> dict[str, Any]:
    from markupsafe import Markup

    spec, cell = drawing(outcome), outcome.study.cells[0]
    accuracy, top5, size = (outcome.over_seeds(metric) for metric in ("test_accuracy", "test_top5", "multiply_adds"))
    tables = [("Top-1 accuracy (%)", _table(outcome, accuracy, _share), _dense(outcome, "accuracy")),
              ("Top-5 accuracy (%)", _table(outcome, top5, _share), _dense(outcome, "top5"))]
    return {
        "name": outcome.name, "file": file_name(outcome.name), "svg": Markup(figures.to_svg(spec)) if spec else None,
        "network": f"{cell.model} on {cell.dataset.name}", "setup": setup_of(outcome), "tables": tables,
        "sizes": _sizes(outcome, size), "differences": [(mine.label, _differences(outcome, mine))
                                                        for mine in outcome.asked.new]}


def setup_of(outcome: Outcome) -> list[tuple[str, str]]:
    """The split, the network's size and the training, as they were."""
    cell = outcome.study.cells[0]
    counts = next((record["end"] for _, record in outcome.whole), {})
    split = [f"{int(measured['count']):,} {name}" for name, measured in counts.items() if measured]
    size = next((record["size_by_layer"] for _, record in outcome.whole), {})
    adds = sum(count * outcome.outputs[layer] for layer, count in size.items())
    rest = f"; the training images drawn by split_seed {cell.split_seed}" if cell.subset else ""
    long = f"{cell.epochs:g} epochs" if cell.epochs else f"{cell.steps} steps"
    smaller = reduced(outcome.name)
    return [
        *([("reduced", f"{smaller}: far from trained out, so compare methods, not with published numbers")]
          if smaller else []),
        ("data", f'{", ".join(split)} images{rest}; normalised: "{cell.normalise}"; no augmentation'),
        ("network", f"{sum(size.values()):,} weights in its layers; {adds:,} multiply-adds an image"),
        ("training", f"{long} a training, {cell.optimiser}, lr {cell.lr:g} ({cell.lr_schedule.name}), batches of "
                     f"{cell.batch_size}, init {cell.init.name}"),
        ("seeds", ", ".join(map(str, outcome.study.seeds))),
    ]


def _table(outcome: Outcome, found: dict[tuple[str, int], Row],
           told: Callable[[Row | None], str]) -> list[tuple[str, list[str]]]:
    return [(method.label, [told(found.get((method.label, each))) for each in COMPRESSIONS])
            for method in outcome.methods]


def _share(one: Row | None) -> str:
    if one is None or one["mean"] is None:
        return f"– ({one['diverged']} diverged)" if one and one["diverged"] else "–"
    lost = f" ({one['diverged']} diverged)" if one["diverged"] else ""
    return f"{100 * one['mean']:.2f}" + ("" if one["std"] is None else f" ± {100 * one['std']:.2f}") + lost


def _dense(outcome: Outcome, measure: str) -> str:
    mean, std = outcome.dense_over_seeds(measure)
    return _share({"mean": mean, "std": std, "diverged": 0})


def _sizes(outcome: Outcome, adds: dict[tuple[str, int], Row]) -> list[tuple[str, list[dict[str, str]]]]:
    """Multiply-adds of an image, how many times fewer than the dense network's, weights, parameters: seeds' means."""
    speedup, weights = outcome.over_seeds("speedup"), outcome.over_seeds("compression")
    size = outcome.over_seeds("parameters")

    def told(label: str, compression: int) -> dict[str, str]:
        at = label, compression
        if at not in adds or adds[at]["mean"] is None:
            return {"adds": "–", "weights": "", "parameters": ""}
        return {"adds": f"{adds[at]['mean']:,.0f} ({speedup[at]['mean']:.1f}x)",
                "weights": f"{weights[at]['mean']:.2f}x fewer weights",
                "parameters": f"{size[at]['mean']:,.0f} parameters"}

    return [(method.label, [told(method.label, each) for each in COMPRESSIONS]) for method in outcome.methods]


def _differences(outcome: Outcome, mine: Method) -> list[tuple[str, list[dict[str, str]]]]:
    """The new method minus each baseline, paired by seed, with its interval and the word."""
    return [(other.label, [_difference(outcome.verdicts[mine.label, other.label, each]) for each in COMPRESSIONS])
            for other in outcome.asked.baselines]


def _difference(verdict: claims.Verdict) -> dict[str, str]:
    shown, span = claims.shown(verdict)
    return {"word": word(verdict), "shown": shown.removesuffix(" points"), "span": span, "reason": verdict.reason}


def _words(outcome: Outcome, mine: Method) -> list[tuple[str, dict[str, str]]]:
    return [(label, {name: ", ".join(f"{each}x" for each in at) or "–" for name, at in found.items()})
            for label, found in in_short(outcome, mine)]


def _provenance(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    made = origins.numerics([result for outcome in outcomes for result in outcome.results])
    first = next((result["provenance"] for outcome in outcomes for result in outcome.results
                  if result["provenance"]), {})
    versions, machine = first.get("versions") or {}, first.get("machine") or {}
    return [("numerics", origins.counted(made)), ("libraries", ", ".join(f"{k} {v}" for k, v in versions.items())),
            ("machine", ", ".join(f"{k}: {v}" for k, v in machine.items() if isinstance(v, str | int)))]
