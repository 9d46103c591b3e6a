"""The page: what it shows, and what it must never let through."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest
from report_lab import HOSTILE, LOSSES, Outline, example, hostile

from xentlab import report
from xentlab.report import charts, numbers, outline, record_tables, theme
from xentlab.report.record import Record


@pytest.fixture(scope="module")
def record():
    return Record.from_json(example())


@pytest.fixture(scope="module")
def page(record):
    return report.html(record)


def test_the_page_is_self_contained_and_nests(page):
    outline = Outline(page)
    tags = {tag for tag, _ in outline.tags}
    assert tags >= {"svg", "table", "details", "pre", "style", "ul"}
    assert not tags & {"script", "link", "img", "iframe", "image", "object", "base", "form"}
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    for _, attributes in outline.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")


def test_ids_are_unique_and_references_hit(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used
    assert len(ids) == len(set(ids))
    assert used <= set(ids)


def test_pictures_are_well_formed_and_take_the_pages_colours(record):
    pictures = [
        charts.curves(record, "val/error", "a"),
        charts.sensitivity(record, "b"),
        charts.seed_chart(record, record.primary, "c"),
        charts.difference_chart(record, record.primary, "d"),
    ]
    for picture in pictures:
        root = ET.fromstring(picture.replace("xlink:href", "href"))
        assert root.tag == "svg"
        assert set(root.attrib) >= {"viewBox", "role", "aria-label"}
        assert not {"width", "height"} & set(root.attrib)
        assert "currentColor" in picture
        assert not any(mark in picture for mark in (theme.INK, theme.GRID, theme.ZONE, "#a0b0", "#000000"))
        assert [t for t in root.iter("text") if t.text]  # text stays text
    for index in range(1, 5):
        assert f"var(--s{index})" in pictures[0]
        assert f"var(--s{index})" in pictures[3]
    assert "var(--s0)" in pictures[0]


def test_the_verdict_comes_first_and_everything_is_there(record, page):
    text = " ".join(Outline(page).text)
    order = (record.question, report.answer_of(record), "test error (primary)", *report.sentences_by_result(record))
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    parts = ["Convergence", "Learning rate", "Time to target", "Cost", "Every seed", "Protocol", "Environment"]
    for part in [*parts, record.command, record.signature, record.fingerprint, "commit", "gamma = 2", "failed"]:
        assert part in text


def test_every_number_of_a_picture_stands_in_a_table(record, page):
    text = " ".join(Outline(page).text)
    for metric in record.metrics:
        unit = numbers.scale_of(metric)
        finer = unit.with_digits(1)
        for row in metric.rows:
            for value in (row.mean, row.low, row.high):
                assert unit.value(value) in text
            assert unit.change(row.difference) in text
            assert all(value is None or finer.value(value) in text for value in row.values.values())
    for line in record.curves["val/error"].values():
        assert all(f"{100 * mean:.2f}" in text for mean in line.mean)


def test_the_best_are_marked_with_their_ties(record, page):
    best = [row.loss for row in record.primary.rows if row.best]
    assert len(best) > 1
    assert "mse" not in best
    table = record_tables.verdicts(record, record.primary)
    assert {row[0].text for row in table.rows if any(cell.best for cell in row)} == set(best)
    assert page.count('class="best"') == sum(r.best for m in record.metrics for r in m.rows) * 2 + len(LOSSES)


def test_whatever_lists_losses_lists_them_by_result(record):
    shown = outline.in_result_order(
        dataclasses.replace(record, cost=record.cost[::-1], reliability=record.reliability[::-1])
    )
    order = [row.loss for row in numbers.row_order(record.primary)]
    assert order != [loss.name for loss in record.losses]
    lists = [shown.losses, shown.cost, shown.reliability, *(m.rows for m in shown.metrics)]
    lists += [t.rows for t in shown.time_to_target]
    names = [[getattr(each, "name", None) or each.loss for each in found] for found in lists]
    for found in (*names, *shown.curves.values()):
        assert [*found] == [name for name in order if name in found]
    assert numbers.styled(shown) == [(place, shown.losses[k]) for k, (place, _) in enumerate(numbers.styled(record))]
    others = [record.labels[name] for name in order if name != record.baseline]
    assert all(said.startswith(label) for said, label in zip(shown.sentences, others, strict=False))


def test_hostile_texts_stay_texts():
    page = report.html(hostile())
    outline = Outline(page)
    assert not {"script", "img"} & {tag for tag, _ in outline.tags}
    assert "".join(outline.text).count(HOSTILE) > 15
    assert "<!--" not in page
    plain = report.markdown(hostile())
    assert "<script" not in plain.replace(f"```sh\n{HOSTILE}\n```", "").replace("&lt;", "")
    tex = report.latex(hostile())
    assert r"\frac" not in tex.replace(r"\textbackslash{}frac", "")


def test_a_record_with_nothing_optional_makes_every_format(tmp_path):
    data = {
        k: v for k, v in example(["ce", "mse"]).items() if k in ("name", "question", "command", "created", "baseline")
    }
    data["losses"] = [{"name": "ce", "label": "ce"}, {"name": "mse", "label": "mse"}]
    nothing = {"mean": None, "low": None, "high": None, "n": 0, "failed": 0, "values": {}}
    rows = [{"loss": "ce", "verdict": "baseline", **nothing}, {"loss": "mse", "verdict": "inconclusive", **nothing}]
    data["metrics"] = [{"key": "e", "label": "e", "direction": "min", "primary": True, "rows": rows}]
    for path in report.write_report(Record.from_json(data), tmp_path).values():
        assert path.stat().st_size > (150 if path.suffix == ".csv" else 300)


def test_many_losses_keep_apart():
    styles = {(theme.series(k), theme.dashes(k), theme.marker(k)) for k in range(24)}
    assert len(styles) == 24
    assert len({(k % len(theme.PALETTE), theme.stroke(k)) for k in range(24)}) == 24
