"""Terminals, and the users who are bound to them."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.forms import PaginationInlineFormSet
from unfold.widgets import UnfoldAdminSelect2Widget

from core.admin import HouseAdmin, RegistryAdmin, RoleMixin
from core.admin_cache import EmptiesOwnCache
from core.fields import ZoneField
from core.models import User
from core.text import zone_names
from terminals.admin_keys import ApiKeyAdmin
from terminals.models import Terminal, TerminalStaff

__all__ = ["ApiKeyAdmin", "StaffInline", "TerminalAdmin"]


class StaffFormSet(PaginationInlineFormSet):
    """Binds users of the terminal's own organization only, whoever looks."""

    def add_fields(self, form: forms.ModelForm, index: int | None) -> None:
        super().add_fields(form, index)
        form.instance.organization_id = self.instance.organization_id
        users: Any = form.fields["user"]
        users.queryset = User.objects.filter(organization=self.instance.organization_id).order_by(
            "username"
        )


class StaffInline(RoleMixin, TabularInline):
    model = TerminalStaff
    formset = StaffFormSet
    fields = ["user"]
    extra = 0


@admin.register(Terminal)
class TerminalAdmin(EmptiesOwnCache, RegistryAdmin):
    list_display = ["name", "account_code", "timezone", "is_active"]
    list_filter = [("is_active", BooleanRadioFilter)]
    list_select_related = ["organization"]
    search_fields = ["name"]
    search_help_text = "Name, account code or address"
    ordering = ["name"]
    inlines = [StaffInline]
    formfield_overrides: ClassVar[dict[Any, Any]] = {
        **HouseAdmin.formfield_overrides,
        ZoneField: {
            "widget": UnfoldAdminSelect2Widget(choices=[(n, n) for n in sorted(zone_names())])
        },
    }

    def get_inlines(self, request: Any, obj: Any) -> Any:
        return self.inlines if obj else []
