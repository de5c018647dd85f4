"""The door for people: the command line is read here, and each command is one function of `commands.py`.

What a machine reads goes to stdout, the rest to stderr.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence

from sweepstake import __version__
from sweepstake.base.errors import UserError
from sweepstake.base.text import hidden_in, visible
from sweepstake.run.files import CannotWrite
from sweepstake.run.stopping import exit_code, stoppable

INTRO = """Say a lottery-ticket study in one small file; get every run of it trained, kept, and read back as
figures, statistics and a verdict on each claim.

A study that names plug-ins runs their Python code, whatever the command, and says so first.

first steps:
  sweepstake demo                      a whole study in under a minute, on digits inside the package
  sweepstake run prune-ready --quick   a paper's study, small; without --quick in full
  sweepstake pieces criterion          what a study can say
"""

EXITS = """exit codes:
  0    what was asked is done
  1    not all is there: cells failed, are missing or damaged after a run, or all diverged; a merge left something out
  2    a mistake in what was given (no command at all is one), or a file that cannot be written (a full disk);
       what is finished is kept
  3    nothing is there to read: no cell of the study is finished
  130  stopped by Ctrl-C; every finished round is kept
  143  stopped by SIGTERM or SIGUSR1, as a cluster's scheduler ends or warns a job; every finished round is kept
