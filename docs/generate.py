"""Write the reference pages from the code they describe, and the findings from results/; --check fails when a page is stale.

    python docs/generate.py               (make docs)
    python docs/generate.py --check       (part of make lint)
    python docs/generate.py --verdicts    (first the verdicts in results/ anew, from the rows there, as the judge words them today)
"""

import argparse
import ast
import inspect
import os
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.named import Named
from sweepstake.base.registry import Registry

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
WRITTEN = "<!-- Written by docs/generate.py from the code: change it there. -->\n"


def described(struct: type, **sets: str) -> list[tuple[str, str, str]]:
    """Key, default and description of every field of a struct, from its own annotations; or of an open set, as given."""
    from sweepstake.base.values import description

    rows = []
    for field in msgspec.structs.fields(struct):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory() if field.default_factory \
            is not msgspec.NODEFAULT else "(required)"
        rows.append((field.name, "" if default in (None, "", {}) else str(default),
                     sets.get(field.name) or description(field.type)))
    return rows


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = ["| key | default | what it says |", "|---|---|---|"]
    return "\n".join(lines + [f"| `{key}` | {f'`{default}`' if default else ''} | {says} |" for key, default, says in rows]) + "\n"


def study_file() -> str:
    from sweepstake.base.specs import ClaimSpec, FigureSpec, ReferenceSpec, claim_test, figure_kind
    from sweepstake.study.keys import cell_reference, own_reference
    from sweepstake.study.search import SearchSpec
    from sweepstake.study.study import Machine, Slurm

    return f"""{WRITTEN}# The study file

A study is a TOML file ([a whole one](tutorial.md#a-question)). Its keys at the top describe one run, a *cell*. **A list is an axis**, and all axes
multiply:

```toml
init = ["xavier_normal", "kaiming_normal"]      # two values
criterion = ["magnitude", "movement"]           # times two
seeds = 5                                       # times five: 20 cells
```

A *piece* (an init, a criterion, a model, ...) is a name, or a table with its options:

- `criterion = {{name = "magnitude_increase", weight = 0.5}}` sets an option.
- `init = {{name = "normal", std = [0.05, 0.1]}}`: a list given to an option that holds one value is an axis too.
- `init = {{name = "xavier_normal", scale = {{fc1 = 0.5}}}}`: an option of an init, criterion or reset may differ by layer.
- A `label` in the table is the piece's name in tables and figures. It is one line, and does not begin with `=`, `+`, `-` or `@` unless it is a
  number, since a spreadsheet would take it for a formula.

No text of a study may hold a control character. Markup in a text does nothing: it is shown as it is written.

A cell's id is the hash of its keys. A key at the value where its feature does not exist (`weight_decay = 0`) is left out, so that a new key
of sweepstake renames no result.

## A study's own keys

{table(own_reference())}
## Keys of a cell

{table(cell_reference())}
## Plug-ins

A plug-in is a Python file, and every command that reads the study runs it: `show`, `status`, `results`, `report`, `publish` and `run`. So does
`load_study`. Its code can do whatever you can. Before any command, read the plug-ins of somebody else's study, or know who wrote them. Each
command first names the files that it runs, with the hash of each (SHA-256, 16 digits), which is kept beside every result. A study without
`plugins` runs no code of its own.

A cell's id holds what a plug-in's code says. Comments, blank lines, quotes, indents and docstrings may change, and every result stays. Any other
change makes other cells, whether or not it changes their numbers. A docstring counts, too, where the file says `__doc__` or `getdoc`, since its
code may read it. `run` keeps the text of each plug-in as `STORE/plugins/NAME-HASH.py`, so a version that has results can be put back.

In an older store an id holds the text of the file, comments too. Its results are found while the file is as it was. Call `sweepstake run` once
before you change a comment; it trains nothing. The store then knows which code that text says, and finds the results under any layout of it.

A plug-in may import what is installed, but nothing from its own folder or the current one. A file that is also a script puts its commands
under `if __name__ == "__main__":`. How to write one: [pieces of your own](own-pieces.md).

## `[[figure]]`

{table(described(FigureSpec, kind=figure_kind.described()))}
## `[[claim]]`

{table(described(ClaimSpec, test=claim_test.described()))}
### Cells that diverge

A cell *diverges* when its loss or weights are no longer finite numbers. It ends there, without an accuracy, and no claim leaves it out in silence:

- A seed in which a cell of `this` diverged, before the round that the claim is about, counts **against** the claim, as a loss larger
  than any number. With one such seed the claim is not supported. With most seeds such, it is contradicted (with few seeds: 3 of 3,
  4 of 4, 4 of 5; its p is Student's, of a loss without bound).
- A seed in which only `than` diverged counts neither for the claim nor against it: the other seeds decide whether it is supported, and with
  one such seed it is not contradicted by numbers. `similar` and `about` say that two sides are alike, so there it counts against.
- A seed in which both sides diverged, or the dense network that was to be matched, tells nothing; with one such seed nothing is decided.

The reason of each verdict says how many seeds were lost, and where. With a seed against it, a claim has no effect and no interval: a mean
over the seeds that ended would be the mean of something else.

## `[[reference]]`

A curve, or a printed number, of somebody else. Figures of its metric draw it as a grey dashed line, with its label in the legend and its source
below the title. A claim may name it as the number to be met: `reference = "LABEL"` with a `kept`. Its value there lies on the line between its
neighbouring points, over the logarithm of the kept fraction; outside of its points it has none. No id holds a reference.
[figures.md](figures.md) has an example.

{table(described(ReferenceSpec))}
## `[search]`

Trials look for one value of the study, which stands under a name: `init = ["xavier_normal", "found"]`. They train first, as cells of their
own, kept and resumed like all cells; then the study runs with the best value. Proposals come from Optuna's TPE: `pip install sweepstake[search]`.

{table(described(SearchSpec))}
## `[machine]`

{table([(key, default, MACHINE[key]) for key, default, _ in described(Machine)])}
## `[machine.slurm]`

{table([(key, default, SLURM[key]) for key, default, _ in described(Slurm)])}"""


