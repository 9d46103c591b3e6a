"""Published results run again, laid out: for each claim its source, the published value, ours, and the verdict.

`page` and `markdown_of` lay out one or several `Reproduction`s. Nothing is judged here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from functools import partial

from xentlab.report import draw, theme
from xentlab.report.blocks import (
    Block,
    Cell,
    Document,
    Items,
    Legend,
    Part,
    Picture,
    Pictures,
    Sentences,
    ShellCommand,
    Table,
    Text,
    cells,
    fold,
)
from xentlab.report.facts import environment
from xentlab.report.numbers import MISSING, decimals, number, short
from xentlab.report.record_tables import facts
from xentlab.report.render import markdown
from xentlab.report.render import page as html
from xentlab.report.reproduction import Arm, Finding, Lines, MeanDifference, Reproduction, SeedMean, Spent

# The verdict of a comparison whose colour each one takes.
COLOURS = {
    "agrees": "better",
    "disagrees": "worse",
    "not decidable": "inconclusive",
    "not tested here": "inconclusive",
}


def verdict_counts(experiment: Reproduction) -> str:
    """The verdicts of one experiment in a few words."""
    words = [f"{count} {verdict}" for verdict, count in experiment.counts.items() if count]
    return f"{experiment.name} ({experiment.size}): {', '.join(words)}"


def failed_words(experiment: Reproduction) -> list[str]:
    """A sentence for each arm that could not be trained."""
    return [f"{label} failed: {why}" for label, why in experiment.failed.items()]


def named_arms(finding: Finding) -> str:
    """The arm that a claim is about, or both with what is claimed of them."""
    link = "within the margin of" if finding.kind == "within" else "beats"
    return f"{finding.arm} {link} {finding.other}" if finding.other else finding.arm


def published_words(finding: Finding) -> str:
    """What the source says."""
    if finding.published is None:
        return finding.said or "order only"
    if finding.kind == "at_least":
        return f">= {finding.published:g}"
    spread = f" ± {finding.sd:g}" if finding.sd is not None else ""
    return f"{finding.published:g}{spread}" + (f" (best of {finding.best_of})" if finding.best_of > 1 else "")


def our_words(finding: Finding) -> str:
    """What came out here."""
    if finding.kind == "range" and finding.ours.mean is None:
        return "never"
    ours = _mean(finding.ours)
    if finding.theirs is not None:
        return f"{ours} against {_mean(finding.theirs)}"
    gone = finding.ours.gone
    return ours + (f", {gone} of {finding.ours.n + gone} stuck or diverged" if gone else "")


def _mean(of: SeedMean) -> str:
    if of.mean is None:
        return MISSING
    if of.sd is None:
        return f"{of.mean:.4g}"
    digits = decimals([of.sd])
    return f"{number(of.mean, digits)} ± {number(of.sd, digits)} (n={of.n})"


def _difference(of: MeanDifference | None) -> str:
    if of is None:
        return MISSING
    if of.low is None or of.high is None:
        return number(of.value, decimals([of.value]), sign=True)
    digits = decimals([(of.high - of.low) / 2])
    middle, low, high = (number(v, digits, sign=True) for v in (of.value, of.low, of.high))
    return f"{middle} [{low}, {high}]"


def summary(one: Reproduction) -> Table:
    """The claims for a terminal, the verdict last."""
    header = ["claim", "arm", "published", "ours", "difference [95 %]", "verdict"]
    rows = [
        cells(
            f.about, named_arms(f), published_words(f), our_words(f), _difference(f.difference),
            Cell(f.verdict, verdict=COLOURS[f.verdict]),
        )
        for f in one.findings
    ]  # fmt: skip
    return Table(f"{one.name} at size {one.size}: {one.size_words}", header, rows)


def page(title: str, experiments: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """One HTML page of one or several experiments; `missing` are names and reasons of what was not run."""
    heads = Sentences([(line, "") for line in _heads(experiments, missing)])
    return html.document(
        Document(title, _READ, [heads, *(Part(verdict_counts(one), list(_blocks(one))) for one in experiments)])
    )


def markdown_of(title: str, experiments: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """The same as Markdown."""
    blocks: list[Block] = [Items(_heads(experiments, missing))]
    for one in experiments:
        blocks += [_findings(one), Text(one.question), Text(f"{one.source}. {one.protocol}"), _size(one)]
        blocks.append(ShellCommand(one.command))
        if one.choices:
            blocks += [Text(f"{_OPEN}:"), Items(one.choices)]
        blocks += [*([_means(one)] if one.metrics else []), *_tables(one)]
    return markdown.document(Document(title, _READ, blocks))


def _heads(found: Sequence[Reproduction], missing: Sequence[tuple[str, str]]) -> list[str]:
    failed = [words for one in found for words in failed_words(one)]
    return [*map(verdict_counts, found), *failed, *(f"{name}: not run, {reason}" for name, reason in missing)]


_OPEN = "Left open by the source, and chosen here"
_READ = (
    "Ours is a mean ± standard deviation over n seeds. The difference is ours minus published with its 95 % interval; "
    "for an order, the claimed winner minus the other, over paired seeds. "
    "Agrees: shown to lie within the margin of the published value, or on the claimed side. Not decidable: this many "
    "seeds cannot tell. Not tested here: the claim is of other data, or of more of them. Nothing was tuned towards a "
    "number; of many true claims about one in twenty is called wrong by chance."
)


def _blocks(one: Reproduction) -> Iterable[Block]:
    yield from (Text(one.question), Text(f"{one.source}. {one.protocol}", weight="note"), _size(one), _findings(one))
    if one.pictures:
        yield Legend([(label, k) for k, label in enumerate(one.pictures[0].lines)])
        yield Pictures([Picture(partial(_draw, picture), picture.title) for picture in one.pictures])
    if one.metrics:
        yield _means(one)
    if one.choices:
        yield Part(_OPEN, [Items(one.choices)], folded=True)
    yield from map(fold, _tables(one))
    yield ShellCommand(one.command)


def _size(one: Reproduction) -> Text:
    return Text(f"Size {one.size}: {one.size_words}.", weight="note")


def _findings(one: Reproduction) -> Table:
    header = ["claim", "verdict", "published", "ours", "difference [95 %]", "metric", "source"]
    rows = [
        cells(
            Cell(f.about, named_arms(f), ": "),
            Cell(f.verdict, f.why, ": ", verdict=COLOURS[f.verdict]),
            published_words(f), our_words(f), _difference(f.difference), f.metric, f.source,
        )
        for f in one.findings
    ]  # fmt: skip
    return Table(f"{one.name}, size {one.size}", header, rows, layout="claims")


def _tables(one: Reproduction) -> Iterable[Table]:
    """Every table but that of the claims."""
    if one.choices_tried:
        yield _tried(one)
    yield from _seed_tables(one)
    if one.quantities:
        rows = [cells(k, "never" if v is None else f"{v:.6g}") for k, v in one.quantities.items()]
        yield Table("Every quantity", ["quantity", "value"], rows)
    if one.cost is not None:
        yield facts("Cost", _cost(one.cost))
    yield facts("Environment", environment(one.environment))


def _cost(spent: Spent) -> dict[str, str]:
    return {
        "trials": f"{spent.trials}, {spent.trained_now} of them trained now",
        "seconds": f"{spent.seconds:.0f} in all, as they were trained",
        "trained": ", ".join(f"{at_once} at once ({lift})" for at_once, lift in spent.ways),
        "one after another": f"about {spent.one_by_one:.0f} s"
        + (", from timed steps of one trial each" if spent.timed else ""),
    }


def _tried(one: Reproduction) -> Table:
    """Whether the open choices matter."""
    header = ["choice", "arm", "metric", "as chosen", "otherwise", "otherwise minus chosen [95 %]", ""]
    rows = [
        cells(
            t.label, t.arm, t.metric, _mean(t.ours), _mean(t.otherwise), _difference(t.difference),
            "it matters" if t.matters else "no difference is seen",
        )
        for t in one.choices_tried
    ]  # fmt: skip
    return Table("Open choices, made another way", header, rows)


def _means(one: Reproduction) -> Table:
    """Every arm beside the others, on every metric."""

    def mean(arm: Arm, key: str) -> str:
        known = [v for v in arm.values.get(key, {}).values() if v is not None]
        spread = f" ± {short(statistics.stdev(known))}" if len(known) > 1 else ""
        return f"{short(statistics.fmean(known))}{spread}" if known else MISSING

    rows = [
        cells(arm.label, *("failed" if arm.label in one.failed else mean(arm, key) for key in one.metrics))
        for arm in one.arms
    ]
    return Table("Every arm: mean ± sd over its seeds", ["arm", *one.metrics.values()], rows)


def _seed_tables(one: Reproduction) -> list[Table]:
    """One table for each metric: an arm in each row, a seed in each column."""
    tables = []
    for key, label in one.metrics.items():
        seeds = list(dict.fromkeys(seed for arm in one.arms for seed in arm.values.get(key, {})))
        header = ["arm", *(f"seed {seed}" for seed in seeds), "stuck", "diverged"]
        rows = []
        for arm in one.arms:
            values = [short(arm.values.get(key, {}).get(seed)) for seed in seeds]
            rows.append(cells(arm.label, *values, MISSING if arm.stuck is None else str(arm.stuck), str(arm.diverged)))
        tables.append(Table(f"Every seed: {label}", header, rows))
    return tables


def _draw(picture: Lines, prefix: str) -> str:
    with draw.settings():
        figure, axes = draw.page_axes(4.4, 2.9, left=0.9)
        for index, values in enumerate(picture.lines.values()):
            style = {"color": theme.series(index), "linestyle": theme.dashes(index), "linewidth": 1.8}
            axes.plot(range(len(values)), values, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(picture.label)
        return draw.svg(figure, prefix, picture.title)