"""


def command() -> None:
    """The command itself: main, and once stopped an end at once, for Python takes a second or two to put torch away."""
    gc.set_threshold(100_000, 20, 100)  # It keeps most of what it makes: why look through it often?
    code = main()
    if code in (130, 143):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, as EXITS tells them."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    for said in arguments:
        if problem := hidden_in(said):
            print(f"{visible(said)}: {problem}.", file=sys.stderr)
            return 2
    if not arguments:  # As git does: help for who looks around, no success for a script whose command is empty.
        parser.print_help()
        return 2
    given = vars(parser.parse_args(arguments))
    try:
        from sweepstake import commands  # Not for --help: the libraries that commands need take their time.

        with stoppable():
            code = getattr(commands, given.pop("command"))(**given)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(visible(error), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has read enough; nothing more may be written there, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(visible(CannotWrite(error.filename or "disk", error)), file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:  # A folder whose name is no text, or an output that takes only ASCII.
        text = visible(error.object[max(0, error.start - 60):error.end])
        print(f"{text!a} cannot be written in {error.encoding}. Name folders in UTF-8; "
              "for an output that takes less, say PYTHONUTF8=1.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped.", file=sys.stderr)
        return exit_code(stop)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sweepstake", description=INTRO, epilog=EXITS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"sweepstake {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, says: str, example: str, study: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.",
                                   epilog=f"examples:\n{example}",
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(command=name)
        if study:
            made.add_argument("study", metavar="STUDY", help="a shipped study by name, or the path of a .toml file")
            made.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                              help="override one key of the study; part of the study, so of the ids (repeat for more)")
            made.add_argument("--quick", action="store_true",
                              help="the study's own [quick] scale: fewer seeds and rounds")
        return made

    def add_store(made: argparse.ArgumentParser) -> None:
        made.add_argument("--store", metavar="DIR", help="where results are kept (default: runs)")

    def add_running(made: argparse.ArgumentParser, workers: str = "processes at a time (default: one a core)",
                    clusters: bool = True) -> None:
        add_store(made)
        made.add_argument("--data", metavar="DIR", help="where data sets lie (else the variable SWEEPSTAKE_DATA)")
        made.add_argument("--workers", metavar="N", type=int, help=workers)
        made.add_argument("--device", choices=["cpu", "cuda"],
                          help="cpu, or cuda to train stacks of cells on a card (default: cpu)")
        made.add_argument("--stack", metavar="N", type=int,
                          help="cells side by side as one program "
                               "(default: as many as fit on a card; on the CPU one cell a core)")
        made.add_argument("--engine", choices=["fast", "reference"],
                          help="fast: our own kernels where they cover the cell; "
                               "reference: plain PyTorch for all (default: fast)")
        if clusters:
            made.add_argument("--on", metavar="CLUSTER",
                              help="compute there: dask or ray (workers on this machine), tcp://HOST:PORT (a Dask "
                                   "scheduler), ray://HOST:PORT, or slurm (jobs, see [machine.slurm]); "
                                   "no folder in common is needed")
        made.add_argument("--save-weights", choices=["none", "last", "all"],
                          help="keep trained weights in the store: of each cell's last round, or of all "
                               "(default: none); a cell that is done is not trained again for them")
        made.add_argument("--retry", action="store_true", help="compute failed cells again")
        made.add_argument("--no-wait", action="store_false", dest="wait",
                          help="end when nothing is left to begin, though other copies of this command are still at "
                               "work in the same store (default: wait for their cells)")
        add_out(made)

    def add_out(made: argparse.ArgumentParser) -> None:
        made.add_argument("--out", metavar="DIR", help="where the report goes (default: reports/STUDY)")

    def add_log(made: argparse.ArgumentParser) -> None:
        made.add_argument("--log", metavar="LOGGER", action="append", default=[],
                          help="show the runs there, too: tensorboard:DIR, trackio[:PROJECT] or wandb[:DIR] (offline), "
                               "each round as it ends; docs/logging.md (repeat for more)")

    made = add("run", "compute what a study lacks, then write its report", """  sweepstake run demo
  sweepstake run prune-ready --quick --data ~/data
  sweepstake run my-study.toml --set seeds=3 --set 'model={name="mlp", hidden=[100]}'
  sweepstake run my-study.toml            again after Ctrl-C or a crash: goes on at the last finished round
  sweepstake run my-study.toml --store /shared/runs      the same line on several machines: they share the cells
  sweepstake run my-study.toml --log tensorboard:tb      then `tensorboard --logdir tb`, while it trains""")
    add_running(made)
    add_log(made)

    made = add("show", "print a study's cells and stacks, and what it will cost, before anything runs",
               """  sweepstake show prune-ready
  sweepstake show my-study.toml --cells   every cell with its id""")
    made.add_argument("--cells", action="store_true", help="list every cell: id, seed and what varies (to stdout)")
    made.add_argument("--data", metavar="DIR", help="check the study against the data sets there, too")
    made.add_argument("--workers", metavar="N", type=int, help="estimate for this many processes (default: one a core)")
    add_store(made)

    made = add("script", "print a script that runs a study on a cluster: many copies of one command, one shared store",
               """  sweepstake script prune-ready --for slurm --store /shared/runs --data /shared/data > prune-ready.sh
  sbatch prune-ready.sh
  sweepstake script my-study.toml --for pbs --store /shared/runs --copies 8 --workers 4 --hours 12 > my-study.sh
  sweepstake script prune-ready --for kubernetes --store /shared/runs --data /shared/data > prune-ready.yaml

docs/cluster.md explains each script line by line, and what the shared folder must be able to do.""")
    made.add_argument("--for", dest="scheduler", metavar="NAME", required=True, help="slurm, pbs or kubernetes")
    made.add_argument("--copies", metavar="N", type=int,
                      help="how many copies of the command (default: an hour of work each, at most 16)")
    made.add_argument("--hours", metavar="H", type=float,
                      help="time limit of a copy (default: twice the estimated time, and a start)")
    made.add_argument("--memory", metavar="SIZE", help="of a copy, as in 4G or 1500M (default: by workers and network)")
    made.add_argument("--cores", metavar="N", type=int, help="of a copy (default: one a worker; 4 beside a card)")
    made.add_argument("--image", metavar="NAME", help="kubernetes: the image of its pods (default: sweepstake)")
    made.add_argument("--volume", metavar="NAME",
                      help="kubernetes: a claim of a shared volume that is there already (default: a new one)")
    add_running(made, workers="processes at a time in each copy (default: 1)", clusters=False)

    made = add("status", "say which cells of a study are done, begun, failed or missing", """  sweepstake status demo
  sweepstake status prune-ready --store /data/runs
  sweepstake status prune-ready --prove   reads every byte""")
    made.add_argument("--prove", action="store_true",
                      help="prove every file by its seal, as `results` and `report` do (default: of a finished cell "
                           "only that its result is there, is its own and was not cut short)")
    add_store(made)

    made = add("report", "write the report of what is there; trains nothing", """  sweepstake report demo
  sweepstake report prune-ready --out ~/figures
  sweepstake report prune-ready --data ~/data            with images of the data set that lies there""")
    add_store(made)
    made.add_argument("--data", metavar="DIR",
                      help="where data sets lie, to show images of them (else the variable SWEEPSTAKE_DATA)")
    add_out(made)

    made = add("watch", "open the report in a browser, live, while other processes fill the store; trains nothing",
               """  sweepstake watch demo
  sweepstake watch prune-ready --store /shared/runs      whoever computes there, on whichever machine
  sweepstake watch prune-ready --port 8765 --no-open     then on your own machine: ssh -L 8765:127.0.0.1:8765 HOST

