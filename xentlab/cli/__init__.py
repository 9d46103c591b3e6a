"""The commands: parse, wire, print. Whatever is slow to import stays behind the command that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from xentlab import __version__
from xentlab.errors import UserError

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
    "list": (
        "what can be chosen: losses, datasets, models, optimizers, schedules, regularizers, comparisons",
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
    "ui": ("open the MLflow UI on the recorded runs", ("xentlab ui", "xentlab ui --port 5001 --root my-runs")),
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
        "kind", help="losses, datasets, models, optimizers, schedules, regularizers or comparisons"
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
    for name in ("ui", "sync", "doctor"):
        made[name].add_argument("--root", default="xentlab-runs", help="the output directory (default: %(default)s)")
        made[name].add_argument("--uri", help="MLflow tracking URI (default: the sqlite database in the root)")
        made[name].add_argument("--experiment", default="xentlab", help="MLflow experiment (default: %(default)s)")
    made["ui"].add_argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: %(default)s)")
    made["sync"].add_argument("--follow", metavar="SESSION", help=argparse.SUPPRESS)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _quiet_threads()
    try:
        if arguments and arguments[0] in ("train", "compare"):
            return _hydra_command(arguments[0], arguments[1:])
        options = parser().parse_args(arguments)
        return _plain_command(options)
    except UserError as error:
        print(f"xentlab: {error}", file=sys.stderr)
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
    from xentlab.cli import service

    if options.command == "ui":
        return service.ui(options.root, options.uri, options.experiment, options.port)
    if options.command == "sync":
        return service.sync(options.root, options.uri, options.experiment, options.follow)
    return service.doctor(options.root, options.uri, options.experiment)
