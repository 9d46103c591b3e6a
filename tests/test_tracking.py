"""What a record looks like in MLflow, and where it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xentlab import tracking
from xentlab.errors import UserError
from xentlab.tracking import content
from xentlab.tracking.settings import environment


def test_params_have_dotted_keys_and_short_component_names() -> None:
    config = {
        "loss": {"_target_": "xentlab.losses.focal", "_partial_": True, "gamma": 2.0, "base": None},
        "model": {"_target_": "my_package.my_model", "hidden": [100, 50], "norm": True},
        "stages": [{"lr": 0.1}, {"lr": 0.01}],
        "a(b)": "x",
        "..": 1,
    }
    assert content.params(config) == {
        "loss": "focal",
        "loss.gamma": "2.0",
        "loss.base": "null",
        "model": "my_package.my_model",
        "model.hidden": "[100, 50]",
        "model.norm": "true",
        "stages.0.lr": "0.1",
        "stages.1.lr": "0.01",
        "a_b_": "x",
        "_": "1",
    }


def test_a_value_over_the_limit_is_cut_with_a_mark() -> None:
    assert content.cut("x" * 6000, 6000) == "x" * 6000
    short = content.cut("x" * 6001, 6000)
    assert len(short) == 6000
    assert short.endswith("xx ... [cut, 6001 characters in all]")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:////a b/c.db", "sqlite:////a b/c.db"),
        ("sqlite:///c.db", f"sqlite:///{Path.cwd()}/c.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql+psycopg2://u:p@h/db"),
        ("databricks", "databricks"),
    ],
)
def test_a_tracking_uri_is_taken_as_it_is_with_absolute_paths(uri: str, expected: str, tmp_path: Path) -> None:
    assert tracking.resolve(uri, "lab", tmp_path).uri == expected


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://host", "must start with one of sqlite, .*, got 'ftp://host'"),
        ("./mlruns", "must start with one of .* For a folder use sqlite:////"),
        ("file:///mlruns", "For a folder use sqlite:////mlruns/mlflow.db"),
        ("sqlite:///", "must be sqlite:///PATH"),
        ("sqlite:///:memory:", "must be sqlite:///PATH"),
        ("sqlite://relative.db", "must be sqlite:///PATH"),
        ("http://", "must name a host"),
        ("", "must start with one of"),
    ],
)
def test_a_tracking_uri_of_no_known_kind_is_one_sentence(uri: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        tracking.resolve(uri, "lab", tmp_path)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    destination = tracking.resolve("postgresql://ada:secret@host/db", "lab", tmp_path)
    assert destination.shown == "postgresql://ada:***@host/db"
    assert "secret" not in destination.sync_command


def test_what_others_left_in_the_environment_is_taken_out() -> None:
    left = {"MLFLOW_RUN_ID": "1", "MLFLOW_EXPERIMENT_ID": "2", "_MLFLOW_ACTIVE_MODEL_ID": "3", "HOME": "/root"}
    kept = environment({**left, "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"})
    assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "_MLFLOW_ACTIVE_MODEL_ID"} & kept.keys()
    assert (kept["HOME"], kept["MLFLOW_HTTP_REQUEST_TIMEOUT"], kept["MLFLOW_DISABLE_TELEMETRY"]) == (
        "/root",
        "5",
        "true",
    )


def test_the_training_side_imports_no_mlflow() -> None:
    code = "import sys, xentlab.tracking; assert not {'mlflow', 'sqlalchemy', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
