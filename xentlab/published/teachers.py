"""Which arm teaches which: `teacher: LABEL` or `teacher: {arm: LABEL, temperature: T}` in the settings of an arm."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.errors import UserError, unknown
from xentlab.schema import PositiveFloat, check_knobs
from xentlab.train import Trial, check_teachable


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who teaches an arm: seed by seed, its targets are the teacher's softmax(logits / temperature) on the same images.

    The student's own temperature is a knob of its loss.
    """

    arm: str
    temperature: PositiveFloat = 1.0


def read_teacher(label: str, settings: Iterable[Mapping[str, Any]]) -> Teacher | None:
    """The teacher that the settings of the arm `label` name, later ones over earlier ones; None without one."""
    given: dict[str, Any] = {}
    path = f"published.arms.{label}.teacher"
    for part in settings:
        node = part.get("teacher", {})
        if not isinstance(node, (str, Mapping)):
            raise UserError(f"{path} must be an arm, or a mapping of arm and temperature, got {node!r}.")
        given |= {"arm": node} if isinstance(node, str) else node
    return Teacher(**check_knobs(path, Teacher, given)) if given else None


def check_teachers(teachers: Mapping[str, Teacher], arms: Mapping[str, Sequence[Trial]]) -> None:
    """Refuse a teacher that is not there or gives no distributions, and a student that cannot learn from them.

    Raises:
        UserError: which arm, and why.
    """
    for label, teacher in teachers.items():
        if teacher.arm not in arms:
            raise unknown(f"arm of published.arms.{label}.teacher", teacher.arm, arms)
        link = arms[teacher.arm][0].loss.link
        if link != "softmax":
            raise UserError(
                f"published.arms.{label}.teacher must be an arm whose loss is of softmax logits, got '{teacher.arm}', "
                f"whose link is {link}."
            )
        check_teachable(arms[label][0])
    in_rounds(arms, teachers)


def in_rounds(arms: Collection[str], teachers: Mapping[str, Teacher]) -> list[list[str]]:
    """The labels of all arms in the order in which they can be trained: students after their teachers.

    Raises:
        UserError: arms teach each other in a circle.
    """
    found: list[list[str]] = []
    waiting = list(arms)
    while waiting:
        ready = [arm for arm in waiting if arm not in teachers or teachers[arm].arm not in waiting]
        if not ready:
            raise UserError(
                f"published.arms must have a teacher that nobody teaches, got a circle: {', '.join(waiting)}."
            )
        waiting = [arm for arm in waiting if arm not in ready]
        found.append(ready)
    return found
