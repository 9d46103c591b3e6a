"""The commands of `xentlab runs`, each in one place, as in `commands`."""

from __future__ import annotations

from xentlab.cli.contract import ROOT, STORE, Argument, Command

_ONE = Argument(
    "name", metavar="NAME", help="of a sweep, a comparison or a trial: its name, its id or the beginning of it"
)
_YES = Argument("--yes", action="store_true", help="do not ask")
_FILTERS = (
    Argument("--dataset", help="only of this dataset"),
    Argument("--model", help="only with this model"),
    Argument("--loss", help="only with this loss"),
    Argument("--since", metavar="WHEN", help="only what began since a date, or days or hours ago: 7d, 12h"),
)

RUNS = (
    Command(
        "ls",
        "list what is recorded, the newest first",
        (
            "xentlab runs",
            "xentlab runs ls --kind comparison --loss focal --since 7d",
            "xentlab runs ls --sort disk --limit 5 --json",
        ),
        "runs_list.ls",
        (
            Argument("--kind", help="only comparison, published, sweep or trial; the last lists every trial"),
            *_FILTERS,
            Argument("--name", help="only of this name"),
            Argument("--state", help="only finished, running, failed, interrupted, killed, or trash"),
            Argument(
                "--sort",
                default="when",
                help="when, kind, name, dataset, model, state, trials or disk (default: %(default)s)",
            ),
            Argument("--limit", type=int, help="so many lines (default: 30 on a screen, else all)"),
            Argument("--json", dest="as_json", action="store_true", help="as JSON"),
            Argument("--csv", dest="as_csv", action="store_true", help="as CSV"),
            ROOT,
        ),
    ),
    Command(
        "show",
        "all that is known of a sweep, a comparison or a trial, on one screen",
        ("xentlab runs show quickstart-2", "xentlab runs show 1a21597"),
        "runs_shown.show_record",
        (_ONE, ROOT),
    ),
    Command(
        "best",
        "the best points by validation, each over its seeds; test data are never looked at",
        ("xentlab runs best --dataset digits", "xentlab runs best sweep-1 --limit 3"),
        "runs_shown.best",
        (
            Argument("name", nargs="?", metavar="NAME", help="only of this sweep or comparison"),
            *_FILTERS,
            Argument("--limit", type=int, default=10, help="points of each dataset (default: %(default)s)"),
            Argument("--json", dest="as_json", action="store_true", help="as JSON"),
            ROOT,
        ),
    ),
    Command(
        "diff",
        "what differs between two comparisons or two trials, and which verdicts moved",
        ("xentlab runs diff quickstart-1 quickstart-2",),
        "runs_shown.diff",
        (Argument("a", metavar="A", help=_ONE.options["help"]), Argument("b", metavar="B", help="the other"), ROOT),
    ),
    Command(
        "note",
        "write a note beside a record, which lists and MLflow show; an empty one takes it back",
        ("xentlab runs note quickstart-2 'with the new labels'",),
        "runs_changes.note",
        (_ONE, Argument("text", metavar="TEXT"), *STORE),
    ),
    Command(
        "rename",
        "give a record another name; the one it has goes on finding it",
        ("xentlab runs rename quickstart-2 new-labels",),
        "runs_changes.rename",
        (_ONE, Argument("new", metavar="NEW"), *STORE),
    ),
    Command(
        "rm",
        "move records to the trash of the output directory, and their runs to MLflow's",
        ("xentlab runs rm sweep-1", "xentlab runs rm quickstart-1 sweep-2 --yes"),
        "runs_changes.rm",
        (Argument("names", nargs="+", metavar="NAME", help=_ONE.options["help"]), _YES, *STORE),
    ),
    Command(
        "restore",
        "bring back what `runs rm` or `runs prune` moved to the trash",
        ("xentlab runs restore sweep-1", "xentlab runs restore checkpoints"),
        "runs_changes.restore",
        (
            Argument(
                "names", nargs="+", metavar="NAME", help="as of `runs ls --state trash`, or a flag of `runs prune`"
            ),
            *STORE,
        ),
    ),
    Command(
        "prune",
        "say what takes disk and is not needed, move it to the trash, empty the trash",
        ("xentlab runs prune", "xentlab runs prune --checkpoints --candidates", "xentlab runs prune --forever"),
        "runs_changes.prune",
        (
            Argument("--checkpoints", action="store_true", help="of trials that have finished"),
            Argument("--candidates", action="store_true", help="weights of trials that no comparison chose"),
            Argument("--orphans", action="store_true", help="folders that the journal does not know"),
            Argument("--caches", action="store_true", help="what is computed again where it is needed"),
            Argument("--forever", action="store_true", help="delete what the trash holds: nothing brings it back"),
            _YES,
            *STORE,
        ),
    ),
)