MACHINE = {
    "workers": "Processes at a time (default: one a core).", "store": "Where results are kept (default: `runs`).",
    "data": "Where data sets lie.", "timeout_minutes": "A cell that takes longer has failed.",
    "device": "`cpu`, or `cuda` to train stacks of cells on a card.",
    "stack": "Cells side by side as one program (default: on a card as many as fit).",
    "engine": "`fast`, or `reference` to train every cell in plain PyTorch.",
    "save_weights": "`last` keeps the trained weights of each cell's last round in the store, `all` those of every round (default: `none`). "
                    "No result changes by it.",
    "on": "Where cells are computed (default: here): `dask`, `ray`, `slurm`, `tcp://HOST:PORT` or `ray://HOST:PORT`; [engines.md](engines.md).",
    "card": 'With `ray` and `device = "cuda"`: the share of a card that a stack takes (default: 1).',
    "slurm": "`[machine.slurm]`: what a job is (below).",
}
SLURM = {
    "jobs": "How many are queued.", "cores": "Of each; it computes so many cells at a time.", "memory": "Of each.",
    "walltime": "Of each, as `sbatch --time` takes it.", "partition": "Where (default: Slurm's own).", "account": "Whose.",
    "interface": "The network by which jobs reach this machine (`ib0`).", "directives": 'More lines of `#SBATCH`: `["--gres=gpu:1"]`.',
    "prologue": 'Lines of shell before a job begins: `["module load python"]`.', "python": "The Python of the nodes (default: this one's path).",
}


def pieces() -> str:
    from sweepstake.pieces import REGISTRIES

    parts = [f"{WRITTEN}# Pieces\n\nThe open sets: what a study can name. `sweepstake pieces` prints the same, plug-ins included.\n"]
    for set_, registry in REGISTRIES.items():
        parts.append(f"## {set_}\n\n| name | options | what it is |\n|---|---|---|")
        for name, piece in sorted(registry.pieces.items()):
            options = ", ".join(f"`{key}{'' if option.required else f' = {option.default!r}'}`" for key, option in piece.options.items())
            parts.append(f"| `{name}` | {options} | {piece.claim.replace('|', chr(92) + '|')} |")
            parts += [f"| `{alias}` | | Another name of `{name}`. |" for alias in piece.aliases]
        parts.append("\nTakes by name: " + "; ".join(f"`{name}` ({says})" for name, says in registry.offers.items()) + ".\n")
    return "\n".join(parts)


def cli() -> str:
    from sweepstake.cli import build_parser

    os.environ["COLUMNS"] = "100"
    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    parts = [f"{WRITTEN}# The command line\n\n```text\n{parser.format_help()}```\n"]
    parts += [f"## sweepstake {name}\n\n```text\n{command.format_help()}```\n" for name, command in commands.items()]
    return "\n".join(parts)


def python() -> str:
    """Every public name with its signature and what its docstring says, and the public methods of its classes."""
    import sweepstake

    parts = [f"{WRITTEN}# Python\n\nWhat `import sweepstake as ss` offers. The import itself takes milliseconds; PyTorch is loaded with the "
             "first name that needs it.\n"]
    for title, names in PUBLIC.items():
        parts.append(f"## {title}\n")
        for name in names:
            thing = getattr(sweepstake, name)
            parts.append(f"### {name}\n\n{_told(name if isinstance(thing, Named) else f'ss.{name}', thing)}")
            methods = [(each, member) for each, member in vars(thing).items() if isinstance(thing, type) and not each.startswith("_")
                       and (inspect.isfunction(member) or isinstance(member, property | cached_property))]
            parts += [_told(f".{each}", member) for each, member in methods]
    return "\n".join(parts)


