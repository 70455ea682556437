"""The admin's page of API keys: made and replaced (each shown once), listed, withdrawn.

A new key is shown on the answer to the form itself: a message would be kept in the session.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectMultipleWidget

from core import keys
from core.admin import TenantAdmin
from core.errors import Conflict
from core.forms import ServiceForm
from core.models import ApiKey
from core.querysets import ApiKeyQuerySet
from terminals.models import Terminal

OVERLAP = timedelta(hours=24)


class KeyForm(ServiceForm):
    """A new key of the organization of whoever makes it."""

    terminals = forms.ModelMultipleChoiceField(
        Terminal.objects.none(),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget,
        help_text="None means all of the organization's.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(TenantAdmin):
    form = KeyForm
    list_display = ["name", "prefix", "scope", "places", "state", "expires_at", "last_used_at"]
    list_select_related = ["organization", "created_by"]
    ordering = ["name", "-created_at"]
    actions = ["rotate", "revoke"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("terminals")

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        said = ["name", "scope", "expires_at"]
        if obj:
            known = ["prefix", "places", "state", "last_used_at", "revoked_at", "replaces"]
            return [(None, {"fields": [*said, *known, "created_by", "created_at"]})]
        user: Any = request.user
        # A superuser chooses the organization instead, whose terminals nobody knows yet.
        where = ["terminals"] if user.organization_id else ["owner"]
        return [(None, {"fields": [*said, *where]})]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return list(self.get_fieldsets(request, obj)[0][1]["fields"]) if obj else []

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> type[ServiceForm]:
        form = super().get_form(request, obj, **kwargs)
        if "terminals" in form.base_fields:
            terminals = Terminal.objects.visible_to(request.user).order_by("name")
            form.base_fields["terminals"].queryset = terminals  # type: ignore[attr-defined]
        return form

    @display(description="Terminals")
    def places(self, key: ApiKey) -> str:
        return ", ".join(terminal.account_code for terminal in key.terminals.all()) or "all"

    @display(
        description="State",
        label={"usable": "success", "expired": "warning", "revoked": "danger"},
    )
    def state(self, key: ApiKey) -> str:
        return key.state(timezone.now())

    def create(self, request: HttpRequest, obj: Model, form: ServiceForm) -> ApiKey:
        given: dict[str, Any] = form.cleaned_data
        user: Any = request.user
        key, text = keys.create_key(
            given.get("owner") or user.organization,
            given["name"],
            scope=given["scope"],
            terminals=given.get("terminals", ()),
            expires_at=given["expires_at"],
            by=user,
        )
        request.key_text = text  # type: ignore[attr-defined]
        return key

    def response_add(self, request: HttpRequest, obj: ApiKey, *args: Any) -> HttpResponse:
        return self.show_once(request, obj, request.key_text)  # type: ignore[attr-defined]

    def show_once(self, request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "API key",
            "opts": self.opts,
            "key": key,
            "text": text,
        }
        return TemplateResponse(
            request,
            "terminals/admin/key_shown.html",
            context,
            headers={"Cache-Control": "no-store"},
        )

    @action(description="Replace (the old key lasts another day)", permissions=["change"])
    def rotate(self, request: HttpRequest, chosen: ApiKeyQuerySet) -> HttpResponse:
        old = list(chosen.locked())
        if len(old) != 1:
            raise Conflict("Replace one key at a time: the new one is shown only once.")
        user: Any = request.user
        key, text = keys.rotate_key(old[0], overlap=OVERLAP, by=user)
        self.log_addition(request, key, f"Replaces {old[0].prefix}.")
        return self.show_once(request, key, text)

    @action(description="Revoke at once", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: ApiKeyQuerySet) -> None:
        for key in chosen.locked():
            if keys.revoke_key(key):
                self.log_change(request, key, "Revoked.")
                self.message_user(request, f"Revoked: {key}.", messages.SUCCESS)
