"""Tables: CSV, ARFF and .npz against other readers, and what is refused."""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from xentlab import data, schema
from xentlab.data.scaling import fit_scaling
from xentlab.errors import UserError

DENSE = """% a comment
@RELATION 'two words'
@attribute 'the width' numeric
@attribute "colour" {red, 'light green', blue}
@attribute height REAL
@attribute kind {small,large}

@DATA
1.5,red,-2,small
2.5,'light green',0.25,large
% another
3.5, blue , 1e3, large
"""
SPARSE = """@relation mulan
@attribute a numeric
@attribute b {0,1}
@attribute one {0,1}
@attribute 'number two' {0,1}
@data
{0 2.5, 2 1}
{1 1,3 1}
{}
{0 -1, 1 1, 2 1, 3 1}
"""
LABELS = """<?xml version="1.0"?><labels xmlns="http://mulan.sourceforge.net/labels">
<label name="number two"></label><label name="one"/></labels>"""


def write(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def test_csv_is_what_numpy_reads(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 3)).round(6)
    kinds = np.array(["wolf", "fox", "bear"])[np.arange(40) % 3]
    rows = [",".join([*map(repr, map(float, row)), kind]) for row, kind in zip(numbers, kinds, strict=True)]
    path = write(tmp_path / "t.csv", "a,b,c,kind\n" + "\n".join(rows) + "\n")
    raw = data.tabular(path=path, standardize=False)
    np.testing.assert_array_equal(raw.inputs.numpy(), numbers.astype(np.float32))
    assert raw.class_names == ("bear", "fox", "wolf")
    assert [raw.class_names[i] for i in raw.targets.tolist()] == kinds.tolist()
    scaled = data.tabular(path=path)
    assert torch.equal(scaled.inputs, raw.inputs)
    assert scaled.standardize
    headless = data.tabular(path=write(tmp_path / "n.csv", "\n".join(rows)), header=False, standardize=False)
    assert headless.fingerprint == raw.fingerprint
    tabbed = data.tabular(path=write(tmp_path / "t.tsv", (tmp_path / "t.csv").read_text().replace(",", "\t")))
    assert tabbed.fingerprint == scaled.fingerprint


def test_classes_that_are_numbers_keep_their_order(tmp_path: Path) -> None:
    dataset = data.tabular(path=write(tmp_path / "t.csv", "y,x\n10,1\n9,2\n2,3\n10,4\n"), targets=("y",))
    assert dataset.class_names == ("2", "9", "10")
    assert dataset.targets.tolist() == [2, 1, 0, 2]
    first = data.tabular(path=str(tmp_path / "t.csv"), num_targets=1, targets_at="start")
    assert first.fingerprint == dataset.fingerprint


def test_a_constant_feature_is_zero_not_nan(tmp_path: Path) -> None:
    dataset = data.tabular(path=write(tmp_path / "t.csv", "x,c,y\n1,5,0\n2,5,1\n"))
    scaling = fit_scaling(dataset, torch.tensor([0, 1]))
    assert scaling is not None
    assert ((dataset.inputs - scaling.offset) * scaling.factor)[:, 1].tolist() == [0.0, 0.0]


def test_dense_arff_is_what_scipy_reads(tmp_path: Path) -> None:
    from scipy.io import arff

    # scipy knows neither these quotes nor spaces in rows, so it reads the same table without them.
    plain = DENSE.replace("'light green'", "light_green").replace('"colour"', "colour")
    reference, meta = arff.loadarff(io.StringIO(plain.replace(", ", ",").replace(" ,", ",")))
    dataset = data.tabular(path=write(tmp_path / "t.arff", DENSE), standardize=False)
    words = list(meta["colour"][1])
    one_hot = np.array([[word == row["colour"].decode() for word in words] for row in reference], dtype=np.float32)
    expected = np.column_stack([reference["the width"], one_hot, reference["height"]])
    np.testing.assert_array_equal(dataset.inputs.numpy(), expected.astype(np.float32))
    assert dataset.class_names == tuple(meta["kind"][1])
    assert [dataset.class_names[i] for i in dataset.targets.tolist()] == [row["kind"].decode() for row in reference]


