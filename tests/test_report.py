"""The report: what the record demands, what the page shows, and what it must never let through."""

from __future__ import annotations

import copy
import dataclasses
import html.parser
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from xentlab import analysis, report
from xentlab.errors import UserError
from xentlab.report import charts, tables, theme, words
from xentlab.report.record import Record

LOSSES = ["ce", "mse", "focal", "bce", "unstable"]


def example(names=LOSSES, *, seeds=10):
    """A record as a comparison would make it, from drawn numbers: mse is worse, unstable often fails."""
    generator = np.random.default_rng(0)
    by_seed = generator.normal(0, 0.002, seeds)
    shift = {"mse": 0.008, "focal": 0.0003, "bce": -0.0001, "unstable": 0.004}

    def draw(base, scale):
        table = {}
        for name in names:
            values = base + by_seed + scale * shift.get(name, 0.0) + generator.normal(0, 0.0011, seeds)
            failed = name == "unstable"
            table[name] = {10 + s: None if failed and s < 4 else float(v) for s, v in enumerate(values)}
        return table

    def metric(key, label, base, scale, *, primary=False, percent=False, margin=None):
        rows = analysis.judge(draw(base, scale), baseline=names[0], direction="min", margin=margin)
        return {
            "key": key,
            "label": label,
            "direction": "min",
            "primary": primary,
            "percent": percent,
            "margin": margin,
            "rows": [row.to_json() for row in rows],
        }

    epochs = list(range(1, 13))
    curves = {}
    for place, name in enumerate(names):
        drawn = 0.03 + 0.3 * np.exp(-np.array(epochs) / (2 + place / 2)) + generator.normal(0, 0.004, (seeds, 12))
        band = analysis.band(drawn)
        curves[name] = {
            "epochs": epochs,
            "mean": band.mean.tolist(),
            "low": band.low.tolist(),
            "high": band.high.tolist(),
            "count": band.count.tolist(),
        }
    times = {
        name: {s: 3.0 + s % 4 + k if k < 4 or s < 3 else None for s in range(seeds)} for k, name in enumerate(names)
    }
    target_rows = [dataclasses.asdict(row) for row in analysis.time_to_target(times, horizon=12)]
    for row in target_rows:
        row.update({k: None for k, v in row.items() if isinstance(v, float) and not np.isfinite(v)})
    rates = [0.01, 0.03, 0.1, 0.3, 1.0]
    return {
        "name": "mnist",
        "question": "Does it matter which loss a small network on MNIST is trained with?",
        "command": "xentlab compare comparison=mnist",
        "created": "2026-11-20T12:00:00+00:00",
        "baseline": names[0],
        "losses": [
            {
                "name": name,
                "label": name,
                "knobs": {"lr": 0.1, **({"gamma": 2.0} if name == "focal" else {})},
                "on_edge": name == "unstable",
                "note": "",
                "tuning": [
                    {
                        "lr": rate,
                        "value": None if rate == 1.0 and k > 1 else 0.03 + 0.02 * abs(np.log10(rate) + 1) + 0.002 * k,
                        "n": 0 if rate == 1.0 and k > 1 else 3,
                        "chosen": rate == 0.1,
                    }
                    for rate in rates
                ],
            }
            for k, name in enumerate(names)
        ],
        "metrics": [
            metric("test/error", "test error", 0.031, 1.0, primary=True, percent=True, margin=0.003),
            metric("test/nll", "NLL", 0.11, 2.0),
            metric("test/ece", "ECE", 0.02, 0.0, percent=True, margin=0.003),
        ],
        "protocol": {"dataset": "mnist, 60,000 training images", "model": "mlp 784-100-10", "final seeds": "10 to 19"},
        "environment": {"torch": "2.15.0", "CPU": "2 cores", "commit": "0123abc"},
        "signature": "ab" * 32,
        "fingerprint": "cd" * 32,
        "curves": {"val/error": curves, "val/nll": {names[0]: curves[names[0]]}},
        "curve_labels": {"val/error": "validation error", "val/nll": "validation NLL"},
        "percent_curves": ["val/error"],
        "selection": "validation error",
        "selection_percent": True,
        "time_to_target": [
            {
                "metric": "val/error",
                "label": "validation error at most",
                "target": 0.05,
                "horizon": 12,
                "percent": True,
                "rows": target_rows,
            }
        ],
        "cost": [
            {"loss": name, "ms_per_step": 0.41 + k / 100, "seconds": 3.2, "peak_mb": None}
            for k, name in enumerate(names)
        ],
    }


