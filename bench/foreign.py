"""What thinning makes of networks that nobody here wrote, the same share of whose structures is dead.

    python bench/foreign.py [--write]

The networks are those of `tests/tickets/foreign.py`: tiny, with random weights. The largest difference is that of outputs on inputs that
thinning was not given. Prints one JSON line a network; `--write` writes docs/foreign.md.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHARE, SEED, UNSEEN = 0.5, 1, (2, 3)


@dataclass(frozen=True)
class Row:
    """One network: its parameters before and after, how far the small one is from the whole one, or why there is none."""

    network: str
    family: str
    package: str
    before: int
    after: int | None
    difference: float | None
    refused: str | None
    kept_back: dict[str, str]


def measure(foreign) -> Row:
    from sweepstake.base.errors import UserError
    from sweepstake.tickets.thin import thin
    from tests.tickets.foreign import difference, run

    module, masks = foreign.killed(SEED, SHARE)
    told = (foreign.name, foreign.family, foreign.package)
    before = sum(parameter.numel() for parameter in module.parameters())
    try:
        thinned = thin(module, masks, foreign.example(SEED))
    except UserError as error:
        return Row(*told, before, None, None, first(error.problems), {})
    inputs = [foreign.example(seed) for seed in UNSEEN]
    largest = max(difference(run(thinned.module, one), run(module, one)) for one in inputs)
    after = sum(parameter.numel() for parameter in thinned.module.parameters())
    return Row(*told, before, after, largest, None, {name: str(why) for name, why in thinned.kept_back.items()})


def page(rows: list[Row]) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "pytorchcv"))
    thinned = [row for row in rows if row.refused is None]
    smaller = [row for row in thinned if row.after is not None and row.after < row.before]
    lines = [
        "# Networks of others, thinned", "",
        "`thin` removes a network's dead units, so that what is left computes the same outputs ([tickets](tickets.md)). This page shows",
        f"what it makes of {len(rows)} networks that nobody here wrote ({libraries}). They are tiny, and their weights are random.",
        f"In each, {SHARE:.0%} of every layer's units and of the attention heads were made dead (all their weights are 0), and some of",
        "the inputs and of the single weights.", "",
        f"- Thinned: {len(thinned)} of {len(rows)}, {len(smaller)} of them to fewer parameters.",
        f"- Refused: {len(rows) - len(thinned)}. A network whose outputs would change is refused, and the module in the way is named.", "",
        "*Largest difference* is that between the outputs of the whole network and of the small one, on inputs that thinning was not",
        "given. Where outputs are over 1, it is a share of the largest. The last column says why a network was refused, or which of its",
        "dead units stayed.", "",
        "`python bench/foreign.py --write` writes this page.", "",
        "| family | network | parameters before | after | kept | largest difference | refused, or not thinned |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
        *(line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    head = f"| {row.family} | {row.package} | {row.before:,}"
    if row.after is None or row.difference is None:
        return f"{head} | | | | {cell(row.refused or '')} |"
    stayed = first([f"{name}: {why}" for name, why in row.kept_back.items()])
    return f"{head} | {row.after:,} | {row.after / row.before:.0%} | {row.difference:.1e} | {cell(stayed)} |"


def first(reasons: Sequence[str]) -> str:
    """The first of some reasons, in one line, and how many more there are."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return " ".join(reasons[0].split()) + more if reasons else ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(write: bool) -> None:
    import torch

    from tests.tickets.foreign import ZOO

    torch.set_num_threads(1)
    rows = []
    for foreign in ZOO:
        rows.append(measure(foreign))
        print(json.dumps(asdict(rows[-1])), flush=True)
    if write:
        (ROOT / "docs" / "foreign.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
