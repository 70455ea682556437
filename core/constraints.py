"""Constraints that are declared once and kept three times.

A `Rule` is a CHECK of the database that can also be judged in Python, without a statement: by a
service before the write, by an admin form beside the field. A `Unique` knows which field to blame.
What people are told lives on the constraint and stays out of the migrations.
"""

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any, Self

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.constants import LOOKUP_SEP

from core.errors import FieldError, RuleBroken

_LOOKUPS: dict[str, Callable[[Any, Any], bool]] = {
    "exact": lambda left, right: left == right,
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "in": lambda left, right: left in right,
    # Python's $ would let a line end pass, PostgreSQL's does not.
    "regex": lambda left, right: re.search(right.replace("$", r"\Z"), left) is not None,
}


Judge = Callable[[Any], bool | None]
"""What SQL says of a condition for the values on an instance; None is SQL's unknown."""


def judge(condition: Any, model: type[models.Model]) -> Judge:
    """`condition` as a function of an instance of `model`.

    Knows the fields of the row itself, `F` of the same row and the lookups that rules are made of.

    Raises:
        KeyError: a lookup that only the database knows.
    """
    children = [
        judge(child, model) if isinstance(child, Q) else _leaf(model, *child)
        for child in condition.children
    ]
    decisive = condition.connector == Q.OR  # one True decides an OR, one False an AND

    def said(instance: Any) -> bool | None:
        result: bool | None = not decisive
        for child in children:
            told = child(instance)
            if told is decisive:
                return decisive
            if told is None:
                result = None
        return result

    def denied(instance: Any) -> bool | None:
        told = said(instance)
        return None if told is None else not told

    return denied if condition.negated else said


def _leaf(model: type[models.Model], path: str, wanted: Any) -> Judge:
    name, _, lookup = path.partition(LOOKUP_SEP)
    value = _value(model, name)
    if lookup == "isnull":
        return lambda instance: (value(instance) is None) is wanted
    compare = _LOOKUPS[lookup or "exact"]
    other = _value(model, wanted.name) if isinstance(wanted, F) else lambda _: wanted  # type: ignore[attr-defined]

    def said(instance: Any) -> bool | None:
        left, right = value(instance), other(instance)
        return None if left is None or right is None else compare(left, right)

    return said


def _value(model: type[models.Model], name: str) -> Callable[[Any], Any]:
    field: Any = model._meta.get_field(name)
    return attrgetter(field.attname)


@cache
def _rules(model: type[models.Model]) -> list[tuple["Rule", Judge]]:
    rules = [each for each in model._meta.constraints if isinstance(each, Rule)]
    return [(rule, judge(rule.condition, model)) for rule in rules]


class Told:
    """What both kinds of constraint add: whom to blame, and what to say."""

    field: str | None
    code: str
    message: str

    def clone(self) -> Self:
        return copy.copy(self)

    def told(self) -> FieldError:
        """What the breach of this constraint looks like to people."""
        return FieldError(self.field, self.code, self.message)


class Rule(Told, models.CheckConstraint):
    """A CHECK that blames `field` (None: the whole row) under `code` with `message`."""

    def __init__(
        self,
        *,
        name: str,
        condition: Q,
        field: str | None = None,
        code: str = "",
        message: str = "",
    ) -> None:
        super().__init__(name=name, condition=condition)
        self.field, self.code, self.message = field, code, message

    def deconstruct(self) -> Any:
        return (
            "django.db.models.CheckConstraint",
            (),
            {"name": self.name, "condition": self.condition},
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, models.CheckConstraint):
            return bool(self.name == other.name and self.condition == other.condition)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def validate(
        self,
        model: type[models.Model],
        instance: models.Model,
        exclude: Any = None,
        using: str = "default",
    ) -> None:
        """Judge in Python what Django would ask the database: one statement per constraint."""
        if judge(self.condition, model)(instance) is False:
            at = self.field if self.field and self.field not in (exclude or ()) else None
            raise ValidationError(
                {at or NON_FIELD_ERRORS: ValidationError(self.message, code=self.code)}
            )


class Unique(Told, models.UniqueConstraint):
    """A UNIQUE whose breach blames `field`."""

    code = "taken"

    def __init__(self, *expressions: Any, field: str | None = None, **kwargs: Any) -> None:
        super().__init__(*expressions, **kwargs)
        self.field = field
        self.message = "This is taken already."
        self.violation_error_message = self.message

    def deconstruct(self) -> Any:
        _path, args, kwargs = super().deconstruct()
        kwargs.pop("violation_error_message", None)
        return "django.db.models.UniqueConstraint", args, kwargs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, models.UniqueConstraint):
            mine, theirs = self.deconstruct(), other.deconstruct()
            return bool(mine[1:] == theirs[1:])
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


def referable(table: str) -> Unique:
    """What lets others point here together with their organization (`SameOrganization`)."""
    return Unique(fields=["organization", "id"], name=f"{table}_in_organization", field="id")


def broken_rules(instance: models.Model) -> Iterator[FieldError]:
    """Each rule of the model that `instance`, as it is in memory, would break."""
    for rule, said in _rules(type(instance)):
        if said(instance) is False:
            yield rule.told()


def keep_rules(instance: models.Model, *more: Iterable[FieldError]) -> None:
    """Raise `RuleBroken` naming every rule that `instance` breaks, and `more`; else return."""
    errors = [*broken_rules(instance), *(error for some in more for error in some)]
    if errors:
        raise RuleBroken(errors)