@pytest.fixture(scope="module")
def record():
    return Record.from_json(example())


@pytest.fixture(scope="module")
def page(record):
    return report.html(record)


class Outline(html.parser.HTMLParser):
    """Every tag with its attributes, the text outside of pictures, and a check that tags nest."""

    VOID = ("meta", "br", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.text.append(data)


# The record


def test_a_record_survives_json(record):
    again = Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))
    assert again == record
    assert again.losses[2].knobs == {"lr": 0.1, "gamma": 2.0}


def test_every_field_of_a_judgement_and_a_time_has_its_place_in_the_record():
    def names(kind):
        return {f.name for f in dataclasses.fields(kind)}

    assert names(analysis.Judgement) == names(report.record.Row)
    assert names(analysis.TimeToTarget) == names(report.record.TargetRow)


def without(data, *path):
    *parents, last = path
    for key in parents:
        data = data[key]
    del data[last]


def put(data, value, *path):
    *parents, last = path
    for key in parents:
        data = data[key]
    data[last] = value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: without(d, "question"), r"^record\.question is missing\.$"),
        (lambda d: put(d, 3, "name"), r"^record\.name must be a text, got 3\.$"),
        (
            lambda d: put(d, "x", "metrics", 0, "rows", 2, "p"),
            r"record\.metrics\[0\]\.rows\[2\]\.p must be a finite num",
        ),
        (lambda d: put(d, float("nan"), "metrics", 0, "rows", 0, "mean"), r"mean must be a finite number, got nan"),
        (lambda d: put(d, True, "metrics", 0, "rows", 0, "n"), r"rows\[0\]\.n must be an integer, got True"),
        (lambda d: put(d, "good", "metrics", 0, "rows", 0, "verdict"), r"verdict must be one of better, worse"),
        (lambda d: put(d, 1, "metricz"), r"Unknown field of record 'metricz'\. Did you mean 'metrics'\?"),
        (lambda d: put(d, [], "losses", 0, "knobs"), r"knobs must be a mapping with words as keys, got \[\]"),
        (lambda d: put(d, {}, "losses"), r"record\.losses must be a list, got \{\}"),
        (lambda d: put(d, [1], "losses"), r"record\.losses\[0\] must be a mapping, got 1"),
        (lambda d: put(d, 2, "version"), r"record\.version must be 1.*got 2"),
        (lambda d: put(d, "zz", "baseline"), r"Unknown record\.baseline 'zz'"),
        (lambda d: put(d, "ce", "losses", 1, "name"), r"losses must have different names, got ce, ce"),
        (lambda d: put(d, False, "metrics", 0, "primary"), r"exactly one that is primary"),
        (lambda d: without(d, "metrics", 1, "rows", 0), r"test/nll must have one row for each of ce, mse"),
        (lambda d: put(d, "zz", "cost", 0, "loss"), r"Unknown loss in the record 'zz'"),
        (
            lambda d: without(d, "curves", "val/error", "ce", "low", 0),
            r"val/error of ce must have columns of one length",
        ),
    ],
)
def test_a_wrong_record_is_refused_in_one_sentence(change, sentence):
    data = copy.deepcopy(example())
    change(data)
    with pytest.raises(UserError, match=sentence):
        Record.from_json(data)


def test_a_record_that_is_no_mapping_is_refused():
    with pytest.raises(UserError, match=r"record must be a mapping, got \[\]"):
        Record.from_json([])


# Words


def test_the_sentences_say_the_verdicts(record):
    mse, focal, bce, unstable = report.sentences(record)
    row = words.row_of(record.primary, "mse")
    pattern = (
        r"mse is worse than ce on test error by (\S+) points \[(\S+), (\S+)\], n = 10, p = (\S+); worse on NLL; equi.*"
    )
    size, low, high, p = map(float, re.fullmatch(pattern, mse).groups())
    assert (size, low, high) == pytest.approx(
        (100 * row.difference, 100 * row.diff_low, 100 * row.diff_high), abs=0.005
    )
    assert p == pytest.approx(row.p_holm, abs=5e-4)
    assert focal.startswith("focal is equivalent to ce on test error: difference ")
    assert "within ±0.3 points, n = 10" in bce
    assert unstable.endswith("its tuned value lies on the edge of the search space.")
    assert "n = 6, 4 failed" in unstable


