"""What stands in a report and in which order: the answer, its table, then scope, evidence, how to run it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

from xentlab.report import (
    charts,
    conclusions,
    diagnostic_views,
    facts,
    predictions,
    record_tables,
    scope,
    study_charts,
    study_tables,
)
from xentlab.report.blocks import (
    Block,
    Document,
    Gallery,
    Items,
    Legend,
    Links,
    Part,
    Picture,
    Pictures,
    Sentences,
    ShellCommand,
    Text,
    fold,
)
from xentlab.report.headline import answer_of, answer_of_study
from xentlab.report.numbers import row_of, styled
from xentlab.report.record import JudgedMetric, Record
from xentlab.report.study import Study

# With more cells than these, each cell's own report opens on a click.
_OPEN = 3


def of_record(record: Record) -> Document:
    """The report of one comparison."""
    record = in_result_order(record)
    setup = record.setup
    about = " · ".join(filter(None, (setup.dataset, setup.model, record.created[:10])))
    parts = [part for part in _sections(record) if isinstance(part, Part)]
    named = [dataclasses.replace(part, anchor=f"part-{k}") for k, part in enumerate(parts)]
    contents = Links([(part.anchor, part.title) for part in named], contents=True)
    return Document(record.name, record.question, [*_answer(record), contents, *named], about)


def in_result_order(record: Record) -> Record:
    """The same record with the losses in the order of their results wherever it lists them; each keeps its colour."""
    losses = [dataclasses.replace(loss, style=place) for place, loss in styled(record)]
    places = {loss.name: k for k, loss in enumerate(losses)}

    def ordered(entries: Any) -> Any:
        if isinstance(entries, dict):
            return dict(sorted(entries.items(), key=lambda item: places[item[0]]))
        return sorted(entries, key=lambda each: places[each.loss])

    lists = ("cost", "reliability", "predicted", "wider", "duels", "rounding", "imported")
    return dataclasses.replace(
        record,
        losses=losses,
        metrics=[dataclasses.replace(m, rows=ordered(m.rows)) for m in record.metrics],
        curves={key: ordered(curves) for key, curves in record.curves.items()},
        time_to_target=[dataclasses.replace(t, rows=ordered(t.rows)) for t in record.time_to_target],
        examples=record.examples
        and dataclasses.replace(record.examples, predictions=ordered(record.examples.predictions)),
        sentences=conclusions.sentences_by_result(record),
        **{name: ordered(getattr(record, name)) for name in lists},
    )


def _answer(record: Record) -> Iterable[Block]:
    yield Text(answer_of(record), weight="answer")
    yield record_tables.verdicts(record, record.primary)


def _sections(record: Record) -> Iterable[Block]:
    legend = Legend([(loss.label, place) for place, loss in styled(record)])
    second = [metric for metric in record.metrics if not metric.primary]
    if said := scope.scope(record):
        yield Part("Scope", [Items(said)])
    yield Part("Verdicts in words", [Sentences(_sentences(record))])
    folded = [Part(f"Pictures of {metric.label}", [_pairing(record, metric)], folded=True) for metric in second]
    yield Part("Against the baseline", [legend, _pairing(record, record.primary), *folded])
    if record.wider:
        named = {each.metric for each in record.wider}
        shown = [diagnostic_views.chances(record, m) for m in record.metrics if m.key in named]
        duels = [diagnostic_views.duel_table(record)] if record.duels else []
        yield Part("Both kinds of chance", [shown[0], *map(fold, [*shown[1:], *duels])])
    if record.rounding:
        yield Part("Rounding", [diagnostic_views.rounding_table(record)])
    yield Part(
        "All metrics", [record_tables.overview(record), *(fold(record_tables.verdicts(record, m)) for m in second)]
    )
    if record.curves:
        captions = {key: f"{record.curve_label(key)}: mean over the seeds, 95 % band." for key in record.curves}
        drawn = [Picture(partial(charts.curves, record, key), caption) for key, caption in captions.items()]
        folded = [fold(record_tables.curve_table(record, key)) for key in record.curves]
        yield Part("Convergence on validation", [legend, Pictures(drawn), *folded])
    if any(loss.tuning for loss in record.losses):
        folded = [fold(record_tables.tuning(record, loss)) for loss in record.losses if loss.tuning]
        yield Part("Learning rate", [legend, _tuning(record), *folded])
    if record.time_to_target:
        yield Part("Time to target", [record_tables.target(record, entry) for entry in record.time_to_target])
    if record.predicted:
        folded = [fold(predictions.residual_table(record))]
        yield Part("Predicted numbers", [predictions.predicted_pictures(record), *folded])
    if record.reliability and record.reliability[0].of == "quantiles":
        yield Part("Calibration", [predictions.calibration_pictures(record), predictions.coverage_table(record)])
    elif record.reliability:
        yield Part("Reliability", [_reliability(record), fold(diagnostic_views.reliability_table(record))])
    if record.cross:
        yield Part("Cross-loss matrix", [diagnostic_views.cross_table(record)])
    if record.examples:
        yield Part("Examples", [Gallery(partial(diagnostic_views.example_grid, record, record.examples))])
    if record.cost:
        yield Part("Cost", [record_tables.cost(record)])
    yield Part("Chosen hyper-parameters", [record_tables.chosen(record)])
    yield Part("Every seed", [fold(record_tables.seeds(record, metric)) for metric in record.metrics])
    for title, told in (("Protocol", facts.protocol(record)), ("Environment", facts.environment(record.environment))):
        if told:
            yield Part(title, [record_tables.facts(title, told)])
    yield Part("Run it again", [ShellCommand(record.command), record_tables.identity(record)])


def _sentences(record: Record) -> list[tuple[str, str]]:
    lines = conclusions.sentences(record)
    verdicts = [row_of(record.primary, loss.name).verdict for loss in record.losses if loss.name != record.baseline]
    # Sentences that came with the record need not be one for each loss.
    return [(line, verdicts[k] if len(lines) == len(verdicts) else "") for k, line in enumerate(lines)]


def _pairing(record: Record, metric: JudgedMetric) -> Pictures:
    margin = " The shaded zone is the margin within which a difference does not matter." if metric.margin else ""
    difference = f"Paired difference of {metric.label}, 95 % interval.{margin}"
    seeds = f"{metric.label}: every seed, joined across the losses; bar: mean and 95 % interval."
    differences = Picture(partial(charts.difference_chart, record, metric), difference)
    return Pictures([differences, Picture(partial(charts.seed_chart, record, metric), seeds)])


def _tuning(record: Record) -> Pictures:
    caption = "Mean over all tuning trials; the ring is the rate chosen most. A gap: no trial finished there."
    if any(t.epochs is not None for x in record.losses for t in x.tuning):
        caption += " Rates that were left after fewer epochs are in the tables alone: their values do not compare."
    return Pictures([Picture(partial(charts.sensitivity, record), caption)])


def _reliability(record: Record) -> Pictures:
    draw = partial(diagnostic_views.reliability_picture, record)
    pictures = [
        Picture(partial(draw, entry), f"{record.labels[entry.loss]}, {entry.n} seeds") for entry in record.reliability
    ]
    note = (
        "Filled: how often it came true in each bin of stated probability; outlined: the gap to the mean that was "
        "stated; below: the bin's share of all statements."
    )
    return Pictures(pictures, note, small=True)


def of_study(study: Study) -> Document:
    """The report of a study: what all cells say together first, then every cell's own report."""
    return Document(study.name, study.question, list(_study_blocks(study)))


