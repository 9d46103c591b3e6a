"""Reliability, cross-loss matrix and examples in a report: what a record may hold, and what every format shows."""

from __future__ import annotations

import base64
import copy
import io
import re
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_lab import Outline, example

from xentlab import report
from xentlab.errors import UserError
from xentlab.report import diagnostic_views, trial_pictures
from xentlab.report.record import Record

LOSSES = ["ce", "mse", "focal"]
IMAGES = np.linspace(0, 255, 2 * 6 * 8).reshape(2, 6, 8, 1).astype(np.uint8)
TRUTH = np.zeros((2, 6, 8), np.uint8)
TRUTH[:, 2:4], TRUTH[:, 5] = 1, 11


def pixels(values: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes())).decode()
    return {"shape": list(values.shape), "data": data}


def data() -> dict[str, Any]:
    edges = np.linspace(0, 1, 16)
    found = example(LOSSES)
    found["reliability"] = [
        {
            "loss": name,
            "n": 10,
            "low": edges[:-1].tolist(),
            "high": edges[1:].tolist(),
            "share": [0.0] * 5 + [0.1] * 10,
            "confidence": [None] * 5 + (edges[5:-1] + 0.03).tolist(),
            "frequency": [None] * 5 + (edges[5:-1] - 0.1 * k).tolist(),
        }
        for k, name in enumerate(LOSSES)
    ]
    found["cross"] = [
        {"loss": a, "under": b, "mean": None if a == b == "focal" else i + 2.0 * j, "n": 10, "best": i == j}
        for i, a in enumerate(LOSSES)
        for j, b in enumerate(LOSSES)
    ]
    found["examples"] = {
        "class_names": ["sky", "<road>", "tree"],
        "ignore_index": 11,
        "images": pixels(IMAGES),
        "truth": pixels(TRUTH),
        "predictions": {"ce": pixels(np.full_like(TRUTH, 2)), "focal": pixels(np.zeros_like(TRUTH))},
    }
    return found


@pytest.fixture(scope="module")
def record() -> Record:
    return Record.from_json(data())


@pytest.fixture(scope="module")
def page(record: Record) -> str:
    return report.html(record)


def test_exhibits_survive_json(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record
    assert record.examples is not None
    assert np.array_equal(record.examples.images.array(), IMAGES)
    assert np.array_equal(record.examples.truth.array(), TRUTH)


def test_the_page_asks_for_nothing_and_shows_every_exhibit(page: str) -> None:
    outline = Outline(page)
    pictures = [a for tag, a in outline.tags if tag == "img"]
    assert len(pictures) == 2 * (1 + 1 + 2)
    assert all(a["src"].startswith("data:image/png;base64,") and a["alt"] for a in pictures)
    without = re.sub(r'"data:image/png;base64,[^"]*"', '""', page)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", without)
    text = " ".join(outline.text)
    for part in ("Reliability", "Cross-loss matrix", "Examples", "<road>", "ignored", "trained with"):
        assert part in text
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_masks_keep_their_pixels_and_the_colours_of_their_classes(page: str) -> None:
    sources = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="([^"]*)"', page)
    found = {alt: np.array(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB")) for code, alt in sources}
    colours = np.round(trial_pictures.class_colours(3) * 255)
    assert np.array_equal(found["image, example 2"], np.repeat(IMAGES[1], 3, axis=2))
    truth = found["truth, example 1"].astype(float)
    assert np.abs(truth[0] - colours[0]).max() <= 1
    assert np.abs(truth[2] - colours[1]).max() <= 1
    assert np.abs(truth[5] - 158).max() <= 1
    assert np.abs(found["ce, example 1"][0].astype(float) - colours[2]).max() <= 1


def test_every_number_of_a_reliability_diagram_stands_in_its_table(record: Record) -> None:
    table = diagnostic_views.reliability_table(record)
    assert table.header == ["stated", *LOSSES]
    assert len(table.rows) == 15
    assert [cell.text for cell in table.rows[0]] == ["0.00 to 0.07", "–", "–", "–"]
    assert table.rows[5][2].text == "0.363 → 0.233, 10.0 %"
    for k, entry in enumerate(record.reliability):
        picture = diagnostic_views.reliability_picture(record, entry, f"r{k}")
        assert f"var(--s{k})" in picture
        assert not re.search(r"#a0b0|#0102|#0708", picture)


def test_the_matrix_marks_and_tints_within_columns(record: Record, page: str) -> None:
    table = diagnostic_views.cross_table(record)
    assert [[cell.text for cell in row[1:]] for row in table.rows] == [
        ["0", "2", "4"],
        ["1", "3", "5"],
        ["2", "4", "–"],
    ]
    assert [[cell.best for cell in row[1:]] for row in table.rows] == np.eye(3, dtype=bool).tolist()
    assert [row[1].heat for row in table.rows] == [0.0, 0.5, 1.0]
    assert table.rows[2][3].heat is None
    assert page.count("--heat:100%") == 3
    assert "under focal" in report.markdown(record)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("reliability", 0, "loss"), "zz", "Unknown loss in the record 'zz'"),
        (("reliability", 0, "share"), [1.0], "reliability of ce must have columns of one length"),
        (("cross",), data()["cross"][1:], "must have one entry for each pair of losses"),
        (("examples", "predictions"), {"zz": pixels(TRUTH)}, "Unknown loss in the record 'zz'"),
        (("examples", "truth"), pixels(TRUTH[:1]), "examples truth must be"),
        (("examples", "truth"), pixels(TRUTH + 3), "truth must hold indices of 3 classes"),
        (("examples", "predictions"), {"ce": pixels(TRUTH)}, "ce must hold indices of 3 classes, got 11"),
        (("examples", "images"), pixels(TRUTH), "images must be"),
        (("examples", "truth", "data"), "no base64!", "damaged"),
        (("examples", "truth", "data"), base64.b64encode(b"no zlib").decode(), "damaged"),
        (("examples", "truth", "data"), pixels(TRUTH[:1])["data"], "as many values as their shape"),
        (("examples", "truth", "data"), pixels(np.zeros(10**7, np.uint8))["data"], "as many values as their shape"),
        (("examples", "images", "shape"), [10**6, 10**6, 1, 3], "at most"),
        (("examples", "truth", "shape"), [0, 6, 8], "truth must be"),
    ],
)
def test_a_wrong_exhibit_is_refused_in_one_sentence(path: tuple[Any, ...], value: Any, sentence: str) -> None:
    broken = copy.deepcopy(data())
    *parents, last = path
    place = broken
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(UserError, match=sentence):
        report.html(Record.from_json(broken))


def test_classes_have_colours_that_stay_apart_and_away_from_ignored_pixels() -> None:
    colours = trial_pictures.class_colours(11)  # a street scene's
    every = np.concatenate([colours, [trial_pictures.IGNORED]])
    apart = np.linalg.norm(every[:, None] - every[None], axis=2) + 9 * np.eye(len(every))
    assert apart.min() > 0.2
