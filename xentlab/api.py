"""xentlab from Python: train and compare as the commands do, and look results up as data frames.

    import xentlab

    run = xentlab.train("trainer.epochs=5", loss=my_loss, dataset=my_torch_dataset)
    found = xentlab.compare("comparison.final_seeds=5", model=Net)
    found.verdicts

Arguments are overrides, as on the command line, and by name real objects for `dataset`, `model` and `loss`.
"""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from xentlab import held
from xentlab.comparison.cells import read_study
from xentlab.comparison.execute import run_study
from xentlab.comparison.extending import ADDED, read_extension
from xentlab.comparison.folder import Composed, find_comparison, read_verdicts, remember
from xentlab.config.choices import given_keys
from xentlab.config.compose import compose_group, composed
from xentlab.config.opening import opened, say
from xentlab.errors import unknown
from xentlab.journal import Records, TrialRecord
from xentlab.objects import as_entry, as_overrides
from xentlab.report import Record, Study
from xentlab.run.predictor import predictor
from xentlab.run.progress import progress_bar
from xentlab.train import prepare, rehearse


@dataclass(frozen=True)
class Run:
    """One training, as it is recorded under an output directory."""

    record: TrialRecord
    root: Path

    def predict(self, x: Any, weights: Literal["best", "final"] = "best") -> Any:
        """Probabilities [N, C, ...] or numbers [N, D] for inputs [N, ...] as the dataset stores them (a tensor).

        Raises:
            UserError: its weights were not kept, its data have changed, or the inputs have another shape.
        """
        return predictor(self.root, [self.record], weights).predict(x)

    @property
    def id(self) -> str:
        """By which commands find it."""
        return self.record.id

    @property
    def table(self) -> pd.DataFrame:
        """Each metric on validation and test, under the final weights and under those of the best epoch."""
        end = self.record.outcome
        last = {n.removeprefix("val/"): self.record.final(n) for n in self.record.curves if n.startswith("val/")}
        columns = {"validation": last, "test": end.test, "test_at_best": end.test_at_best}
        return pd.DataFrame(columns).rename_axis("metric")

    @property
    def curves(self) -> pd.DataFrame:
        """Each metric by epoch."""
        points = {name: {p[0]: p[2] for p in curve} for name, curve in self.record.curves.items()}
        return pd.DataFrame(points, dtype="float64").rename_axis("epoch")

    def plot(self, metric: str | None = None) -> Any:
        """A figure of one metric on training and validation, by default the one that chose the best epoch."""
        name, curves = metric or self.record.outcome.monitor, self.curves
        axes = _axes(3.5, xlabel="epoch", ylabel=name, title=self.record.label)
        for part in ("train", "val"):
            if f"{part}/{name}" in curves:
                axes.plot(curves.index, curves[f"{part}/{name}"], label=part)
        axes.legend()
        return axes.figure

    def _repr_html_(self) -> str:
        return str(self.table.to_html(float_format="%.4f"))


@dataclass(frozen=True)
class Comparison:
    """One comparison, as it is recorded.

    Attributes:
        record: its record, or one for each of its cells.
        folder: of its report.
        root: the output directory.
    """

    record: Record | Study
    folder: Path
    root: Path

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def verdicts(self) -> pd.DataFrame:
        """Each loss on each metric: its mean, its difference from the baseline with interval and p, the verdict."""
        fields = ("loss", "mean", "difference", "diff_low", "diff_high", "p_holm", "verdict", "n")
        rows = [
            {"cell": label, "metric": metric.key, **{name: getattr(row, name) for name in fields}}
            for label, record in self._cells
            for metric in record.metrics
            for row in metric.rows
        ]
        return pd.DataFrame(rows)

    @property
    def table(self) -> pd.DataFrame:
        """The verdicts on the primary metric alone."""
        primary = {record.primary.key for _, record in self._cells}
        return self.verdicts[self.verdicts["metric"].isin(primary)].reset_index(drop=True)

    @property
    def trials(self) -> pd.DataFrame:
        """Each loss's value on the primary metric by seed."""
        rows = [
            {"cell": label, "loss": row.loss, "seed": seed, record.primary.key: value}
            for label, record in self._cells
            for row in record.primary.rows
            for seed, value in row.values.items()
        ]
        return pd.DataFrame(rows)

    @property
    def curves(self) -> pd.DataFrame:
        """The mean of each metric over the final seeds by loss and epoch, with its 95 % band."""
        rows = [
            {"cell": label, "metric": key, "loss": loss, "epoch": epoch, "mean": mean, "low": low, "high": high}
            for label, record in self._cells
            for key, of_metric in record.curves.items()
            for loss, curve in of_metric.items()
            for epoch, mean, low, high in zip(curve.epochs, curve.mean, curve.low, curve.high, strict=True)
        ]
        return pd.DataFrame(rows)

    @property
    def _cells(self) -> list[tuple[str, Record]]:
        if isinstance(self.record, Study):
            return [(cell.label, cell.record) for cell in self.record.cells]
        return [("", self.record)]

    def plot(self, metric: str | None = None) -> Any:
        """A figure of the differences from the baseline on the primary metric, or of one of `curves` by epoch."""
        if metric is not None:
            return self._plot_curves(metric)
        table = self.table.dropna(subset=["difference"])
        names = [" ".join(filter(None, pair)) for pair in zip(table["cell"], table["loss"], strict=True)]
        label = f"{self._cells[0][1].primary.key}, difference from the baseline [95 % interval]"
        axes = _axes(1.2 + 0.4 * len(table), xlabel=label)
        middle = table["difference"].to_numpy(float)
        axes.errorbar(middle, names, xerr=abs(table[["diff_low", "diff_high"]].to_numpy(float).T - middle), fmt="o")
        axes.axvline(0.0, color="grey", linewidth=1)
        axes.margins(y=0.2)
        axes.invert_yaxis()
        return axes.figure

    def _plot_curves(self, metric: str) -> Any:
        curves = self.curves
        if metric not in set(curves["metric"]):
            raise unknown("metric of curves", metric, set(curves["metric"]))
        axes = _axes(3.5, xlabel="epoch", ylabel=metric)
        for (cell, loss), rows in curves[curves["metric"] == metric].groupby(["cell", "loss"], sort=False):
            axes.plot(rows["epoch"], rows["mean"], label=" ".join(filter(None, (cell, loss))))
            axes.fill_between(rows["epoch"], rows["low"].astype(float), rows["high"].astype(float), alpha=0.2)
        axes.legend()
        return axes.figure

    def _repr_html_(self) -> str:
        return str(self.table.to_html(float_format="%.4f"))


