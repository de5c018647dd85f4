"""A study -> results: what the store lacks is computed, the rest is read. Resuming is calling it again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import OnEvent, ignore
from sweepstake.base.records import Outlook, Result
from sweepstake.base.text import hidden_in, visible
from sweepstake.pieces import check_not_loading, loaded_text
from sweepstake.run import provenance
from sweepstake.run.claims import Claims, Holder
from sweepstake.run.data import data_hashes
from sweepstake.run.executors import executor_for
from sweepstake.run.executors.server import begin
from sweepstake.run.opened import Opened, open_study
from sweepstake.run.queue import Queue
from sweepstake.run.search import search_first, settled
from sweepstake.run.settings import Saves, Settings, Task
from sweepstake.run.store import Store
from sweepstake.study.study import Planned, Study


def run_study(study: Study, store: str | Path | None = None, *, data: str | Path | None = None,
              workers: int | None = None, device: str | None = None, stack: int | None = None,
              engine: str | None = None, retry: bool = False, save_weights: Saves | None = None, wait: bool = True,
              on: str | None = None, on_event: OnEvent = ignore) -> list[Result]:
    """Compute every cell the store lacks, and return the result of each cell of the study.

    On the CPU a process a core takes one cell after another; with a `device`, or a `stack` size, cells train side by
    side. Any number of runs may fill one store, on any machines that share its folder: each cell is computed by one of
    them, and the others wait for it; without `wait` they return when nothing is left to begin. A failed cell is a
    result and is tried again only with `retry`. KeyboardInterrupt leaves every finished round kept.
    """
    settings = Settings.of(study, store=store, data=data, workers=workers, device=device, stack=stack, engine=engine,
                           retry=retry, save_weights=save_weights, wait=wait, on=on)
    return compute(study, settings, on_event).results


def compute(study: Study, settings: Settings, on_event: OnEvent = ignore) -> Opened:
    """`run_study` with settled settings; the study opened where its results are."""
    check_not_loading("run_study")
    execute = executor_for(settings)
    store = _store_of(study, settings, on_event)
    _check_others(store)
    foreseen, named = dict[str, Outlook](), settled(study, store).planned
    lacking = [each.cell for each in named if store.status(each.id) in settings.lacking]
    if lacking and not (settings.on or settings.side_by_side):
        begin(lacking, settings.engine)  # It loads PyTorch while we do.

    # With PyTorch and numba, which nothing needs that only reads.
    from sweepstake.engine.kernels.step import are_compiled
    from sweepstake.run.check import check_study

    if lacking:
        # A cell that waits for a search is checked by what stands in for the found value.
        found = check_study(study, list(study.planned), settings.directories)
        on_event(events.Foreseen(found))
        pairs = zip(study.planned, named, strict=True)
        foreseen |= {here.id: found[each.id] for each, here in pairs if each.id in found}

    def train(planned: Sequence[Planned], stage: str = "") -> None:
        """What the store lacks of these cells."""
        wanted = _wanted(planned, store, settings, stage, on_event)
        if wanted and study.search:  # Trials, and the cells that a value was found for.
            foreseen.update(check_study(study, wanted, settings.directories))
        if not (settings.on or settings.side_by_side or are_compiled()):
            on_event(events.Compiling())
        tasks = _tasks(study, settings, _longest_first(wanted, foreseen))
        claims = Claims(store.folder / "claims", versions=provenance.comparable())
        with Queue(tasks, store, on_event, waits=settings.wait or bool(stage), claims=claims) as queue:
            execute(queue, settings, on_event)

    train(search_first(study, store, train, settings.retry, on_event).planned)
    return open_study(study, store)


def _store_of(study: Study, settings: Settings, on_event: OnEvent) -> Store:
    """The store, made if it is not there, with the texts of the study and its plug-ins and nothing half-written."""
    store = Store(settings.store)
    if problem := hidden_in(str(store.folder.absolute())):
        raise UserError(f"{visible(store.folder.absolute())} (the store): {problem}.")
    store.clear_abandoned()
    plugins = [(Path(plugin).stem, loaded_text(plugin)) for plugin in study.plugins]
    damages = [store.keep_study(study.name, study.text), *(store.keep_plugin(*each) for each in plugins)]
    for damage in filter(None, damages):
        on_event(events.Damaged(str(damage), "it is written again"))
    return store


def _check_others(store: Store) -> None:
    """Runs that fill one store together compute with the same libraries; a difference is told before work begins."""
    others = [held.holder for held in store.holders().values() if held.holder.versions and not held.holder.has_ended()]
    if lines := list(dict.fromkeys(f"{store.folder}: {line}" for other in others for line in _unlike(other))):
        raise UserError(*lines)


def _unlike(other: Holder) -> Iterator[str]:
    """Each library that another run has in another version."""
    for name, here, there in provenance.differing(other.versions):
        yield (f"{other.told} computes there with {name} {there or 'not installed'}, "
               f"and here it is {here or 'not installed'}. Install the same on both, or wait until it has ended.")


def _wanted(planned: Sequence[Planned], store: Store, settings: Settings, stage: str,
            on_event: OnEvent) -> list[Planned]:
    """The cells that the store lacks, with the plan of them told; a damaged one is computed again."""
    kept = {each.id: store.look(each.id) for each in planned}
    for id_, each in kept.items():
        for damage in each.damage:
            on_event(events.Damaged(str(damage), "its cell is computed again", id_))
    wanted = [each for each in planned if kept[each.id].status in settings.lacking]
    on_event(events.Plan(
        cells=len(planned),
        missing=len(wanted),
        rounds={each.id: each.cell.rounds + 1 for each in wanted},
        begun={each.id: 0 if kept[each.id].damage else kept[each.id].rounds_done for each in wanted},
        labels={each.id: " · ".join([*each.labels.values(), f"seed {each.cell.seed}"]) for each in planned},
        stage=stage,
        so_far=[events.Round.of(id_, record) for id_, each in kept.items() for record in each.rounds],
    ))
    return wanted


def _longest_first(wanted: Sequence[Planned], foreseen: Mapping[str, Outlook]) -> list[Planned]:
    """So that no long cell is begun when the others are done. Transplants last: their donors are in the store then."""
    def place(planned: Planned) -> tuple[bool, float]:
        known = foreseen.get(planned.id)
        return planned.cell.control == "transplant", -known.work if known else 0.0

    return sorted(wanted, key=place)


def _tasks(study: Study, settings: Settings, wanted: Sequence[Planned]) -> list[Task]:
    text = f"{study.text}\n# run with: {' '.join(study.changes)}\n" if study.changes else study.text
    datasets = {str(each.cell.dataset): each.cell.dataset for each in wanted}
    files = {said: data_hashes(ref, study.folder) for said, ref in datasets.items()}
    return [Task(
        id=each.id,
        cell=each.cell,
        store=str(settings.store.absolute()),
        data=[str(folder) for folder in settings.directories],
        plugins=[str(Path(plugin).absolute()) for plugin in study.plugins],
        study=study.name,
        text=text,
        engine=settings.engine,
        save_weights=settings.save_weights,
        folder=str(study.folder),
        files=files[str(each.cell.dataset)],
    ) for each in wanted]
