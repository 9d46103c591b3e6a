"""The report of several cells: what it says over all of them, and that every cell keeps its own."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_lab import HOSTILE, Outline, example

from xentlab import report
from xentlab.comparison.overview import make_overview
from xentlab.errors import UserError
from xentlab.report import charts, conclusions, numbers, study, study_charts, study_tables
from xentlab.report.record import Record
from xentlab.report.setup import Axes
from xentlab.report.study import StudyCell

LOSSES = ["ce", "mse", "focal"]


def cell(label: str, *, axes: Axes, mode: str = "tuned", fingerprint: str = "ab", shift: float = 0.0) -> StudyCell:
    data = example(LOSSES)
    data |= {"fingerprint": fingerprint, "time_to_target": [], "curves": {}}
    data["setup"] |= {"mode": mode, "axes": axes}
    for row in data["metrics"][0]["rows"]:
        if row["loss"] == "focal":
            row["values"] = {s: v + shift for s, v in row["values"].items()}
            row["mean"] += shift
    return StudyCell(label, Record.from_json(data))


def a_study(*cells: StudyCell, name: str = "two") -> report.Study:
    return report.Study(name, "Does it matter?", "xentlab compare", list(cells), make_overview(cells))


TWO = (
    cell("digits · mlp", axes={"dataset": "digits", "model": "mlp"}, fingerprint="a"),
    cell("mnist · mlp", axes={"dataset": "mnist", "model": "mlp"}, fingerprint="b", shift=-0.02),
)
SIX = tuple(
    cell(f"noise {k} · {mode}", axes={"dataset.noise": k}, mode=mode) for k in range(3) for mode in ("tuned", "shared")
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("study")
    return report.write_report(a_study(*TWO), folder)


@pytest.fixture(scope="module")
def read(paths: dict[str, Path]) -> report.Study:
    return report.Study.from_json(json.loads(paths["json"].read_text()))


def test_five_files_that_agree(paths: dict[str, Path], read: report.Study) -> None:
    names = {
        "html": "report.html",
        "markdown": "report.md",
        "latex": "report.tex",
        "json": "verdicts.json",
        "csv": "report.csv",
    }
    assert {kind: path.name for kind, path in paths.items()} == names
    assert [c.label for c in read.cells] == [c.label for c in TWO]
    assert report.html(read) == paths["html"].read_text()
    assert report.markdown(read) == paths["markdown"].read_text()


def test_ranks_and_profiles_are_those_of_the_cells(read: report.Study) -> None:
    ranks = read.overview.ranks
    assert ranks is not None
    assert ranks.n == 2
    best = {c.record.primary.rows[k].mean: k for c in TWO[1:] for k in range(3)}
    assert LOSSES[best[min(best)]] == "focal"
    assert sum(ranks.ranks.values()) == pytest.approx(6)
    assert ranks.ranks["mse"] == 3.0
    assert read.overview.groups is None, "two blocks are too few to test"
    profiles = {p.loss: p for p in read.overview.profiles}
    assert {p.n for p in profiles.values()} == {2}
    problems = [{row.loss: row.mean for row in c.record.primary.rows} for c in TWO]
    for loss, profile in profiles.items():
        wins = sum(problem[loss] == min(problem.values()) for problem in problems)
        assert profile.at(1.0) == pytest.approx(wins / 2)
        near = sum(problem[loss] <= 1.25 * min(problem.values()) for problem in problems)
        assert profile.at(1.25) == pytest.approx(near / 2)


def test_the_overview_shows_every_verdict_with_its_difference(read: report.Study) -> None:
    table = study_tables.verdict_table(read)
    assert table.header == ["", *LOSSES]
    assert [row[0].text for row in table.rows] == [c.label for c in TWO]
    for i, shown_cell in enumerate(TWO):
        for j, row in enumerate(shown_cell.record.primary.rows, start=1):
            found = table.rows[i][j]
            assert (found.verdict, found.best) == (row.verdict, row.best)
            assert found.text[0] == numbers.SYMBOLS[row.verdict]
            shown = row.mean if row.difference is None else row.difference
            number = float(found.text.split(" ")[1].replace("−", "-"))
            assert number == pytest.approx(100 * shown, abs=0.006)


def test_a_sentence_for_each_loss_says_its_verdicts_over_the_cells(read: report.Study, paths: dict[str, Path]) -> None:
    page, text = paths["html"].read_text(), paths["markdown"].read_text()
    said = conclusions.study_sentences(read)
    assert list(said) == ["focal", "mse"]
    for name, (sentence, agreed) in said.items():
        rows = [next(r for r in c.record.primary.rows if r.loss == name) for c in read.cells]
        assert rows[0].verdict == rows[1].verdict == agreed
        assert sentence.startswith(f"{name} against ce on test error: {agreed}")
        assert "in all 2 cells" in sentence
        assert f'<li class="{agreed}">{sentence}</li>' in page
        assert page.index(sentence) < page.index("<table")
        assert f"- {sentence}" in text


def with_verdicts(*verdicts: str, on_edge: bool = False) -> report.Study:
    """Cells at noise 0, 1, ... in which focal has these verdicts; the first lies on the edge where asked."""
    cells = []
    for k, verdict in enumerate(verdicts):
        data = cell(f"noise {k}", axes={"dataset.noise": k}).record.to_json()
        row = next(r for r in data["metrics"][0]["rows"] if r["loss"] == "focal")
        row |= {"verdict": verdict, "difference": -0.01 * (k + 1)}
        loss = next(entry for entry in data["losses"] if entry["name"] == "focal")
        loss |= {"on_edge": on_edge and k == 0, "stuck": 3 if on_edge and k == 1 else 0}
        cells.append(StudyCell(f"noise {k}", Record.from_json(data)))
    return report.Study("noise", "Does it pay?", "xentlab compare", cells)


def test_what_was_not_trained_here_stands_beside_the_means_and_as_lines_among_the_seeds() -> None:
    ends = [v for row in TWO[0].record.primary.rows for v in row.values.values() if v is not None]
    values = {"far": 1.0, "next": max(ends) + 0.01, "below": min(ends) - 0.01, "lost": 0.0}
    known = StudyCell("known", dataclasses.replace(TWO[0].record, references=values))
    table = study_tables.means(a_study(known, TWO[1]))
    assert table.header == ["", *LOSSES, *values]
    assert [[c.text for c in row[4:]][::3] for row in table.rows] == [["100.00", "0.00"], ["–"] * 2]
    drawn = charts.seed_chart(known.record, known.record.primary, "c")
    assert [name for name in values if f">{name}<" in drawn] == ["next", "below"]


def test_a_wide_table_of_few_cells_has_a_row_for_each_loss() -> None:
    values = {f"known {k}": 0.5 for k in range(6)}
    known = StudyCell("known", dataclasses.replace(TWO[0].record, references=values))
    table = study_tables.means(a_study(known, TWO[1]))
    assert table.header == ["", "known", TWO[1].label]
    assert [row[0].text for row in table.rows] == [*LOSSES, *values]
    assert [cell.text for cell in table.rows[-1][1:]] == ["50.00", "–"]


def test_cells_that_disagree_are_named_with_what_they_share_said_once() -> None:
    sentence, agreed = conclusions.study_sentences(with_verdicts("better", "worse", "better", on_edge=True))["focal"]
    assert agreed == ""
    unit = numbers.scale_of(TWO[0].record.primary)
    sizes = [unit.value(size) for size in (0.01, 0.02, 0.03)]
    assert sentence == (
        f"focal against ce on test error: better by {sizes[0]} to {sizes[2]} points for noise 0 and 2; "
        f"worse by {sizes[1]} points for noise 1; some of its trials stuck at a constant answer for noise 1; "
        "its tuned value lies on the edge of the search space for noise 0."
    )
    assert conclusions.labels_joined(SIX[:2]) == "noise 0 · tuned and noise 0 · shared"
    assert conclusions.labels_joined(SIX[:4:2]) == "noise 0 · tuned and noise 1 · tuned"
    points = [{"dataset": "digits", "dataset.label_noise": noise} for noise in (0.2, 0.4)]
    noisy = [cell(f"digits · label noise {point['dataset.label_noise']}", axes=point) for point in points]
    assert conclusions.labels_joined(noisy) == "digits · label noise 0.2 and 0.4"


def test_the_means_of_all_cells_stand_in_a_table_and_over_their_numbers(read: report.Study) -> None:
    table = study_tables.means(read)
    for i, record in enumerate(c.record for c in TWO):
        assert table.rows[i][0].text == TWO[i].label
        for j, row in enumerate(record.primary.rows, start=1):
            unit = numbers.scale_of(record.primary)
            assert table.rows[i][j].line == f"{unit.value(row.mean)} {unit.interval(row.low, row.high)}"
    named = study_charts.across_cells(read, "x")
    assert "digits · mlp" in named
    numbered = study_charts.across_cells(with_verdicts("better", "worse"), "x")
    assert re.search(r">noise</text>", numbered)
    assert "noise 0" not in numbered


def test_fairness_modes_count_once(read: report.Study) -> None:
    modes = (cell("tuned", axes={}), cell("shared", axes={}, mode="shared"))
    assert make_overview(modes) == study.Overview()
    seen = make_overview(SIX)
    assert seen.ranks is not None
    assert seen.ranks.n == 3
    assert "noise 0 · tuned, noise 1 · tuned, noise 2 · tuned" in seen.notes[0]
    assert "share their data" in seen.notes[1]
    assert make_overview(TWO).notes == []
    assert read.overview.notes == []


def test_a_metric_without_a_cost_has_no_profile() -> None:
    cells = []
    for shown in TWO:
        data = shown.record.to_json()
        data["metrics"][0] |= {"direction": "max", "percent": False}
        cells.append(StudyCell(shown.label, Record.from_json(data)))
    seen = make_overview(cells)
    assert seen.profiles == []
    assert seen.notes == ["No performance profile: test error is no cost"]
    assert seen.ranks is not None


def test_reworded_captions_change_no_rank() -> None:
    reworded = [dataclasses.replace(c, label=f"{k} in other words") for k, c in enumerate(SIX)]
    told, said = make_overview(SIX), make_overview(reworded)
    assert (said.ranks, said.groups, said.profiles) == (told.ranks, told.groups, told.profiles)
    assert told.ranks is not None


def test_the_page_is_one_self_contained_document(paths: dict[str, Path]) -> None:
    page = paths["html"].read_text()
    outline = Outline(page)
    assert not {tag for tag, _ in outline.tags} & {"script", "link", "iframe", "object", "base", "form"}
    assert not re.search(r"https?:|//[a-z]|@import", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert {"cell-0", "cell-1"} <= used <= set(ids)
    text = " ".join(outline.text)
    for part in ("Over all cells", "Mean ranks", "Performance profile", "Verdicts on test error", "Cells"):
        assert part in text
    assert page.count("<h1>") == 1
    assert text.count("Protocol") == 2
    assert "<h4>" in page


def test_more_than_three_cells_open_on_a_click(tmp_path: Path) -> None:
    paths = report.write_report(a_study(*SIX[:4], name="four"), tmp_path)
    page = paths["html"].read_text()
    assert page.count('<details class="cell">') == 4
    Outline(page)


def test_markdown_and_latex_hold_the_overview_and_every_cell(paths: dict[str, Path]) -> None:
    text, tex = paths["markdown"].read_text(), paths["latex"].read_text()
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = block.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# two", "# digits · mlp", "# mnist · mlp", "# Run all of it again",
    ]  # fmt: skip
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 3
    bare = tex.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    assert tex.isascii()


def test_hostile_labels_stay_texts(tmp_path: Path) -> None:
    cells = [StudyCell(HOSTILE, TWO[0].record), StudyCell("plain", TWO[1].record)]
    paths = report.write_report(report.Study(HOSTILE, HOSTILE, HOSTILE, cells, make_overview(cells)), tmp_path)
    outline = Outline(paths["html"].read_text())
    assert "script" not in {tag for tag, _ in outline.tags}
    assert "".join(outline.text).count(HOSTILE) >= 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["cells"].append(d["cells"][0]), "with different labels"),
        (lambda d: d.update(cells=[]), "study.cells must be at least one"),
        (lambda d: d["cells"][0].pop("record"), r"study\.cells\[0\]\.record is missing"),
        (lambda d: d["overview"]["ranks"]["ranks"].update(zz=1.0), "Unknown loss in the study 'zz'"),
        (lambda d: d["cells"][1]["record"].update(baseline="zz"), "Unknown record.baseline 'zz'"),
    ],
)
def test_a_wrong_study_is_refused_in_one_sentence(paths: dict[str, Path], change: Any, sentence: str) -> None:
    data = json.loads(paths["json"].read_text())
    change(data)
    with pytest.raises(UserError, match=sentence):
        report.Study.from_json(data)
