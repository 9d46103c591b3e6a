"""The border: a signature's types and ranges, and the one sentence that each mistake gets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest

from xentlab.dotted import locate
from xentlab.errors import UserError
from xentlab.schema import Range, build, check_knob, knobs


def component(
    value: int,
    *,
    rate: Annotated[float, Range(0, None, open_low=True)] = 0.1,
    share: Annotated[float, Range(0, 1, open_high=True)] = 0.5,
    count: Annotated[int, Range(1, None)] = 3,
    mode: Literal["a", "b"] = "a",
    flag: bool = False,
    widths: tuple[int, ...] = (1, 2),
    bound: Annotated[float, Range(0, None)] | None = None,
    plain=1.0,
) -> tuple[Any, ...]:
    return value, rate, share, count, mode, flag, widths, bound, plain


TARGET = f"{__name__}.component"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[component.__module__])


def test_knobs_are_the_keyword_only_parameters_with_their_rules() -> None:
    schema = knobs(component)
    assert list(schema) == ["rate", "share", "count", "mode", "flag", "widths", "bound", "plain"]
    assert schema["rate"].is_data
    assert not schema["count"].is_data
    assert not schema["bound"].is_data
    assert schema["bound"].optional
    assert schema["mode"].choices == ("a", "b")
    assert schema["widths"].item is int
    assert schema["plain"].kind is float


@pytest.mark.parametrize(
    ("knob", "given", "kept"),
    [
        ("rate", 1, 1.0),
        ("rate", 2.5, 2.5),
        ("count", 2.0, 2),
        ("mode", "b", "b"),
        ("flag", True, True),
        ("widths", [3, 4], (3, 4)),
        ("bound", None, None),
        ("bound", 2, 2.0),
        ("share", 0, 0.0),
    ],
)
def test_a_value_in_range_is_kept_in_the_type_of_the_signature(knob: str, given: Any, kept: Any) -> None:
    found = check_knob("part", knobs(component)[knob], given)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("knob", "given", "sentence"),
    [
        ("rate", -1, "part.rate must be > 0, got -1."),
        ("rate", 0, "part.rate must be > 0, got 0."),
        ("rate", "abc", "part.rate must be a number > 0, got 'abc'."),
        ("rate", True, "part.rate must be a number > 0, got True."),
        ("rate", math.nan, "part.rate must be > 0, got nan."),
        ("rate", math.inf, "part.rate must be > 0, got inf."),
        ("share", 1.0, "part.share must be in [0, 1), got 1.0."),
        ("count", 0, "part.count must be >= 1, got 0."),
        ("count", 1.5, "part.count must be >= 1, got 1.5."),
        ("mode", "c", "part.mode must be one of a, b, got 'c'."),
        ("flag", 1, "part.flag must be true or false, got 1."),
        ("widths", 3, "part.widths must be a list of integers, got 3."),
        ("widths", [1.5], "part.widths must be a list of integers, got [1.5]."),
        ("bound", -1, "part.bound must be >= 0, got -1."),
        ("plain", None, "part.plain must be a number, got null."),
    ],
)
def test_a_wrong_value_gets_its_sentence(knob: str, given: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check_knob("part", knobs(component)[knob], given)
    assert str(caught.value) == sentence


def test_build_binds_every_knob_and_refuses_unknown_ones() -> None:
    built = build("part", {"_target_": TARGET, "_partial_": True, "rate": 3})
    assert built(7) == (7, 3.0, 0.5, 3, "a", False, (1, 2), None, 1.0)
    with pytest.raises(UserError, match=r"Unknown knob of part 'rat'\. Did you mean 'rate'\?"):
        build("part", {"_target_": TARGET, "rat": 3})


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("nowhere.at.all", "must be a dotted path that can be imported, got 'nowhere.at.all'"),
        ("math", "must be a dotted path"),
        ("math.sqr", "Unknown name in math 'sqr'. Did you mean 'sqrt'?"),
        ("math.pi", "must name a function, got math.pi, which is a float"),
    ],
)
def test_locate_says_what_is_wrong_with_a_path(target: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        locate("loss", target)
    assert sentence in str(caught.value)


def test_a_module_that_fails_inside_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="importing half_installed failed: No module named 'a_package_that_nobody_has'"):
        locate("loss", "half_installed.loss")


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        (Range(0, None), [0, 1e9], [-1e-9], ">= 0"),
        (Range(None, 1, open_high=True), [0.999, -5], [1], "< 1"),
        (Range(0, 1), [0, 1, 0.5], [-0.1, 1.1], "in [0, 1]"),
        (Range(0, 1, open_low=True, open_high=True), [0.5], [0, 1], "in (0, 1)"),
    ],
)
def test_ranges(interval: Range, inside: list[float], outside: list[float], words: str) -> None:
    assert all(v in interval for v in inside)
    assert not any(v in interval for v in outside)
    assert math.nan not in interval
    assert str(interval) == words


def test_a_function_is_a_callable() -> None:
    found: Callable[..., Any] = locate("x", "math.sqrt")
    assert found is math.sqrt