A round is on the page within about two seconds, and unfinished cells count with the rounds they have; verdicts and
intervals of thousands of cells follow later, and the page says as of when they are. Its address is printed to
stdout. It answers this machine alone and only reads. Ctrl-C ends it; what is open in a browser stays.""")
    made.add_argument("--port", metavar="N", type=int, default=0, help="of the page's address (default: any free one)")
    made.add_argument("--no-open", action="store_false", dest="browser",
                      help="open no browser (default: open one where there is a screen)")
    add_store(made)

    made = add("figure", "write one figure for a paper, of one study or several: at its size, for black-and-white too",
               """  sweepstake figure demo --where init=xavier_normal,kaiming_normal --width 240pt --out demo.pdf
  sweepstake figure prune-ready --x compression --y error --at early --error ci --width 85mm --format pdf
  sweepstake figure frankle-carbin winning-tickets --label rewound --label one-shot --panel none --out both.svg
  sweepstake figure demo --figure 2-learning_curves --style screen --title --out curves.png

The path of the file goes to stdout, the words for its caption to stderr. docs/figures.md shows more.""", study=False)
    made.add_argument("studies", metavar="STUDY", nargs="+",
                      help="a shipped study by name, or the path of a .toml file; several: `study` is an axis then")
    made.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                      help="override one key of every study (repeat for more)")
    made.add_argument("--quick", action="store_true", help="the studies' own [quick] scale")
    made.add_argument("--store", metavar="DIR", action="append", default=[], dest="stores",
                      help="where results are kept: one for all studies, or one each in their order (default: runs)")
    made.add_argument("--label", metavar="NAME", action="append", default=[], dest="labels",
                      help="what a study is called, one each in their order (default: their names)")
    made.add_argument("--kind", metavar="KIND", help="what is drawn; docs/study-file.md lists kinds "
                                                     "(default: accuracy_by_kept)")
    made.add_argument("--figure", metavar="NAME", help="a figure of the study itself, by its number or its name, as in "
                                                       "2 or 2-learning_curves")
    made.add_argument("--x", choices=["kept", "compression", "round"], default="kept",
                      help="over weights remaining, compression ratio, or rounds (default: kept)")
    made.add_argument("--y", metavar="METRIC", help="accuracy, loss, error, early_step, seconds, or any column of "
                                                    "`sweepstake results` (default: accuracy)")
    made.add_argument("--at", choices=["end", "early"], help="at the end of a round, or at early stop (default: end)")
    made.add_argument("--by", metavar="AXIS", help="the axis that tells lines apart (default: study, or the first)")
    made.add_argument("--panel", metavar="AXIS", help="the axis of the panels (default: the next; none: one panel)")
    made.add_argument("--where", metavar="AXIS=LABEL", action="append", default=[],
                      help="only cells with this label on an axis, or these: init=a,b (repeat for more axes)")
    made.add_argument("--error", choices=["std", "ci", "range"],
                      help="bars: standard deviation over seeds, 95 %% bootstrap interval of the mean, or minimum to "
                           "maximum (default: std)")
    made.add_argument("--width", metavar="SIZE", default="240pt",
                      help="the whole figure's, in pt, mm, cm or in (default: 240pt, a column of two)")
    made.add_argument("--height", metavar="SIZE", help="the same (default: what looks well)")
    made.add_argument("--font-size", metavar="PT", type=float, default=8.0,
                      help="of every text, in points (default: 8)")
    made.add_argument("--style", choices=["print", "screen"], default="print",
                      help="print: groups differ in marker, dashes and lightness; screen: the report's colours "
                           "(default: print)")
    made.add_argument("--title", action=argparse.BooleanOptionalAction, default=False,
                      help="write title and explanation into the figure (default: a paper has a caption)")
    made.add_argument("--format", dest="form", choices=["svg", "pdf", "png"],
                      help="default: by the end of --out, else svg")
    made.add_argument("--dpi", metavar="N", type=int, default=300, help="of a PNG: dots an inch (default: 300)")
    made.add_argument("--out", metavar="FILE", help="the file (default: STUDY.FORMAT)")

    made = add("results", "print the tidy table: one row per cell and round",
               """  sweepstake results demo              in a terminal the columns that fit, to a file or a program csv
  sweepstake results demo --all | less -S
  sweepstake results demo --format csv > demo.csv
  sweepstake results demo --format parquet --out demo.parquet
  sweepstake results demo --timing        with the measured seconds, which differ from run to run""")
    made.add_argument("--format", dest="form", choices=["csv", "json", "parquet"],
                      help="csv or json to stdout; parquet to --out "
                           "(default: csv; in a terminal, a table of the columns that fit)")
    made.add_argument("--all", action="store_true", dest="every",
                      help="a table of every column, also where stdout is no terminal")
    made.add_argument("--out", metavar="FILE", help="write to this file instead of stdout")
    made.add_argument("--timing", action="store_true", help="add the columns of measured seconds")
    add_store(made)

    made = add("ticket", "write one cell's ticket to a file: its masks, and the weights that they leave",
               """  sweepstake ticket demo --where init=xavier_normal --where seed=0 --out ticket.safetensors
  sweepstake ticket demo --where init=xavier_normal --where seed=0 --round 3 --out round-3.safetensors
  sweepstake run demo --store b --save-weights last      trained weights are kept only where asked for
  sweepstake ticket demo --store b --where init=xavier_normal --where seed=0 --weights trained --out b.safetensors""")
    made.add_argument("--where", metavar="KEY=VALUE", action="append", default=[],
                      help="choose the cell by an axis, case, seed or any key of a cell (repeat until one is left)")
    made.add_argument("--round", metavar="N", type=int, dest="round_", help="of this round (default: the last)")
    made.add_argument("--out", metavar="FILE", required=True, help="the file to write, NAME.safetensors")
    made.add_argument("--weights", choices=["initial", "trained", "recipe"],
                      help="initial: the values where the round began; trained: those and the values where it ended; "
                           "recipe: no values, but the cell that they are drawn again from "
                           "(default: a recipe where there is one, and trained values where they were kept)")
    add_store(made)

    made = add("analyse", "say what survives: weights shared, pixels read, signs kept, lines between trainings",
               """  sweepstake analyse demo overlap --out overlap.svg
  sweepstake analyse demo pixels --where init=xavier_normal --out pixels.png
  sweepstake analyse my-study.toml connectivity --round 5 --format csv > lines.csv""")
    made.add_argument("what", metavar="ANALYSIS", choices=["overlap", "pixels", "signs", "connectivity"],
                      help="overlap: survivors that two tickets share, against chance; pixels: live weights that read "
                           "each pixel; signs: trained signs against the start's, and two tickets'; connectivity: the "
                           "error between two trainings in other orders of the data (the last two: save_weights)")
    made.add_argument("--where", metavar="KEY=VALUE", action="append", default=[],
                      help="only cells with this label on an axis, or of this seed (repeat for more)")
    made.add_argument("--round", metavar="N", type=int, help="only this round (default: all)")
    made.add_argument("--out", metavar="FILE", help="write the figure: .svg, .pdf or .png")
    made.add_argument("--format", dest="form", choices=["table", "csv", "json"], default="table",
                      help="table: a summary to stderr; csv or json: every row to stdout (default: table)")
    made.add_argument("--data", metavar="DIR", help="where data sets lie (else the variable SWEEPSTAKE_DATA)")
    add_store(made)

    made = add("publish", "write a study's table, figures, verdicts and provenance as files to keep",
               """  sweepstake publish demo
  sweepstake publish demo --store /data/runs --out ~/results""")
    add_store(made)
    made.add_argument("--out", metavar="DIR", help="where the study's folder goes (default: results)")
    made.add_argument("--partial", action="store_true",
                      help="publish even with cells missing or failed, --quick or --set: every title will say so")

    made = add("slides", "write a study as PowerPoint slides: question, plan, figures, verdicts; trains nothing",
               """  sweepstake slides demo --out talk.pptx
  sweepstake slides prune-ready --store /shared/runs --out prune-ready.pptx