def test_a_better_loss_is_better_by_a_positive_number():
    data = example(["mse", "ce"])
    [sentence] = report.sentences(Record.from_json(data))
    size, low, high = re.match(
        r"ce is better than mse on test error by (\S+) points \[(\S+), (\S+)\],", sentence
    ).groups()
    assert 0 < float(low) < float(size) < float(high)


def test_a_loss_that_never_finishes_has_a_sentence():
    data = example(["ce", "mse"])
    table = {"ce": dict(enumerate(np.linspace(0.1, 0.2, 10).tolist())), "mse": dict.fromkeys(range(10))}
    data["metrics"][0]["rows"] = [r.to_json() for r in analysis.judge(table, baseline="ce", direction="min")]
    broken = Record.from_json(data)
    assert report.sentences(broken)[0].startswith(
        "mse is worse than ce on test error: no seed on which both finished (n = 0, 10 failed, p = 0.004)"
    )
    Outline(report.html(broken))


def test_given_sentences_are_kept(record):
    assert report.sentences(dataclasses.replace(record, sentences=["As said."])) == ["As said."]


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (None, 2, False, "–"),
        (-0.126, 2, False, "−0.13"),
        (0.126, 2, True, "+0.13"),
        (-0.001, 2, True, "0.00"),
        (12, 0, False, "12"),
    ],
)
def test_numbers(value, digits, sign, text):
    assert words.number(value, digits, sign=sign) == text


@pytest.mark.parametrize(
    ("widths", "digits"), [([0.3], 2), ([0.03, None], 3), ([], 3), ([25.0], 0), ([1e-9], 6), ([0.0], 3)]
)
def test_intervals_decide_the_digits(widths, digits):
    assert words.decimals(widths) == digits


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0004, "< 0.001"), (0.0312, "0.031"), (0.5, "0.50"), (1.0, "1.00")]
)
def test_p_values(p, text):
    assert words.p_value(p) == text


# The page


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
        charts.seeds(record, record.primary, "c"),
        charts.differences(record, record.primary, "d"),
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
    places = [text.index(part) for part in (record.question, *report.sentences(record), "test error (primary)")]
    assert places == sorted(places)
    parts = ["Convergence", "Learning rate", "Time to target", "Cost", "Every seed", "Protocol", "Environment"]
    for part in [*parts, record.command, record.signature, record.fingerprint, "commit", "gamma = 2", "failed"]:
        assert part in text


def test_every_number_of_a_picture_stands_in_a_table(record, page):
    text = " ".join(Outline(page).text)
    for metric in record.metrics:
        unit = words.scale_of(metric)
        finer = tables._finer(unit)
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
    table = tables.verdicts(record, record.primary)
    assert {table.losses[i] for i, _ in table.best} == set(best)
    assert page.count('class="best"') == sum(r.best for m in record.metrics for r in m.rows) * 2 + len(LOSSES)


HOSTILE = "<script>alert(1)</script>--><img src=x onerror=y>$\\frac{a}{b}$ & \"quoted\" 'single' | `tick` 損失"


def hostile():
    data = example(["ce", "mse"])
    data.update(name=HOSTILE, question=HOSTILE, command=HOSTILE, created=HOSTILE, signature=HOSTILE, selection=HOSTILE)
    data["losses"][1].update(label=HOSTILE, note=HOSTILE, knobs={HOSTILE: HOSTILE})
    data["curve_labels"]["val/error"] = HOSTILE
    data["protocol"] = data["environment"] = {HOSTILE: HOSTILE}
    data["time_to_target"][0]["label"] = HOSTILE
    for metric in data["metrics"]:
        metric["label"] = HOSTILE
        metric["rows"][1]["note"] = HOSTILE
        metric["rows"][1]["values"] = {HOSTILE: 0.5}
    return Record.from_json(data)


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
    for path in report.write(Record.from_json(data), tmp_path).values():
        assert path.stat().st_size > 300


def test_many_losses_keep_apart():
    styles = {(theme.series(k), theme.dashes(k), theme.marker(k)) for k in range(24)}
    assert len(styles) == 24
    assert len({charts.swatch(k) for k in range(24)}) == 24


# The other formats


def test_write_makes_four_files_that_agree(record, tmp_path):
    paths = report.write(record, tmp_path / "new" / "folder")
    assert {kind: path.name for kind, path in paths.items()} == {
        "html": "report.html", "markdown": "report.md", "latex": "report.tex", "json": "verdicts.json",
    }  # fmt: skip
    again = Record.from_json(json.loads(paths["json"].read_text()))
    assert again == dataclasses.replace(record, sentences=report.sentences(record))
    first = {kind: path.read_bytes() for kind, path in paths.items()}
    report.write(record, tmp_path)
    assert {kind: (tmp_path / path.name).read_bytes() for kind, path in paths.items()} == first


