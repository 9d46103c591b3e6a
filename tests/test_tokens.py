"""Text as a task: how it is cut, counted and refused, and trainings and comparisons from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xentlab.data import Dataset, english, split, text_file
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.tasks import find
from xentlab.tasks.tokens import characters

Run = Callable[..., tuple[int, str, str]]
TOKENS = find("tokens")
LINES = "".join(f"line {k} says that {k * k} is the square of {k}.\n" for k in range(100))


def written(folder: Path, text: str = LINES) -> str:
    (folder / "t.txt").write_text(text, encoding="utf-8")
    return str(folder / "t.txt")


def test_parts_of_a_text_are_contiguous_and_share_no_character(tmp_path: Path) -> None:
    whole = text_file(path=written(tmp_path), context=16)
    text = "".join(whole.class_names[i] for i in whole.inputs[: whole.source_splits["test"][0]].flatten())
    assert LINES.startswith(text)
    test = "".join(whole.class_names[i] for i in whole.inputs[whole.source_splits["test"]].flatten())
    begin = LINES.index(test)
    assert LINES[begin - 1] == "\n"
    assert len(LINES) - len(test) - begin < 16
    assert torch.equal(whole.inputs[:, 1:], whole.targets[:, :-1])
    sizes, starts = set(), set()
    for seed in range(5):
        parts = split(whole, seed)
        sizes.add((len(parts.train), len(parts.val), len(parts.test)))
        starts.add(int(parts.val[0]))
        assert torch.equal(parts.val, torch.arange(parts.val[0], parts.val[-1] + 1))
        assert torch.equal(parts.test, whole.source_splits["test"])
        gaps = {int(parts.val[0]) - 1, int(parts.val[-1]) + 1}
        assert not gaps & set(parts.train.tolist())
        assert len(parts.train) + len(parts.val) + 2 == parts.test[0]
    assert len(sizes) == 1
    assert len(starts) > 1


def test_sequences_that_overlap_leave_what_overlaps_validation_out(tmp_path: Path) -> None:
    whole = text_file(path=written(tmp_path), context=16, stride=5)
    parts = split(whole, 0)
    for index in parts.train.tolist():
        away = min(abs(index - int(parts.val[0])), abs(index - int(parts.val[-1])))
        assert away * 5 > 16
    tested = whole.inputs[whole.source_splits["test"]]
    assert not torch.equal(tested[0, 5:], tested[1, :-5])


def test_the_vocabulary_is_that_outside_the_test_part_and_unknown_characters_are_said(tmp_path: Path) -> None:
    whole = text_file(path=written(tmp_path, LINES + "Ünïque" * 30), context=16, test_share=0.1)
    assert whole.class_names[-1] == "unknown"
    assert "Ü" not in whole.class_names
    assert whole.ignore_index == len(whole.class_names) - 1
    # Among them U and q, of which the numbered lines know nothing either.
    assert any("unknown" in note and "of the test part" in note for note in whole.notes)
    train = whole.targets[: whole.source_splits["test"][0]]
    assert not bool((train == whole.ignore_index).any())
    assert bool((whole.targets == whole.ignore_index).any())
    plain = text_file(path=written(tmp_path), context=16)
    assert plain.ignore_index is None
    assert plain.class_names == tuple(sorted(set(LINES)))


def test_bytes_are_measured_per_character(tmp_path: Path) -> None:
    assert [characters(name) for name in ("a", "<0x61>", "<0xC3>", "<0xBC>", "the", "\n")] == [1, 1, 1, 0, 3, 1]
    whole = text_file(path=written(tmp_path, LINES.replace("line", "Zeile für Zeile")), context=16, unit="bytes")
    facts = {name: kind(whole.targets, whole) for name, kind in TOKENS.facts.items()}
    rows = whole.targets.flatten()
    text = bytes(int(whole.class_names[i][3:5], 16) for i in rows)
    assert float(facts["token_lengths"][rows].sum()) == len(text.decode(errors="ignore"))
    assert torch.equal(facts["class_counts"], torch.bincount(rows).double())


def test_references_fall_with_their_order_and_compressors_have_read_the_rest() -> None:
    whole = english(limit=60_000)
    found = whole.references
    assert list(found) == ["unigram", "bigram", "trigram", "gzip", "bz2", "xz"]
    assert found["unigram"] > found["bigram"] > found["trigram"] > 1
    assert any("trigram" in note and "xz" in note for note in whole.notes)
    assert any("licence" in note for note in whole.notes)


def test_label_noise_and_class_weights_have_a_meaning() -> None:
    whole = english(limit=30_000)
    clean, noisy = (split(whole, 0, label_noise=rate) for rate in (0.0, 0.2))
    assert float((clean.train_targets != noisy.train_targets).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert TOKENS.class_weights is not None
    counts = TOKENS.facts["class_counts"](clean.train_targets, whole)
    weights = TOKENS.class_weights("inverse", clean.train_targets, whole)
    seen = counts > 0
    assert torch.allclose((weights * counts)[seen], counts.sum() / whole.num_classes)
    with pytest.raises(UserError, match=r"dataset\.noise must be symmetric for a tokens dataset"):
        split(whole, 0, label_noise=0.1, noise="pairs")


@pytest.mark.parametrize(
    ("content", "knobs", "words"),
    [
        (b"short\n", {}, "dataset.context must leave a sequence for test and 4 for the rest, got 64 of"),
        (b"fine so far \xff\xfe", {}, "must be a UTF-8 text, got byte 0xff at position 12 of"),
        (b"", {}, "must be a text, got the empty file"),
        (None, {}, "dataset.path must be a file that exists: looked for"),
        (LINES.encode(), {"context": 0}, "dataset.context must be >= 1, got 0."),
        (LINES.encode(), {"test_share": 1.0}, "dataset.test_share must be in (0, 1), got 1.0."),
        (LINES.encode(), {"unit": "words"}, "dataset.unit must be one of"),
        (LINES.encode(), {"val_fraction": 0.99}, "dataset.val_fraction must leave a training example beside a run of"),
    ],
)
def test_what_is_no_text_is_one_sentence(
    run: Run, here: Path, content: bytes | None, knobs: dict[str, object], words: str
) -> None:
    if content is not None:
        (here / "t.txt").write_bytes(content)
    given = [f"dataset.{name}={value}" for name, value in knobs.items()]
    code, _, err = run("train", "dataset=text_file", "dataset.path=t.txt", "model=bigram", "tracking=off", *given)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert words in last
    assert last.startswith("xentlab: ")


def test_what_has_no_meaning_on_text_is_refused(run: Run) -> None:
    for extra, words in (
        (("model=mlp",), "The task tokens needs a model with one score per token and place [B, C, T], got mlp"),
        (("model=transformer", "model.width=10"), "model.width must be a multiple of model.heads, got 10 and 4."),
        (("model=bigram", "loss=dice"), "loss dice has no meaning on tokens"),
        (("model=bigram", "loss=gaussian_nll"), "loss gaussian_nll has no meaning on tokens"),
        (("model=bigram", "dataset.imbalance=2"), "dataset.imbalance must be 1 for a tokens dataset"),
    ):
        code, _, err = run("train", "dataset=english", "dataset.limit=5000", "tracking=off", *extra)
        assert code == 2
        assert words in err
    with pytest.raises(UserError, match=r"must be class indices \[N, T\]"):
        Dataset("mine", "tokens", torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), ("a", "b"))


SMALL = ("dataset=english", "dataset.limit=20000", "dataset.context=16", "optimizer=adam", "tracking=off")
TINY_MODELS = {
    "bigram": (), "mlp_lm": ("model.hidden=8",), "gru": ("model.hidden=6",),
    "transformer": ("model.layers=1", "model.heads=2", "model.width=8"),
}  # fmt: skip


def outcomes(root: Path) -> dict[tuple[str, ...], dict[str, float]]:
    records = Records(root)
    records.update()
    return {(t.tags["loss"], t.tags["seed"]): t.outcome.test for t in records.trials.values()}


@pytest.mark.parametrize("model", TINY_MODELS)
def test_a_stack_of_trainings_equals_its_trials_alone(run: Run, here: Path, model: str) -> None:
    common = (
        "train", "-m", *SMALL, "dataset.limit=5000", f"model={model}", *TINY_MODELS[model], "loss=ce,focal", "seed=0,1",
        "trainer.precision=float64", "trainer.epochs=2", "trainer.clip_norm=1.0",
    )  # fmt: skip
    for lift in ("vectorised", "looped"):
        code, _, _ = run(*common, f"trainer.lift={lift}", f"output.root={lift}")
        assert code == 0
    together, alone = outcomes(here / "vectorised"), outcomes(here / "looped")
    assert len(together) == 4
    for key, values in together.items():
        assert set(values) == {metric.name for metric in TOKENS.metrics}
        assert values == pytest.approx(alone[key], rel=1e-9)


def test_a_repeated_text_is_learned(run: Run, here: Path) -> None:
    written(here, "abcdefgh\n" * 300)
    code, out, err = run(
        "train", "dataset=text_file", "dataset.path=t.txt", "dataset.context=9", "model=bigram", "optimizer=adam",
        "optimizer.lr=0.3", "trainer.epochs=10", "tracking=off",
    )  # fmt: skip
    assert code == 0
    assert "text_file: 2,700 characters as 298 sequences of 9 characters, 9 different;" in err
    assert "Bits per character (bits)" in out
    (found,) = outcomes(here / "xentlab-runs").values()
    assert found["bits_per_char"] < 0.01
    assert found["token_error"] == 0.0


@pytest.mark.slow
def test_a_comparison_shows_the_references_beside_every_loss(run: Run, here: Path) -> None:
    code, out, _ = run(
        "compare", *SMALL, "model=mlp_lm", "model.hidden=8", "trainer.epochs=2", "comparison.losses=[ce,mse,z_loss]",
        "comparison.tune.optimizer.lr=[0.01,0.03]", "comparison.extensions=0", "comparison.final_seeds=3",
    )  # fmt: skip
    assert code == 0
    assert "reference" in out
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    record = json.loads((folder / "verdicts.json").read_text())
    assert record["metrics"][0]["key"] == "test/bits_per_char"
    assert list(record["references"]) == ["unigram", "bigram", "trigram", "gzip", "bz2", "xz"]
    for page in ("report.md", "report.html"):
        shown = (folder / page).read_text()
        assert "trigram" in shown
        assert "xz" in shown
    assert len(record["cross"]) == 9


def test_explain_tells_of_a_text(run: Run, here: Path) -> None:
    written(here, "abab" * 50)
    code, out, err = run("explain", "--text", "t.txt")
    assert (code, err) == (0, "")
    assert "200 characters, 2 different, 200 bytes" in out
    assert "entropy of order 0: given the 0 before" in out
    for words in ("1.0000", "0.0000", "code length, xz"):
        assert words in out
    assert run("explain", "0.5,0.5", "--text", "t.txt")[0] == 2
    assert run("explain")[0] == 2
    code, _, err = run("explain", "--text", "nowhere.txt")
    assert code == 2
    assert err.startswith("xentlab: --text must be a file that exists: looked for nowhere.txt")