One idea a slide, 16:9, with charts against weights remaining that can be edited there. What is cut to fit on a slide
stands whole in its notes. Needs `pip install sweepstake[slides]`.""")
    made.add_argument("--out", metavar="FILE", required=True, help="the file to write, NAME.pptx")
    add_store(made)

    made = add("log", "write what is finished of a study into TensorBoard, Trackio or Weights & Biases; trains nothing",
               """  sweepstake log demo --to tensorboard:tb
  sweepstake log prune-ready --to wandb:~/logs --to trackio

Each cell is a run, with its hyperparameters, learning curves, numbers by round, pictures of its masks and histograms of
its weights. A run that is there already is not written again. Nothing is sent anywhere.""")
    made.add_argument("--to", metavar="LOGGER", action="append", required=True,
                      help="tensorboard:DIR, trackio (or trackio:PROJECT) or wandb (or wandb:DIR, offline); "
                           "repeat for more")
    add_store(made)

    made = add("merge", "join stores made apart into one; nothing is lost, and real conflicts are told",
               """  sweepstake merge /mnt/laptop/runs /mnt/lab/runs --into runs --dry-run    say what would be done
  sweepstake merge /mnt/laptop/runs /mnt/lab/runs --into runs              again after Ctrl-C: goes on

Each cell ends as far as it has come in any of the stores, with its masks and kept weights, and so does each search. A
finished cell that both hold is compared: all of it but what made it, and how long it took. Equal, the one in --into
stays. Different, that one stays too, and the conflict is told with the rounds and fields that differ and with what made
both, since another processor or version of torch rounds differently. Everything else is merged all the same.
A damaged file is told and not copied. A cell that is computed now is left out: merge again when it ends.
The stores that are joined are only read. The counts go to stdout, a word and a number a line; the exit code is 1 where
anything was left out, so keep the stores then.""", study=False)
    made.add_argument("sources", metavar="STORE", nargs="+", help="a store to join, as it was given to --store")
    made.add_argument("--into", metavar="STORE", required=True, help="the store that has it all then; made if need be")
    made.add_argument("--dry-run", dest="dry", action="store_true", help="compare and tell, and write nothing")

    made = add("compare", "compare a criterion of yours with known ones, by the checklist of ShrinkBench",
               """  sweepstake compare --criterion mine.py:my_score --quick    on digits, in two to four minutes
  sweepstake compare --criterion mine.py:my_score            on MNIST, Fashion-MNIST and CIFAR-10
  sweepstake compare --criterion wanda --on digits/mlp --on mnist/lenet-300-100 --seeds 7
  sweepstake run reports/compare/compare-mnist-lenet-300-100.toml    one pair again, as a study