def _axes(height: float, **words: str) -> Any:
    """The axes of a new figure; `height` in inches."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(6, height), layout="constrained").subplots()
    axes.set(**words)
    return axes


def train(*overrides: str, **given: Any) -> Run:
    """Train one model, or find the record of just this training.

    Args:
        overrides: as on the command line, such as `"optimizer.lr=0.1"`.
        given: `loss="mse"`, `model=Net`, `dataset=my_dataset`, `seed=3`: names, values or objects. Data are a torch
            dataset, a tuple of two arrays, a data frame (with its target's name in a tuple), or a dict of such parts.

    Raises:
        UserError: what the command line would refuse.
    """
    words = [*overrides, *as_overrides(given)]
    with _COMPOSING, composed("train", words) as config:
        held.write_sources(config)
        trial = prepare(config)
    with opened(config, _command("train", words, config)) as session:
        if (known := session.recorded(trial)) is not None:
            return Run(known, session.root)
        rehearse([trial], session.dataset)
        with progress_bar(trial.label, trial.trainer.epochs) as on_epoch:
            return Run(session.run([trial], on_epoch=on_epoch)[0], session.root)


def compare(*overrides: str, extend: str | None = None, **given: Any) -> Comparison:
    """Compare losses; the arguments are those of `train`, and `losses=[...]` of names, objects and `{label: object}`.

    Args:
        extend: a recorded comparison that gets these losses, or `"comparison.final_seeds=N"`, in addition.

    Raises:
        UserError: what the command line would refuse.
    """
    losses = given.pop("losses", None)
    words = [*overrides, *as_overrides(given)]
    if losses is not None:
        words.append(f"comparison.losses=[{','.join(map(as_entry, losses))}]")
    with _COMPOSING, composed("compare", words) as config:
        held.write_sources(config)
        kept, wider = Composed(), None
        if extend is not None:
            wider = read_extension(extend, config, given_keys(words), compose_group, added=losses is not None)
            study, config, kept = wider.study, wider.config, wider.composed
            words = ["--extend", wider.name, *(w.replace("comparison.losses=", f"{ADDED}=") for w in words)]
        else:
            study = read_study(config, remember(compose_group, kept))
        command = _command("compare", words, config)
    with opened(config, command) as session:
        if wider is not None:
            say(wider.say_in(session))
        done = run_study(study, session, command, config, kept, progress_bar, lambda label, record: None)  # noqa: ARG005
        found = done.study.cells[0].record if len(done.study.cells) == 1 else done.study
        return Comparison(found, done.folder, session.root)


def load(name: str, root: str | Path = "xentlab-runs") -> Run | Comparison:
    """A recorded comparison by its name, id or folder, or a training by its id or the beginning of it."""
    records = Records(Path(root).absolute())
    records.update()
    ended = [trial for trial in records.trials.values() if trial.ended is not None and not trial.removed]
    mine = [trial for trial in ended if trial.id.startswith(name) or trial.marks.get("name") == name]
    if len(mine) == 1:
        return Run(mine[0], records.root)
    folder = find_comparison(Path(root), name)
    return Comparison(read_verdicts(folder), folder, Path(root))


def runs(root: str | Path = "xentlab-runs") -> pd.DataFrame:
    """Every recorded training: its id, what it is, how it stands, and its test metrics; what is removed is left out."""
    records = Records(Path(root).absolute(), without=("epoch",))
    records.update()
    names = ("task", "dataset", "model", "loss", "seed")
    rows = [
        {"id": t.id, "status": t.status, **{n: t.tags.get(n) for n in names}, **(t.ended.test if t.ended else {})}
        for t in records.trials.values()
        if not t.removed
    ]
    return pd.DataFrame(rows)


_COMPOSING = threading.RLock()  # Hydra holds one config at a time


def _command(name: str, words: list[str], config: dict[str, Any]) -> str:
    own = ", ".join(dict.fromkeys(held.held_names(config)))
    if not own:
        return shlex.join(["xentlab", name, *words])
    return f"xentlab.{name}(...) in Python, with objects that it was given: {own}; it can be run again from there only"
