"""Forgets sign-ins that have ended."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from core import tenancy, token_families
from core.management.commands._base import OperatorCommand

KEPT = timedelta(days=1)  # a token is accepted a little past its end, and clocks differ


class Command(OperatorCommand):
    help = "Forgets the sign-ins to the API whose last refresh token has expired; again is safe."

    def handle(self, *args: Any, **options: Any) -> None:
        with tenancy.everyone("purge_tokens"):
            count = token_families.forget(before=timezone.now() - KEPT)
        self.say(f"{count} expired sign-ins forgotten.")