mine.py is a file with a criterion in it, which runs with your rights:

  from sweepstake import criterion

  @criterion(granularity="weight")
  def my_score(w_final, grad, *, images: int = 100):
      \"\"\"|w^2 grad|: keep what the loss would miss (nobody, never).\"\"\"
      return (w_final**2 * grad).abs()

Each pair trains the whole network, prunes it to 1/2, 1/4, ... 1/32 of its weights by your criterion, by magnitude
(over all layers, and per layer) and at random, and trains each as long again; SNIP, GraSP, SynFlow and a random mask
prune at init. All methods of a seed begin at the same weights. The report has accuracies, sizes, multiply-adds,
differences with intervals, and what the comparison lacks. What all of it costs is told before anything trains: about
50 minutes on two cores, two to four with --quick. Stopped, the same command goes on where it was.""",
               study=False)
    made.add_argument("--criterion", metavar="NAME", action="append", required=True, dest="criteria",
                      help="FILE.py:NAME, or a built-in (`sweepstake pieces criterion`); repeat for more")
    made.add_argument("--on", metavar="PAIR", action="append", default=[],
                      help="mnist/lenet-300-100, fashion_mnist/lenet-5, cifar10/conv-2 (the default three), "
                           "digits/mlp, digits/deep, digits/conv (with --quick), or any DATASET/MODEL; repeat for more")
    made.add_argument("--quick", action="store_true", help="three small networks on the digits inside the package")
    made.add_argument("--seeds", metavar="N", type=int, default=5, help="how many seeds (default: 5)")
    made.add_argument("--allocation", metavar="NAME", default="global",
                      help="how your criterion's counts are shared over layers (default: global)")
    made.add_argument("--when", choices=["after", "before"], default="after",
                      help="your criterion prunes the trained network, or the untrained one (default: after)")
    made.add_argument("--schedule", choices=["one-shot", "iterative"], default="one-shot",
                      help="prune once to each size, or half of the weights five times (default: one-shot)")
    add_running(made, clusters=False)

    made = add("check", "try whether a folder can hold a store that many machines fill",
               """  sweepstake check --filesystem /shared/runs
  sweepstake check --filesystem /shared/runs --machines 2      the same line on both at the same time