def test_markdown_tables_are_tables(record):
    text = report.markdown(record)
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = block.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert set(lines[1]) == set("| -")
    assert text.count("\n## ") >= 12
    for sentence in report.sentences(record):
        assert f"- {sentence}".replace("[", "\\[").replace("]", "\\]") in text


def test_latex_is_balanced_and_marks_the_best(record):
    text = report.latex(record)
    bare = text.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    assert text.count(" \\\\\n") == 1 + len(LOSSES)
    assert text.count(r"\textbf") == sum(row.best for metric in record.metrics for row in metric.rows)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert all(line.count(" & ") == len(record.metrics) for line in body.splitlines() if line.endswith("\\\\"))
    assert "test error \\%" in text
    assert text.isascii()


def test_the_terminal_shows_table_and_sentences(record):
    from rich.console import Console

    header, rows = report.verdict_rows(record)
    assert len(rows) == len(LOSSES)
    assert {len(row) for row in rows} == {len(header)}
    console = Console(file=io.StringIO(), width=200, color_system=None)
    report.print_verdict(record, console)
    shown = console.file.getvalue()
    assert all(sentence[:150] in shown for sentence in report.sentences(record))
    assert "▼ worse" in shown


def test_a_record_is_laid_out_without_matplotlib_until_something_is_drawn():
    code = (
        "import sys, xentlab.report as r, xentlab.analysis\n"
        "heavy = [m for m in ('matplotlib', 'rich', 'torch', 'pandas', 'scipy.stats', 'mlflow') if m in sys.modules]\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# Pictures of single trials


def test_the_curves_of_one_trial(tmp_path):
    history = {
        "train/objective": [2.0, 1.0, 0.5],
        "train/error": [0.5, 0.2, 0.1],
        "val/error": [0.6, None, float("inf")],
    }
    figure = report.training_curves(history, "ce, lr 0.1 $x$", targets={"val/error": 0.05})
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(panels) == ["objective", "error"]
    [line] = panels["objective"].lines
    assert list(line.get_ydata()) == [2.0, 1.0, 0.5]
    assert list(line.get_xdata()) == [1, 2, 3]
    train, val, target = panels["error"].lines
    assert np.isnan(val.get_ydata()).tolist() == [False, True, True]
    assert list(target.get_ydata()) == [0.05, 0.05]
    assert train.get_color() != val.get_color()
    path = report.save_curves(history, tmp_path / "plots" / "curves.png", title="ce")
    with Image.open(path) as image:
        assert image.size[0] > 600
        assert len(image.convert("RGB").getcolors(1_000_000)) > 50
    with pytest.raises(UserError, match="at least one metric"):
        report.training_curves({}, "nothing")


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before, windows = dict(matplotlib.rcParams), set(sys.modules) & {"matplotlib.pyplot"}
    report.save_curves({"loss": [1.0]}, tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    assert set(sys.modules) & {"matplotlib.pyplot"} == windows


def test_masks_show_each_class_in_its_colour(tmp_path):
    truth = np.zeros((2, 12, 16), dtype=np.int64)
    truth[:, :6], truth[:, 10:] = 1, 9
    prediction = np.ones((2, 12, 16), dtype=np.int64)
    images = np.full((2, 12, 16, 1), 200, dtype=np.uint8)
    path = report.masks(images, truth, prediction, ["sky", "road"], tmp_path / "masks.png", ignore_index=9)
    with Image.open(path) as image:
        found = {colour for count, colour in image.convert("RGB").getcolors(1_000_000) if count > 2000}
    black, first = [tuple(np.round(c * 255).astype(int).tolist()) for c in report.figures.class_colours(2)]
    assert found >= {black, first, (200, 200, 200), (158, 158, 158)}


def test_masks_refuse_what_does_not_fit(tmp_path):
    images, mask = np.zeros((1, 4, 4, 3), dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.int64)
    with pytest.raises(UserError, match="images must be"):
        report.masks(images[..., :2], mask, mask, ["a"], tmp_path / "m.png")
    with pytest.raises(UserError, match="prediction must hold indices of 1 classes, got 3"):
        report.masks(images, mask, mask + 3, ["a"], tmp_path / "m.png")
    assert len({tuple(c) for c in report.figures.class_colours(24)}) == 24