def test_sparse_arff_with_mulans_label_list(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arff", SPARSE)
    write(tmp_path / "t.xml", LABELS)
    dataset = data.tabular(path=path, task="multilabel", standardize=False)
    assert dataset.inputs.tolist() == [[2.5, 0], [0, 1], [0, 0], [-1, 1]]
    assert dataset.class_names == ("number two", "one")
    assert dataset.targets.tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    assert dataset.targets.dtype == torch.uint8
    counted = data.tabular(path=path, task="multilabel", num_targets=2, standardize=False)
    assert counted.class_names == ("one", "number two")
    assert torch.equal(counted.targets, dataset.targets.flip(1))


def test_npz_of_both_tasks_and_a_test_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)).astype(np.float32)
    classes, labels = np.arange(30) % 3, rng.integers(0, 2, (30, 5))
    np.savez(tmp_path / "c.npz", inputs=x, targets=classes, class_names=["c", "a", "b"])
    dataset = data.tabular(path=str(tmp_path / "c.npz"), standardize=False)
    assert dataset.class_names == ("c", "a", "b")
    assert dataset.targets.tolist() == classes.tolist()
    np.testing.assert_array_equal(dataset.inputs.numpy(), x)
    np.savez(tmp_path / "l.npz", inputs=x, targets=labels)
    np.savez(tmp_path / "l_test.npz", inputs=x[:7], targets=labels[:7])
    both = data.tabular(
        path=str(tmp_path / "l.npz"), test_path=str(tmp_path / "l_test.npz"), task="multilabel", standardize=False
    )
    assert both.class_names == tuple(f"label_{j}" for j in range(5))
    np.testing.assert_array_equal(both.targets.numpy(), np.concatenate([labels, labels[:7]]))
    assert both.source_splits["test"].tolist() == list(range(30, 37))
    assert data.split(both, 0).test.tolist() == list(range(30, 37))