def _study_blocks(study: Study) -> Iterable[Block]:
    places = {name: place for place, name in enumerate(study.losses)}
    legend = Legend([(label, places[name]) for name, label in study.losses.items()])
    yield Text(answer_of_study(study), weight="answer")
    yield Sentences(list(conclusions.study_sentences(study).values()))
    yield study_tables.verdict_table(study)
    if study.one_metric:
        caption = f"Mean {study.cells[0].record.primary.label} in every cell, with its 95 % interval over the seeds."
        yield from (legend, Pictures([Picture(partial(study_charts.across_cells, study), caption)]))
    yield fold(study_tables.means(study))
    yield from (fold(study_tables.verdict_table(study, key)) for key in study_tables.secondary_keys(study))
    if together := list(_together(study)):
        yield Part("Over all cells", [*([legend] if isinstance(together[0], Pictures) else []), *together])
    yield Part("Cells", [Links([(f"cell-{k}", cell.label) for k, cell in enumerate(study.cells)])])
    for k, cell in enumerate(study.cells):
        losses = [dataclasses.replace(loss, style=places[loss.name]) for loss in cell.record.losses]
        record = in_result_order(dataclasses.replace(cell.record, losses=losses))
        blocks = [*_answer(record), *_sections(record)]
        yield Part(cell.label, blocks, len(study.cells) > _OPEN, chapter=True, anchor=f"cell-{k}")
    yield Part("Run all of it again", [ShellCommand(study.command)], chapter=True)


def _together(study: Study) -> Iterable[Block]:
    """Ranks and profiles over all cells, where there are any."""
    seen, pictures, shown = study.overview, [], []
    if seen.ranks is not None:
        caption = "Mean rank over the cells, 1 the best. A bar joins losses that are not told apart over the cells."
        pictures.append(Picture(partial(study_charts.mean_ranks, study, seen.ranks), caption))
        shown.append(study_tables.ranks(study))
    if seen.profiles:
        caption = "Share of problems within a factor of the best loss; higher is better."
        pictures.append(Picture(partial(study_charts.performance_profile, study), caption))
        shown.append(study_tables.profiles(study))
    if pictures:
        yield Pictures(pictures)
    yield from shown
    yield from (Text(f"{note}.", weight="note") for note in seen.notes)