A store needs three things of its file system: of many that make one name (O_EXCL) one succeeds, a rename replaces a
file whole, and what is appended and closed is read by whoever opens the file afterwards. NFS 3 and 4 and Lustre give
them; locks are not used, and no clocks are compared.""", study=False)
    made.add_argument("--filesystem", metavar="DIR", required=True,
                      help="the folder to try; small files come and go in it")
    made.add_argument("--machines", metavar="N", type=int, default=1,
                      help="how many machines run this command on the folder now, and contend (default: 1)")

    made = add("pieces", "list every init, model, data set, criterion, ... with options and sources",
               """  sweepstake pieces
  sweepstake pieces criterion
  sweepstake pieces study                 the keys of a study file, each with its default
  sweepstake pieces init --plugins mine.py""", study=False)
    made.add_argument("open_set", metavar="SET", nargs="?",
                      help="one open set: dataset, model, init, lr_schedule, criterion, allocation or reset; "
                           "or study, for the keys of a study file")
    made.add_argument("--plugins", metavar="FILE", nargs="*", default=[],
                      help="plug-in files to load first: their code is run")

    made = add("demo", "run the demo study: 4 inits x 5 seeds x 15 rounds on 8 x 8 digits", """  sweepstake demo
  sweepstake demo --store /tmp/demo""", study=False)
    add_running(made)
    add_log(made)

    made = add("data", "say which data sets are here, where, and how to get the rest; or fetch one",
               """  sweepstake data
  sweepstake data --data ~/data
  sweepstake data fetch mnist             download it, check it, keep it where every study finds it""", study=False)
    made.add_argument("action", metavar="fetch", nargs="?", choices=["fetch"], help="download a published data set")
    made.add_argument("name", metavar="NAME", nargs="?", help="which one")
    made.add_argument("--data", metavar="DIR",
                      help="look here first, fetch to here (else the variable SWEEPSTAKE_DATA; else a cache of yours)")
    made.add_argument("--mirror", metavar="URL", action="append", default=[], dest="mirrors",
                      help="fetch from here instead of the known mirrors (repeat for more)")
    return parser
