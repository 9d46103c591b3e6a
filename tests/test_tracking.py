"""What a record looks like in MLflow, and where it goes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from xentlab import tracking
from xentlab.errors import UserError
from xentlab.secrets import without_passwords
from xentlab.tracking import content
from xentlab.tracking.settings import PASSWORD, USERNAME, hide_passwords, mlflow_environment


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
    assert content.clipped("x" * 6000, 6000) == "x" * 6000
    short = content.clipped("x" * 6001, 6000)
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
    assert tracking.resolve_destination(uri, "lab", tmp_path).uri == expected


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
        tracking.resolve_destination(uri, "lab", tmp_path)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://ada:secret@host/db", "postgresql+psycopg2://ada:***@host/db"),
        ("http://ada:se:c@ret@host:5000", "http://ada:***@host:5000"),
        ("http://:secret@host", "http://:***@host"),
        ("mysql+pymysql://ada:sec/r et@host:3306/db", "mysql+pymysql://ada:***@host:3306/db"),
        ("mssql+pyodbc://host/db?Password=secret&x=1", "mssql+pyodbc://host/db?Password=***&x=1"),
        ("http://host:5000/a", "http://host:5000/a"),
    ],
)
def test_a_password_is_not_shown(uri: str, shown: str, tmp_path: Path) -> None:
    destination = tracking.resolve_destination(uri, "lab", tmp_path)
    assert destination.open_uri == shown
    assert "secret" not in destination.sync_command
    with pytest.raises(UserError, match="must start with one of") as refused:
        tracking.resolve_destination("x" + uri, "lab", tmp_path)
    assert "x" + shown in str(refused.value)


def test_a_text_with_addresses_in_it_keeps_all_but_the_passwords() -> None:
    said = "API request to http://ada:se@cret@host:5000/api failed, ask http://host:80/help or bob@host"
    assert without_passwords(said) == said.replace("se@cret", "***")


@pytest.mark.parametrize(
    ("given", "left", "variables"),
    [
        ("--uri=http://a%20b:s%3At@h:5000", "--uri=http://h:5000", {USERNAME: "a b", PASSWORD: "s:t"}),
        ("+tracking.uri='https://ada:x@h/'", "+tracking.uri='https://h/'", {USERNAME: "ada", PASSWORD: "x"}),
        ("postgresql://ada:x/y@h/db", "postgresql://ada@h/db", {"PGPASSWORD": "x/y"}),
        ("tracking.uri=http://h:5000", "tracking.uri=http://h:5000", {}),
        ("dataset.address=http://ada:x@h", "dataset.address=http://ada:x@h", {}),
    ],
)
def test_a_password_on_the_command_line_is_put_where_clients_look(
    given: str, left: str, variables: dict[str, str]
) -> None:
    found: dict[str, str] = {}
    assert hide_passwords(["train", given], found) == ["train", left]
    assert found == variables


def test_a_postgresql_store_gets_the_driver_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, scheme in (
        ("psycopg2", "postgresql+psycopg2"),
        ("psycopg", "postgresql+psycopg"),
        ("", "postgresql"),
    ):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, only=installed: name == only or None)
        assert (
            tracking.resolve_destination("postgresql://ada@host/db", "lab", tmp_path).uri == f"{scheme}://ada@host/db"
        )


def test_what_others_left_in_the_environment_is_taken_out() -> None:
    left = {"MLFLOW_RUN_ID": "1", "MLFLOW_EXPERIMENT_ID": "2", "_MLFLOW_ACTIVE_MODEL_ID": "3", "HOME": "/root"}
    kept = mlflow_environment({**left, "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"})
    assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "_MLFLOW_ACTIVE_MODEL_ID"} & kept.keys()
    assert (kept["HOME"], kept["MLFLOW_HTTP_REQUEST_TIMEOUT"], kept["MLFLOW_DISABLE_TELEMETRY"]) == (
        "/root",
        "5",
        "true",
    )


def test_the_training_side_imports_no_mlflow() -> None:
    code = "import sys, xentlab.tracking; assert not {'mlflow', 'sqlalchemy', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
