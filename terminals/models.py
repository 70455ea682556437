"""Terminals: places with doors, an account code, and a clock of their own."""

from typing import ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper

from core import history
from core.constraints import Rule, Unique, referable
from core.fields import LineField, NotesField, ZoneField
from core.models import ReferenceModel, TenantModel
from core.row_security import SameOrganization
from terminals.querysets import TerminalQuerySet


@history.tracked()
class Terminal(ReferenceModel):
    """A place where goods go from truck to truck; orders' dates and times are on its clock."""

    cached_as = "terminals"

    name = LineField(max_length=120)
    account_code = LineField(max_length=32)
    address = NotesField(max_length=255, blank=True, default="")
    timezone = ZoneField(max_length=64, default="Europe/Oslo")
    is_active = models.BooleanField(default=True)
    staff = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        through="terminals.TerminalStaff",
        related_name="terminals",
    )
    keys = models.ManyToManyField(
        "core.ApiKey", through="terminals.TerminalKey", related_name="terminals"
    )

    objects: ClassVar[TerminalQuerySet] = TerminalQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(ReferenceModel.Meta):
        constraints = [
            referable("terminals_terminal"),
            Unique(
                fields=["organization", "name"],
                name="terminals_terminal_name_unique",
                field="name",
            ),
            Unique(
                fields=["organization", "account_code"],
                name="terminals_terminal_account_code_unique",
                field="account_code",
            ),
            Rule(
                name="terminals_terminal_name_not_empty",
                condition=~Q(name=""),
                field="name",
                code="required",
                message="A terminal has a name.",
            ),
            Rule(
                name="terminals_terminal_account_code_not_empty",
                condition=~Q(account_code=""),
                field="account_code",
                code="required",
                message="A terminal has an account code.",
            ),
            Rule(
                name="terminals_terminal_timezone_not_empty",
                condition=~Q(timezone=""),
                field="timezone",
                code="required",
                message="A terminal has a time zone.",
            ),
        ]
        indexes = [
            # The registry by name, page by page.
            models.Index(fields=["organization", "name", "id"], name="terminals_terminal_by_name"),
            # The same by account code.
            models.Index(
                fields=["organization", "account_code", "id"],
                name="terminals_terminal_by_code",
            ),
            # The newest first.
            models.Index(
                fields=["organization", "created_at", "id"],
                name="terminals_terminal_by_created",
            ),
            # A part of the name, without case.
            GinIndex(
                OpClass(Upper("name"), "gin_trgm_ops"),
                name="terminals_terminal_name_parts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.account_code})"

    @property
    def clock(self) -> ZoneInfo:
        """The time zone of the terminal's dates and times."""
        return ZoneInfo(self.timezone)


@history.tracked()
class TerminalStaff(TenantModel):
    """A user who is bound to a terminal."""

    # Protected: without the last of its links a user would see every terminal.
    terminal = models.ForeignKey(
        Terminal, on_delete=models.PROTECT, db_constraint=False, related_name="staff_links"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="terminal_links",
    )

    class Meta(TenantModel.Meta):
        constraints = [
            Unique(
                fields=["organization", "terminal", "user"],
                name="terminals_terminalstaff_once",
                field="terminal",
            ),
            SameOrganization(
                field="terminal", name="terminals_terminalstaff_terminal_same_organization"
            ),
            SameOrganization(field="user", name="terminals_terminalstaff_user_same_organization"),
        ]
        verbose_name_plural = "terminal staff"

    def __str__(self) -> str:
        return f"{self.user} at {self.terminal}"


@history.tracked()
class TerminalKey(TenantModel):
    """An API key that is bound to a terminal; protected as `TerminalStaff` is."""

    terminal = models.ForeignKey(
        Terminal, on_delete=models.PROTECT, db_constraint=False, related_name="key_links"
    )
    key = models.ForeignKey(
        "core.ApiKey",
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="terminal_links",
    )

    class Meta(TenantModel.Meta):
        constraints = [
            Unique(
                fields=["organization", "terminal", "key"],
                name="terminals_terminalkey_once",
                field="terminal",
            ),
            SameOrganization(
                field="terminal", name="terminals_terminalkey_terminal_same_organization"
            ),
            SameOrganization(field="key", name="terminals_terminalkey_key_same_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.key} at {self.terminal}"
