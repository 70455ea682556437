"""Emptying the cache from the admin, as `cache_bust` does from the command line."""

from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from core import cache


class EmptiesOwnCache:
    """For what is read through the cache: of the organizations that the chosen rows belong to."""

    model: type[Model]
    actions = ["empty_cache"]

    @admin.action(description="Empty the cache of %(verbose_name_plural)s", permissions=["change"])
    def empty_cache(self, request: HttpRequest, queryset: QuerySet) -> None:
        resource: str = self.model.cached_as  # type: ignore[attr-defined]
        homes = queryset.order_by().values_list("organization_id", flat=True).distinct()
        empty(self, request, [resource], list(homes))


class EmptiesAllCaches:
    """For organizations: all that is cached of the chosen ones."""

    actions = ["empty_caches"]

    @admin.action(description="Empty their caches", permissions=["change"])
    def empty_caches(self, request: HttpRequest, queryset: QuerySet) -> None:
        homes = queryset.order_by().values_list("pk", flat=True)
        empty(self, request, sorted(cache.resources().values()), list(homes))


def empty(page: Any, request: HttpRequest, resources: list[str], homes: Collection[Any]) -> None:
    """Empty the caches of these resources of these organizations, and say what was done."""
    done = [cache.forget_now(resource, home) for home in homes for resource in resources]
    if all(done):
        told = f"Emptied the cache of {', '.join(resources)}."
        page.message_user(request, told, messages.SUCCESS)
    else:
        told = "The cache does not answer. It is left alone, and emptied when it is back."
        page.message_user(request, told, messages.WARNING)