@pytest.mark.parametrize(
    ("file", "text", "knobs", "words"),
    [
        ("t.csv", None, {}, "dataset.path must be a file that exists, got"),
        ("t.doc", "x", {}, "dataset.path must end in one of .csv, .tsv, .txt"),
        ("t.xlsx", "x", {}, "t.xlsx cannot be read as .xlsx ("),
        ("t.csv", "a,y\n", {}, "must hold rows, found none."),
        ("t.csv", "a,y\n1,0\n2\n", {}, "t.csv, row 2, must hold 2 values, found 1."),
        ("t.csv", "a,y\n1,0\n,1\n?,1\n", {}, "column 'a', found 2 missing, the first in row 2: dataset.impute="),
        ("t.csv", "a,y\n1,0\nnan,1\n", {}, "every row of column 'a', found 1 missing, the first in row 2 (nan): "),
        ("t.csv", "a,y\n1,0\n2,\n", {}, "every row of column 'y', found 1 missing"),
        ("t.csv", "a,y\n1,0.5\n2,1\n", {}, "must hold classes, found the number 0.5"),
        ("t.csv", "a,kind\n1,0\n", {"targets": ("kinds",)}, "target column of t.csv 'kinds'. Did you mean 'kind'?"),
        ("t.csv", "a,b,y\n1,0,1\n", {"num_targets": 2}, "must be one column for task=multiclass, got 2."),
        ("t.csv", "y\n1\n", {}, "must hold more than one column, found y alone"),
        ("t.csv", "a,b\n1,0\n", {"task": "multilabel"}, "dataset.targets must name the label columns"),
        ("t.csv", "a,b\n1,2\n", {"task": "multilabel", "num_targets": 1}, "such words as no and yes, found 2."),
        ("t.csv", "a,b\n1,x\n", {"task": "multilabel", "num_targets": 1}, "such words as no and yes, found x."),
        ("t.csv", "a,b\n1,x\n", {"targets": ("a", "b"), "task": "multilabel"}, "must have a column that is no target"),
        ("t.csv", "a,y\n" + "".join(f"w{i},0\n" for i in range(101)), {}, "at most 100 different words, found 101"),
        ("t.csv", "a;y\n1;0\n", {"delimiter": ";;"}, "dataset.delimiter must be one character, got ';;'."),
        ("t.arff", DENSE.replace("blue , 1e3", "pink , 1e3"), {}, "one of red, light green, blue, found 'pink'."),
        ("t.arff", DENSE.replace("REAL", "colours"), {}, "line 5, must declare a number or a list of words"),
        ("t.arff", DENSE.replace("@attribute height", "@attr height"), {}, "line 5, must begin with @relation"),
        ("t.arff", DENSE.replace("1e3, large", "1e3"), {}, "must hold 4 values, found 3."),
        ("t.arff", SPARSE.replace("{1 1,3 1}", "{9 1}"), {}, "indices below 4, found '9 1'."),
        ("t.arff", SPARSE.replace("{1 1,3 1}", "{1 1"), {}, "must end with a brace"),
        ("t.arff", DENSE.partition("@DATA")[0], {}, "must hold rows after a line @data, found none."),
        ("t.npz", "not a zip", {}, "cannot be read as a .npz of plain arrays"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused(tmp_path: Path, file: str, text: str | None, knobs: dict[str, Any], words: str) -> None:
    path = str(tmp_path / file) if text is None else write(tmp_path / file, text)
    with pytest.raises(UserError) as caught:
        data.tabular(path=path, **knobs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_bad_npz_is_refused(tmp_path: Path) -> None:
    x = np.zeros((4, 2))
    for arrays, words in (
        ({"inputs": x}, "must hold an array 'targets', found inputs."),
        ({"inputs": x, "targets": np.zeros(3)}, "inputs [N, F] and targets [N] or [N, C], found (4, 2) and (3,)."),
        ({"inputs": x, "targets": np.array([0, 1, 2, 3]), "class_names": ["a", "b"]}, "targets 0 to 1, found 0 to 3."),
        ({"inputs": x, "targets": np.array([{}] * 4)}, "cannot be read as a .npz of plain arrays"),
    ):  # fmt: skip
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(UserError) as caught:
            data.tabular(path=str(tmp_path / "t.npz"))
        assert words in str(caught.value)


def test_a_test_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    path, other = write(tmp_path / "a.csv", "a,y\n1,0\n"), write(tmp_path / "b.csv", "b,y\n1,0\n")
    with pytest.raises(UserError, match=r"b.csv must have the columns of .*a.csv, found b, y"):
        data.tabular(path=path, test_path=other)


# --- the configs ----------------------------------------------------------------------------------------------------

CONFIGS = Path(__file__).parents[1] / "configs"
DATASETS = sorted(file.stem for file in (CONFIGS / "dataset").glob("*.yaml"))
PRESETS = {
    "camvid": "segmentation_folder", "scenes_small": "scenes",
    "heteroscedastic": "regression_synthetic", "heavy_tailed": "regression_synthetic",
}  # fmt: skip


@pytest.fixture(scope="module")
def root_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root config that chooses a dataset, with the project's config groups beside it."""
    folder = tmp_path_factory.mktemp("configs")
    for group in ("dataset", "sampling"):
        (folder / group).symlink_to(CONFIGS / group)
    write(folder / "root.yaml", "defaults:\n  - dataset: digits\n  - _self_\n")
    return str(folder)


def composed(root: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(root, version_base="1.3"):
        config = compose("root", overrides=list(overrides))
    return dict(OmegaConf.to_container(config.dataset))


def test_every_builder_has_a_config() -> None:
    builders = {
        name for name, value in vars(data).items()
        if inspect.isfunction(value) and inspect.signature(value).return_annotation == "Dataset"
            and value is not data.soften
    }  # fmt: skip
    assert len(builders) >= 8
    assert set(DATASETS) == builders | set(PRESETS)


def test_sampling_knobs_are_set_in_the_dataset_node(root_config: str) -> None:
    node = composed(root_config, "dataset=mnist", "dataset.label_noise=0.2", "dataset.root=/data")
    assert (node["label_noise"], node["noise"], node["root"]) == (0.2, "symmetric", "/data")


def test_no_builder_knob_shadows_a_common_one() -> None:
    for name in DATASETS:
        builder = getattr(data, PRESETS.get(name, name))
        assert not set(schema.knobs(builder)) & {*schema.knobs(data.split), *schema.knobs(data.soften)}


@pytest.mark.parametrize(
    ("knob", "value", "rule"),
    [
        ("label_noise", 1.5, "in [0, 1], got 1.5"),
        ("val_fraction", 0, "in (0, 1), got 0"),
        ("test_fraction", 1, "in (0, 1), got 1"),
        ("train_fraction", 0, "in (0, 1], got 0"),
        ("imbalance", 0.5, ">= 1, got 0.5"),
        ("noise", "salt", "one of symmetric, asymmetric, pairs, got 'salt'"),
    ],
)
def test_knobs_of_split_out_of_range(knob: str, value: Any, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        schema.check_knobs("dataset", data.split, {knob: value})
    assert str(caught.value) == f"dataset.{knob} must be {rule}."


def test_build_runs_a_composed_config(root_config: str) -> None:
    node = composed(root_config, "dataset=scenes", "dataset.samples=20")
    common = schema.knobs(data.split) | schema.knobs(data.soften)
    own = {key: value for key, value in node.items() if key not in common}
    dataset = schema.build("dataset", own)()
    assert len(dataset.inputs) == 20
