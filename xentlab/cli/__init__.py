"""The commands: parse, wire, print. Whatever is slow to import stays behind the command that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from xentlab import __version__
from xentlab.errors import UserError
from xentlab.plain import visible

_OVERRIDES = "GROUP=NAME chooses a file of configs/GROUP, KEY=VALUE sets a value; as in Hydra"

_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        "train one model, or with -m a sweep of them",
        (
            "xentlab train loss=mse dataset=mnist optimizer.lr=0.05 seed=3",
            "xentlab train -m loss=ce,bce,mse 'seed=range(5)'",
        ),
    ),
    "compare": (
        "compare losses at equal budgets over paired seeds, and say what can be concluded",
        (
            "xentlab compare comparison=quickstart",
            "xentlab compare comparison=quickstart comparison.final_seeds=20 --dry-run",
        ),
    ),
    "published": (
        "run published results again, and say for each claim whether ours agree",
        ("xentlab published --dry-run", "xentlab published nielsen_neuron nielsen_mnist --size full"),
    ),
    "report": (
        "lay out a recorded comparison again: as a page, Markdown, LaTeX, JSON or text",
        ("xentlab report quickstart", "xentlab report published/nielsen_mnist --format md > report.md"),
    ),
    "reproduce": (
        "train a recorded trial or comparison again, and judge whether every number and verdict stands",
        ("xentlab reproduce quickstart", "xentlab reproduce --from quickstart.zip --root elsewhere"),
    ),
    "export": (
        "write a comparison with all that runs it again into one file",
        ("xentlab export quickstart -o quickstart.zip", "xentlab export quickstart --root my-runs"),
    ),
    "import": (
        "bring an exported comparison into an output directory",
        ("xentlab import quickstart.zip", "xentlab import quickstart.zip --root elsewhere"),
    ),
    "list": (
        "what can be chosen: losses, datasets, models, optimizers, schedules, regularizers, executors, comparisons",
        ("xentlab list losses", "xentlab list losses custom_ce"),
    ),
    "check-loss": (
        "hold a loss, of the catalogue or your own, to the laws of losses",
        ("xentlab check-loss focal", "xentlab check-loss my_package.my_loss --task multiclass"),
    ),
    "plot-loss": (
        "draw losses and their gradients against the true class's logit and probability",
        ("xentlab plot-loss ce mse focal", "xentlab plot-loss ce gce my_package.my_loss --classes 10 -o losses.svg"),
    ),
    "explain": (
        "information, entropy, cross-entropy and KL divergence of distributions, as a table",
        ("xentlab explain 0.7,0.2,0.1", "xentlab explain 0.7,0.2,0.1 --against 0.5,0.3,0.2 --base 2"),
    ),
    "ui": (
        "open the MLflow UI on the recorded runs",
        ("xentlab ui", "xentlab ui --comparison quickstart --open", "xentlab ui --port 5001 --root my-runs"),
    ),
    "sync": (
        "send to MLflow what is recorded here and missing there",
        ("xentlab sync", "xentlab sync --root my-runs --uri http://127.0.0.1:5000"),
    ),
    "doctor": (
        "check versions, devices, data, database and disk",
        ("xentlab doctor", "xentlab doctor --root my-runs"),
    ),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="xentlab",
        description="Which loss should I train with, and does it matter here? A laboratory that answers with evidence.",
        epilog="Begin with:\n  xentlab compare comparison=quickstart\n  xentlab ui",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xentlab {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made = {}
    for name, (summary, examples) in _COMMANDS.items():
        made[name] = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="Examples:\n" + "\n".join(f"  {e}" for e in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=name not in ("train", "compare"),
        )
    made["list"].add_argument(
        "kind", help="losses, datasets, models, optimizers, schedules, regularizers, executors or comparisons"
    )
    made["list"].add_argument("name", nargs="?", help="show one of them in full")
    made["check-loss"].add_argument("target", help="a name of `xentlab list losses`, or a dotted path")
    made["check-loss"].add_argument(
        "--task", help="multiclass, multilabel or segmentation (default: all that the loss declares)"
    )
    made["plot-loss"].add_argument("names", nargs="+", metavar="NAME", help="a loss of the catalogue, or a dotted path")
    made["plot-loss"].add_argument(
        "-o", "--out", metavar="FILE", default="losses.png", help="a .png or .svg file (default: %(default)s)"
    )
    made["plot-loss"].add_argument("--classes", type=int, default=2, help="number of classes (default: %(default)s)")
    made["explain"].add_argument("distribution", help="probabilities that sum to one, such as 0.7,0.2,0.1")
    made["explain"].add_argument("--against", metavar="Q", help="a second distribution of the same length")
    made["explain"].add_argument("--base", type=float, help="base of the logarithm: 2 for bits (default: e, for nats)")
    _add_published_arguments(made["published"])
    _add_record_arguments(made)
    for name in ("ui", "sync", "doctor", "published", "report", "reproduce", "export", "import"):
        made[name].add_argument("--root", default="xentlab-runs", help="the output directory (default: %(default)s)")
    for name in ("ui", "sync", "doctor", "reproduce"):
        made[name].add_argument("--uri", help="MLflow tracking URI (default: the sqlite database in the root)")
        made[name].add_argument("--experiment", default="xentlab", help="MLflow experiment (default: %(default)s)")
    made["ui"].add_argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: %(default)s)")
    made["ui"].add_argument("--open", action="store_true", help="open the losses of the newest comparison in a browser")
    made["ui"].add_argument("--comparison", metavar="NAME", help="link to this comparison (default: the newest ones)")
    made["sync"].add_argument("--follow", metavar="SESSION", help=argparse.SUPPRESS)
    return top


def _add_published_arguments(made: argparse.ArgumentParser) -> None:
    """What `published` takes."""
    made.add_argument("names", nargs="*", metavar="NAME", help="of configs/comparison/published (default: all)")
    made.add_argument(
        "--size", choices=("smoke", "cpu", "gpu", "full"), help="(default: gpu where there is one, else cpu)"
    )
    made.add_argument(
        "--minutes", type=float, default=30.0, help="leave out what takes longer than this (default: %(default)g)"
    )
    made.add_argument("--dry-run", action="store_true", help="only say what would run, and how long it would take")
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an override for all, such as tracking=off"
    )


def _add_record_arguments(made: Mapping[str, argparse.ArgumentParser]) -> None:
    """What `report`, `reproduce`, `export` and `import` take."""
    named = "a comparison's name (the newest of it), id or folder"
    made["report"].add_argument("name", metavar="NAME|ID", help=named)
    made["report"].add_argument(
        "--format", choices=("html", "md", "tex", "json", "text"), default="html", help="(default: %(default)s)"
    )
    made["reproduce"].add_argument(
        "name", nargs="?", metavar="RUN_ID|COMPARISON", help=f"a trial's id or its beginning, or {named}"
    )
    made["reproduce"].add_argument("--from", dest="source", metavar="FILE", help="import this archive first")
    made["reproduce"].add_argument(
        "--trust", action="store_true", help="run any code that the record names, not only xentlab's and torch's"
    )
    made["reproduce"].add_argument(
        "--tracking", action=argparse.BooleanOptionalAction, default=True, help="send the new runs to MLflow"
    )
    made["export"].add_argument("name", metavar="COMPARISON", help=named)
    made["export"].add_argument("-o", "--out", metavar="FILE", help="the file to write (default: FOLDER.zip)")
    made["import"].add_argument("file", metavar="FILE", help="as `xentlab export` wrote it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any("://" in argument for argument in arguments):  # of a tracking server, perhaps with its password
        from xentlab.tracking.settings import hide_passwords

        arguments = hide_passwords(arguments)
        if argv is None:
            sys.argv[1:] = arguments
    _quiet_threads()
    try:
        if arguments and arguments[0] in ("train", "compare"):
            return _hydra_command(arguments[0], arguments[1:])
        options = parser().parse_args(arguments)
        return _plain_command(options)
    except UserError as error:
        print(visible(f"xentlab: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xentlab: interrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130


def _quiet_threads() -> None:
    # Idle worker threads that spin take the core from the process beside them: ten times slower on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _hydra_command(name: str, overrides: list[str]) -> int:
    if {"-h", "--help"} & set(overrides):
        from xentlab.cli.catalogue import print_hydra_help

        summary, examples = _COMMANDS[name]
        print_hydra_help(name, summary, examples, _OVERRIDES)
        return 0
    if name == "train":
        from xentlab.cli.train import train

        return train(overrides)
    from xentlab.cli.compare import compare

    return compare(overrides)


def _plain_command(options: argparse.Namespace) -> int:
    if options.command == "list":
        from xentlab.cli.catalogue import list_components

        return list_components(options.kind, options.name)
    if options.command == "check-loss":
        from xentlab.cli.laws import check_loss

        return check_loss(options.target, options.task)
    if options.command == "plot-loss":
        from xentlab.cli.laws import plot_loss

        return plot_loss(options.names, options.out, options.classes)
    if options.command == "explain":
        from xentlab.cli.catalogue import explain

        return explain(options.distribution, options.against, options.base)
    if options.command == "published":
        from xentlab.cli.published import run_all

        return run_all(
            options.names, options.size, options.minutes, options.root,
            dry_run=options.dry_run, overrides=options.set,
        )  # fmt: skip
    if options.command in ("report", "reproduce", "export", "import"):
        return _record_command(options)
    from xentlab.cli import service

    if options.command == "ui":
        return service.ui(
            options.root, options.uri, options.experiment, options.port,
            comparison=options.comparison, browse=options.open,
        )  # fmt: skip
    if options.command == "sync":
        return service.sync(options.root, options.uri, options.experiment, options.follow)
    return service.doctor(options.root, options.uri, options.experiment)


def _record_command(options: argparse.Namespace) -> int:
    from xentlab.cli import records

    if options.command == "report":
        return records.report(options.name, options.format, options.root)
    if options.command == "export":
        return records.export(options.name, options.out, options.root)
    if options.command == "import":
        return records.import_(options.file, options.root)
    return records.reproduce(
        options.name, options.source, options.root,
        trust=options.trust, tracking=options.tracking, uri=options.uri, experiment=options.experiment,
    )  # fmt: skip
