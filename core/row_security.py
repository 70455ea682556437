"""The wall in the database, as a migration operation and as a constraint.

`RowSecurity` puts a table behind its organization, `SameOrganization` keeps a foreign key within.
"""

from typing import Any

from django.db import models
from django.db.migrations.operations.base import Operation
from django.db.models.constraints import BaseConstraint

from core.constraints import Told

# Each setting is read once per statement, not once per row.
# CASE rather than OR: the planner would take an OR for a filter that hardly any row passes, and
# read what it could have had in order.
OWN_ROWS = (
    "CASE WHEN (SELECT current_setting('dockside.everyone', true)) = 'on' THEN true ELSE {column} ="
    " (SELECT nullif(current_setting('dockside.organization', true), '')::uuid) END"
)
POLICY = "organization_wall"


class RowSecurity(Operation):
    """Show and take only rows of the transaction's organization, from the table's owner too.

    `condition` is SQL for tables that find their organization another way than by `column`.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, table: str, column: str = "organization_id", condition: str = "") -> None:
        self.table, self.column, self.condition = table, column, condition

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = schema_editor.quote_name(self.table)
        column = schema_editor.quote_name(self.column)
        condition = self.condition or OWN_ROWS.format(column=column)
        schema_editor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        schema_editor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        schema_editor.execute(
            f"CREATE POLICY {POLICY} ON {table} USING ({condition}) WITH CHECK ({condition})"
        )

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = schema_editor.quote_name(self.table)
        schema_editor.execute(f"DROP POLICY {POLICY} ON {table}")
        schema_editor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        schema_editor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

    def describe(self) -> str:
        return f"Put {self.table} behind its organization"


class SameOrganization(Told, BaseConstraint):
    """A foreign key of `field` together with the organization: it cannot point across.

    The column's own constraint is left out (`db_constraint=False`); this one does its work too.
    What is pointed to has a UNIQUE on (organization, id). With `cascade`, the rows go when what
    they point to goes, in the database's way; the field then says `DO_NOTHING`.
    """

    code = "unknown-reference"
    message = "There is nothing with this id."

    def __init__(self, *, field: str, name: str, cascade: bool = False) -> None:
        super().__init__(name=name)
        self.target, self.cascade = field, cascade
        self.field = f"{field}_id"

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        quote = schema_editor.quote_name
        key: models.ForeignKey = model._meta.get_field(self.target)
        target = key.remote_field.model._meta
        return (
            f"CONSTRAINT {quote(self.name)} FOREIGN KEY (organization_id, {quote(key.column)})"
            f" REFERENCES {quote(target.db_table)} (organization_id, {quote(target.pk.column)})"
            f"{' ON DELETE CASCADE' if self.cascade else ''} DEFERRABLE INITIALLY DEFERRED"
        )

    def create_sql(self, model: Any, schema_editor: Any) -> str:
        table = schema_editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} ADD {self.constraint_sql(model, schema_editor)}"

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Services look up what the caller sees; the database has the last word."""

    def deconstruct(self) -> Any:
        path = f"{self.__class__.__module__}.{self.__class__.__name__}"
        more = {"cascade": True} if self.cascade else {}
        return path, (), {"field": self.target, "name": self.name, **more}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SameOrganization):
            return self.deconstruct() == other.deconstruct()
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]