PUBLIC = {
    "Studies and results": ("load_study", "run_study", "load_results", "plot", "Study", "Results"),
    "Tickets": ("find_ticket", "prune", "Masks", "Ticket", "load_ticket"),
    "Pieces of your own": ("init", "model", "dataset", "Data", "criterion", "allocation", "reset", "lr_schedule"),
    "Claims and figures of your own": ("claim_test", "figure_kind"),
    "Mistakes": ("UserError",),
}
"""Every name of `sweepstake.__all__`, in the order in which a reader meets it."""


def _told(name: str, thing: Any) -> str:
    """A name with its signature, and its docstring as Markdown."""
    if isinstance(thing, Registry):
        return f"A decorator for a function. [What it may take by name](pieces.md#{thing.set}), and [an example](own-pieces.md).\n"
    if isinstance(thing, Named):
        return f"A decorator for a class: `@ss.{name}(\"its_name\")`. [An example](../CONTRIBUTING.md).\n"
    plain = name in READ or isinstance(thing, property | cached_property)
    says = inspect.getdoc(thing)
    return f"**`{name}{'' if plain else _signature(thing)}`**\n" + f"\n{says}\n" * bool(says)


READ = ("ss.Study", "ss.Results")
"""Classes that a user is given, and never makes."""


def _signature(thing: Any) -> str:
    """The parameters and their defaults, without types; a default that is a function is not shown."""
    asked = [one.replace(annotation=inspect.Parameter.empty) for name, one in inspect.signature(thing).parameters.items() if name != "self"]
    hidden = [one.replace(default=Hidden()) if callable(one.default) and one.default is not inspect.Parameter.empty else one for one in asked]
    return str(inspect.Signature(hidden))


class Hidden:
    """A default that has no literal."""

    def __repr__(self) -> str:
        return "..."


def code() -> str:
    """Every file of the package, with the first line of its docstring; a folder's is that of its `__init__.py`."""
    package = ROOT / "sweepstake"
    parts = [f"{WRITTEN}# The code, file by file\n\nA file imports only from its own floor and from those below it (a test holds this). From "
             "below: base, pieces, study, engine,\nrun, tickets, read; on top `cli.py` and `commands.py`.\n"]
    for folder in FLOORS:
        said = _first_line(package / folder / "__init__.py") if folder else "The doors."
        parts.append(f"## {folder or 'sweepstake'}\n\n{said}\n\n| file | what it is |\n|---|---|")
        files = (package / folder).rglob("*.py") if folder else package.glob("*.py")
        for path in sorted(files, key=lambda path: (path.parent != package / folder, path.as_posix())):
            if path != package / folder / "__init__.py" and "__pycache__" not in path.parts:
                shown = path.relative_to(package / folder).as_posix().replace("/__init__.py", "/")
                parts.append(f"| `{shown}` | {_first_line(path).replace('|', chr(92) + '|')} |")
        parts.append("")
    return "\n".join(parts)


FLOORS = ("", "base", "pieces", "study", "engine", "run", "tickets", "read")


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def findings() -> str:
    from sweepstake.read.findings import page

    return page(ROOT / "results", DOCS)


def readme() -> str:
    from sweepstake.read.findings import filled

    return filled((ROOT / "README.md").read_text(encoding="utf-8"), ROOT / "results", ROOT)


PAGES = {"study-file.md": study_file, "pieces.md": pieces, "cli.md": cli, "python.md": python, "code.md": code, "findings.md": findings,
         "../README.md": readme}


def verdicts() -> None:
    """Verdicts and summaries in results/ anew from the published rows; a study whose file has changed since waits for its runs."""
    from sweepstake.read.findings import published
    from sweepstake.read.publish import judge_again
    from sweepstake.study.study import load_study

    for each in published(ROOT / "results"):
        if each.stale or not each.provenance["whole"]:
            print(f"docs: results/{each.name} is not the shipped study as it is; its verdicts stay.", file=sys.stderr)
        else:
            judge_again(load_study(each.provenance["study"]), each.folder)


def main() -> int:
    stale = []
    if "--verdicts" in sys.argv[1:]:
        verdicts()
    for name, write in PAGES.items():
        text, path = write().rstrip() + "\n", DOCS / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name.removeprefix("../"))
    if stale:
        print(f"docs: {', '.join(stale)} {'are' if len(stale) > 1 else 'is'} stale. Run `make docs`.", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
