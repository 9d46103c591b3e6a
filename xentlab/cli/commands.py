"""Every command, each in one place: what it does, examples, its arguments, and what runs it.

To add one: its entry in `COMMANDS`, and a function that takes the arguments by their names and returns an exit code.
Nothing slow is imported here: `run` is looked up when the command is called.
"""

from __future__ import annotations

import argparse

from xentlab.cli.contract import ROOT, STORE, Argument, Command
from xentlab.cli.runs_commands import RUNS
from xentlab.config.words import KINDS

_KINDS = ", ".join(kind for kind in KINDS if kind != "comparisons")
_COMPARISON = "a comparison's own name, such as quickstart-2, the newest of a name, an id or a folder"
_WEIGHTS = (
    Argument(
        "--weights",
        choices=("best", "final"),
        default="best",
        help="of its best epoch or its last (default: %(default)s)",
    ),
)
COMMANDS = (
    Command(
        "train",
        "train one model, or with -m a sweep of them",
        (
            "xentlab train loss=mse dataset=mnist optimizer.lr=0.05 seed=3",
            "xentlab train -m loss=ce,bce,mse 'seed=range(5)'",
        ),
        "train.train",
        None,
    ),
    Command(
        "compare",
        "compare losses at equal budgets over paired seeds, and say what can be concluded",
        (
            "xentlab compare comparison=quickstart",
            "xentlab compare comparison=quickstart comparison.final_seeds=20 --dry-run",
            "xentlab compare --extend quickstart-1 'comparison.losses+=[focal,{gce:{q:0.7}}]'",
            "xentlab compare --extend quickstart-1 comparison.final_seeds=20",
        ),
        "compare.compare",
        None,
    ),
    Command(
        "published",
        "run published results again, and say for each claim whether ours agree",
        ("xentlab published --dry-run", "xentlab published nielsen_neuron nielsen_mnist --size full"),
        "published.run_all",
        (
            Argument("chosen", nargs="*", metavar="NAME", help="of configs/comparison/published (default: all)"),
            Argument(
                "--size", choices=("smoke", "cpu", "gpu", "full"), help="(default: gpu where there is one, else cpu)"
            ),
            Argument(
                "--minutes", type=float, default=30.0,
                help="leave out what takes longer than this (default: %(default)g)",
            ),
            Argument("--dry-run", action="store_true", help="only say what would run, and how long it would take"),
            Argument(
                "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                help="an override for all, such as tracking=off",
            ),
            ROOT,
        ),
    ),
    Command(
        "report",
        "lay out a recorded comparison again: as a page, Markdown, LaTeX, JSON or text",
        ("xentlab report quickstart", "xentlab report published/nielsen_mnist --format md > report.md"),
        "reuse.report",
        (
            Argument("name", metavar="NAME|ID", help=_COMPARISON),
            Argument(
                "--format", dest="kind", choices=("html", "md", "tex", "json", "text"), default="html",
                help="(default: %(default)s)",
            ),
            ROOT,
        ),
    ),
    Command(
        "reproduce",
        "train a recorded trial or comparison again, and judge whether every number and verdict stands",
        ("xentlab reproduce quickstart", "xentlab reproduce --from quickstart.zip --root elsewhere"),
        "reuse.reproduce",
        (
            Argument(
                "name", nargs="?", metavar="RUN_ID|COMPARISON", help=f"a trial's id or its beginning, or {_COMPARISON}"
            ),
            Argument("--from", dest="source", metavar="FILE", help="import this archive first"),
            Argument(
                "--trust", action="store_true",
                help="run any code that the record names, not only xentlab's and torch's",
            ),
            Argument(
                "--tracking", action=argparse.BooleanOptionalAction, default=True, help="send the new runs to MLflow"
            ),
            *STORE,
        ),
    ),
    Command(
        "predict",
        "what a trained model, or all seeds of a comparison's loss together, answers to files",
        (
            "xentlab predict TRIAL_ID photographs/ other.png",
            "xentlab predict quickstart --loss custom_ce rows.csv -o answers.csv",
        ),
        "models.predict",
        (
            Argument("name", metavar="RUN_ID|COMPARISON", help=f"a trial's id or its beginning, or {_COMPARISON}"),
            Argument(
                "inputs", nargs="+", metavar="FILE", help="images, folders of images, tables, or .npy files of inputs"
            ),
            Argument("--loss", help="of the comparison, whose seeds answer together"),
            *_WEIGHTS,
            Argument("-o", "--out", metavar="FILE", help="write every probability or number as CSV"),
            ROOT,
        ),
    ),
    Command(
        "model",
        "write a trained model as one file that plain PyTorch loads (torch.export), or register it in MLflow",
        ("xentlab model TRIAL_ID -o digits.pt2", "xentlab model TRIAL_ID --register digits"),
        "models.model",
        (
            Argument("name", metavar="RUN_ID", help="a trial's id or its beginning"),
            Argument("-o", "--out", metavar="FILE", help="(default: model.pt2)"),
            Argument("--register", metavar="NAME", help="into MLflow's model registry instead, under this name"),
            *_WEIGHTS,
            *STORE,
        ),
    ),
    Command(
        "export",
        "write a comparison, a sweep or a trial with all that runs it again into one file",
        ("xentlab export quickstart -o quickstart.zip", "xentlab export sweep-1", "xentlab export TRIAL_ID"),
        "reuse.export",
        (
            Argument("name", metavar="NAME|ID", help=f"{_COMPARISON}; a sweep's name, or a trial's id"),
            Argument("-o", "--out", metavar="FILE", help="the file to write (default: FOLDER.zip)"),
            Argument("--diff", action="store_true", help="with the uncommitted difference, where output.diff kept it"),
            ROOT,
        ),
    ),
    Command(
        "import",
        "bring what was exported into an output directory",
        ("xentlab import quickstart.zip", "xentlab import quickstart.zip --root elsewhere"),
        "reuse.import_",
        (Argument("file", metavar="FILE", help="as `xentlab export` wrote it"), ROOT),
    ),
    Command(
        "runs",
        "what is recorded: list, show, compare, name, annotate, remove and restore it",
        ("xentlab runs", "xentlab runs ls --kind sweep --since 7d", "xentlab runs show quickstart-2"),
        "runs_list.ls",
        subcommands=RUNS,
    ),
    Command(
        "list",
        f"what can be chosen: {_KINDS}, comparisons",
        ("xentlab list losses", "xentlab list losses custom_ce"),
        "listing.list_components",
        (
            Argument("kind", help=f"{_KINDS} or comparisons"),
            Argument("name", nargs="?", help="show one of them in full"),
        ),
    ),
    Command(
        "check-loss",
        "hold a loss, of the catalogue or your own, to the laws of losses",
        ("xentlab check-loss focal", "xentlab check-loss my_package.my_loss --task multiclass"),
        "laws.check_loss",
        (
            Argument("target", help="a name of `xentlab list losses`, or a dotted path, with knobs: 'focal:{gamma:3}'"),
            Argument("--task", help="the name of one, such as multiclass (default: all that the loss declares)"),
        ),
    ),
    Command(
        "plot-loss",
        "draw losses and their gradients against the true class's logit and probability",
        (
            "xentlab plot-loss ce mse focal",
            "xentlab plot-loss ce gce my_package.my_loss --classes 10 -o losses.svg",
        ),
        "laws.plot_loss",
        (
            Argument("names", nargs="+", metavar="NAME", help="a loss of the catalogue, or a dotted path"),
            Argument(
                "-o", "--out", metavar="FILE", default="losses.png", help="a .png or .svg file (default: %(default)s)"
            ),
            Argument("--classes", type=int, default=2, help="number of classes (default: %(default)s)"),
        ),
    ),
    Command(
        "explain",
        "information, entropy, cross-entropy and KL divergence of distributions, or of a text, as a table",
        (
            "xentlab explain 0.7,0.2,0.1",
            "xentlab explain 0.7,0.2,0.1 --against 0.5,0.3,0.2 --base 2",
            "xentlab explain --logits 2,0.5,-1 --onehot 0",
            "xentlab explain 0.9,0.2,0.7 --multilabel 1,0,1",
            "xentlab explain --text notes.txt",
        ),
        "explain.print_account",
        (
            Argument("distribution", nargs="?", help="probabilities that sum to one, such as 0.7,0.2,0.1"),
            Argument("--text", metavar="FILE", help="a UTF-8 file: its entropies of orders 0 to 3, and code lengths"),
            Argument("--against", metavar="Q", help="a second distribution of the same length"),
            Argument("--base", type=float, help="base of the logarithm: 2 for bits (default: e, for nats)"),
            Argument("--logits", action="store_true", help="the numbers are logits: of their softmax (or sigmoid)"),
            Argument("--counts", action="store_true", help="the numbers are counts: their shares are meant"),
            Argument("--onehot", type=int, metavar="K", help="account for the outcome K against the distribution"),
            Argument("--multilabel", metavar="Y", help="0 and 1 for each label; the numbers are their probabilities"),
        ),
    ),
    Command(
        "ui",
        "open the MLflow UI on the recorded runs",
        ("xentlab ui", "xentlab ui --comparison quickstart --open", "xentlab ui --port 5001 --root my-runs"),
        "service.ui",
        (
            *STORE,
            Argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: %(default)s)"),
            Argument(
                "--open", dest="browse", action="store_true",
                help="open the losses of the newest comparison in a browser",
            ),
            Argument("--comparison", metavar="NAME", help="link to this comparison (default: the newest ones)"),
        ),
    ),
    Command(
        "sync",
        "send to MLflow what is recorded here and missing there",
        ("xentlab sync", "xentlab sync --all --root my-runs --uri http://127.0.0.1:5000"),
        "service.send",
        (
            *STORE,
            Argument(
                "--all", dest="everything", action="store_true",
                help="also what was filed for another store or experiment, or trained with tracking=off",
            ),
            Argument("--follow", metavar="SESSION", help=argparse.SUPPRESS),
        ),
    ),
    Command(
        "completion",
        "print what makes a shell complete commands, groups, losses and knobs",
        ('eval "$(xentlab completion bash)"', "xentlab completion fish > ~/.config/fish/completions/xentlab.fish"),
        "completion.completion",
        (Argument("shell", choices=("bash", "zsh", "fish")), Argument("--line", help=argparse.SUPPRESS)),
    ),
    Command(
        "doctor",
        "check versions, devices, data, disk, and what is damaged; with --repair rebuild what can be",
        ("xentlab doctor", "xentlab doctor --root my-runs --repair", "xentlab doctor shared.zip"),
        "service.doctor",
        (
            Argument("archives", nargs="*", metavar="ARCHIVE", help="an archive of `xentlab export` to look at"),
            *STORE,
            Argument("--repair", action="store_true", help="rebuild what other files still say; removes nothing"),
            Argument("--free", action="store_true", help="remove the kept features of frozen models (user's cache)"),
        ),
    ),
)  # fmt: skip
