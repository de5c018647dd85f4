"""Say a lottery-ticket study in one small file; get every run trained, kept, and read back as an answer.

    import sweepstake as ss
    study = ss.load_study("demo")
    results = ss.run_study(study, store="runs")
    df = results.frame()
"""

__version__ = "0.1.0"

# Nothing is imported here: under `python -m sweepstake` it would be sought in the current folder first.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sweepstake.base.errors import UserError
    from sweepstake.base.specs import claim_test, figure_kind
    from sweepstake.pieces import Data, allocation, criterion, dataset, init, lr_schedule, model, reset
    from sweepstake.read.results import Results, load_results, plot, run_study
    from sweepstake.study.study import Study, load_study
    from sweepstake.tickets.held.masks import Masks
    from sweepstake.tickets.search.find import find_ticket
    from sweepstake.tickets.search.select import prune
    from sweepstake.tickets.ticket import Ticket, load_ticket

__all__ = ["Data", "Masks", "Results", "Study", "Ticket", "UserError", "allocation", "claim_test", "criterion",
           "dataset", "figure_kind", "find_ticket", "init", "load_results", "load_study", "load_ticket",
           "lr_schedule", "model", "plot", "prune", "reset", "run_study"]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if not TYPE_CHECKING:  # To a type checker every name is here, and another one is a mistake.
    def __getattr__(name: str) -> object:
        """Names are found when asked for: `import sweepstake` costs milliseconds and reaches no torch."""
        if name in ("Results", "load_results", "plot", "run_study"):
            from sweepstake.read import results as home
        elif name in ("Study", "load_study"):
            from sweepstake.study import study as home
        elif name in ("claim_test", "figure_kind"):
            from sweepstake.base import specs as home
        elif name in ("Ticket", "load_ticket"):
            from sweepstake.tickets import ticket as home
        elif name == "Masks":
            from sweepstake.tickets.held import masks as home
        elif name == "prune":
            from sweepstake.tickets.search import select as home
        elif name == "find_ticket":
            from sweepstake.tickets.search import find as home
        elif name == "UserError":
            from sweepstake.base import errors as home
        elif name in __all__:
            from sweepstake import pieces as home
        else:
            raise AttributeError(f"module 'sweepstake' has no attribute {name!r}")
        return getattr(home, name)
