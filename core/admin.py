"""The dispatchers' door: what every page of the admin has in common, users and organizations.

Whatever is refused, by a service or by PostgreSQL, is shown as a form error or a message. Whatever
belongs to another organization is neither shown nor taken.
"""

from collections.abc import Iterable
from copy import copy
from functools import cached_property
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import DatabaseError, DataError, connection, models, transaction
from django.db.models import PROTECT, Model, Q, QuerySet
from django.forms import ModelChoiceField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from core import services
from core.admin_cache import EmptiesAllCaches
from core.database_errors import refusal_of
from core.errors import NotFound, Refusal
from core.fields import NotesField
from core.forms import ClockInput, DayInput, KnownAutocomplete, RegistryForm, ServiceForm
from core.models import Organization, TenantModel, User
from core.querysets import TenantQuerySet
from core.roles import Act, may

COUNTED = 10_000
EXAMPLES = 3

site: Any = admin.site
site.unregister(Group)  # roles decide who may do what


def nowhere(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    raise Http404


# Nothing here leads to these two pages, and both fail at a forged address.
site.extra_urls = lambda: [path("r/<path:rest>", nowhere)]
site.search = nowhere


class BoundedPaginator(Paginator):
    """Counts to COUNTED at most: nobody pages beyond, and counting a million rows takes seconds."""

    object_list: QuerySet

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:COUNTED].count()


def user_of(request: HttpRequest) -> User:
    """Who is signed in: the admin lets nobody else in."""
    return cast(User, request.user)


def refusal_in(error: Exception, *, deleting: bool = False) -> Refusal:
    """The refusal that `error` is; raised again where it is a defect of ours."""
    refusal = error if isinstance(error, Refusal) else refusal_of(error, deleting=deleting)
    if refusal is None:
        raise error
    return refusal


def told(refusal: Refusal) -> str:
    """A refusal as one message."""
    return " ".join(error.message for error in refusal.errors) or refusal.detail


class RoleMixin:
    """Who may do what, by the table of `core.roles`; nobody needs Django's permission rows.

    Which rows somebody may do it to is a matter of `get_queryset`.
    """

    opts: Any

    def may(self, request: HttpRequest, act: Act) -> bool:
        return may(request.user, act, self.opts.label_lower)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, Act.VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Act.VIEW)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, Act.ADD)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, Act.CHANGE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, Act.DELETE)


class HouseAdmin(RoleMixin, ModelAdmin):
    """A page of the house: roles, refusals, and lists that stay fast with a million rows."""

    form = ServiceForm
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_filter_submit = True
    list_per_page = 50
    list_disable_select_all = True
    formfield_overrides: ClassVar[dict[Any, Any]] = {
        NotesField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})},
        models.DateField: {"widget": DayInput},
        models.TimeField: {"widget": ClockInput},
    }

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> type[ServiceForm]:
        form = super().get_form(request, obj, **kwargs)
        form.refusal = getattr(request, "refusal", None)
        return form

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Nothing is chosen already where the column has no default."""
        if not db_field.has_default():
            kwargs["choices"] = db_field.get_choices(blank_choice=[("", "Select value")])
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet, bool]:
        return super().get_search_results(request, queryset, search_term.replace("\0", ""))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except (DataError, ValueError) as error:  # asked for what no column can hold, such as NUL
            raise IncorrectLookupParameters from error

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save in one transaction; what refuses it shows in the form, with all that was typed."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (Refusal, DatabaseError) as error:
            request.refusal = refusal_in(error)  # type: ignore[attr-defined]
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, *args)
        except (Refusal, DatabaseError) as error:
            self.message_user(request, told(refusal_in(error, deleting=True)), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def response_action(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        """One action is one transaction: all that it wrote is kept, or nothing is."""
        try:
            with transaction.atomic():
                return super().response_action(request, queryset)
        except ValidationError:  # a forged id
            refusal: Refusal = NotFound()
        except (Refusal, DatabaseError) as error:
            refusal = refusal_in(error, deleting=True)
        self.message_user(request, told(refusal), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def save_related(self, request: HttpRequest, *args: Any) -> None:
        super().save_related(request, *args)
        judge_now()

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        super().delete_model(request, obj)
        judge_now()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        super().delete_queryset(request, queryset)
        judge_now()

    def get_deleted_objects(self, objs: Iterable[Model], request: HttpRequest) -> Any:
        """What would be deleted and, by a few examples, what stands in the way.

        Django's own would load every row that stands in the way: all orders of a terminal.
        """
        objs = list(objs)
        in_the_way: dict[type[Model], Q] = {}
        for relation in self.opts.related_objects:
            if relation.on_delete is PROTECT:
                points_here = Q(**{f"{relation.field.name}__in": objs})
                model = relation.related_model
                in_the_way[model] = in_the_way.get(model, Q()) | points_here
        protected = []
        for model, condition in in_the_way.items():
            found = list(model._base_manager.filter(condition)[: EXAMPLES + 1])
            if found:
                names = [str(row) for row in found[:EXAMPLES]]
                more = ["and more"] if len(found) > EXAMPLES else []
                noun = capfirst(model._meta.verbose_name_plural)
                protected.append(f"{noun}: {', '.join(names + more)}")
        names = [f"{capfirst(self.opts.verbose_name)}: {obj}" for obj in objs]
        return names, {self.opts.verbose_name_plural: len(objs)}, set(), protected


def judge_now() -> None:
    """Let PostgreSQL judge what it would only judge at COMMIT: before success is announced."""
    connection.check_constraints()


class OwnedForm(ServiceForm):
    """For who belongs to no organization: whose the new row shall be."""

    owner = ModelChoiceField(
        Organization.objects.order_by("name"), label="Organization", widget=UnfoldAdminSelectWidget
    )


class TenantAdmin(HouseAdmin):
    """Rows of organizations, changed through services: each user meets those of its own only."""

    has_owner_of_its_own = True  # or it follows from what the new row points to

    def get_queryset(self, request: HttpRequest) -> TenantQuerySet:
        return super().get_queryset(request).visible_to(request.user)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet, bool]:
        """Rows `matching` the words; what is out of use is not offered to a new order."""
        if words := search_term.replace("\0", "").strip():
            queryset = queryset.matching(words)
        if request.resolver_match and request.resolver_match.url_name == "autocomplete":
            queryset = queryset.filter(is_active=True)
        return queryset, False

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if issubclass(db_field.remote_field.model, TenantModel):
            kwargs["queryset"] = db_field.remote_field.model.objects.visible_to(request.user)
        if db_field.name in self.autocomplete_fields:
            kwargs["widget"] = KnownAutocomplete(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def _asks_for_owner(self, request: HttpRequest, obj: Any) -> bool:
        return self.has_owner_of_its_own and obj is None and not user_of(request).organization_id

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> type[ServiceForm]:
        if self._asks_for_owner(request, obj):
            kwargs["form"] = OwnedForm
        return super().get_form(request, obj, **kwargs)

    def get_list_display(self, request: HttpRequest) -> list[str]:
        shown = [*super().get_list_display(request)]
        return shown if user_of(request).organization_id else [*shown, "organization"]

    def hold(self, request: HttpRequest, obj: Model) -> Any:
        """`obj` as it is now, held until the transaction ends."""
        held = self.get_queryset(request).locked().filter(pk=obj.pk).first()
        if held is None:
            raise NotFound
        return held

    def save_model(self, request: HttpRequest, obj: Model, form: ServiceForm, change: bool) -> None:
        write = self.update if change else self.create
        vars(obj).update(vars(write(request, obj, form)))  # Django goes on with `obj`

    def create(self, request: HttpRequest, obj: Any, form: ServiceForm) -> Model:
        user = user_of(request)
        if owner := form.cleaned_data.get("owner"):
            user = copy(user)
            user.organization = owner
        return services.create(self.model, form.columns(), by=user)

    def update(self, request: HttpRequest, obj: Any, form: ServiceForm) -> Model:
        return services.update(self.hold(request, obj), form.columns())

    def delete(self, held: Any) -> None:
        services.delete(held)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.delete(self.hold(request, obj))
        judge_now()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for held in queryset.locked():
            self.delete(held)
        judge_now()


class RegistryAdmin(TenantAdmin):
    """What two people may edit at once: the second is told what the first has changed."""

    form = RegistryForm

    def update(self, request: HttpRequest, obj: Any, form: ServiceForm) -> Model:
        held = self.hold(request, obj)
        cast(RegistryForm, form).keep_others_words(held)
        return services.update(held, form.columns())


class NewUserForm(UserCreationForm, ServiceForm):
    """Somebody who will sign in here; of the organization `home`, or of a chosen one."""

    home: ClassVar[Organization | None] = None
    usable_password = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.is_staff = True
        self.instance.organization = self.home


class ChangedUserForm(UserChangeForm, ServiceForm):
    """Somebody who signs in already."""


@admin.register(User)
class UserAdmin(HouseAdmin, DjangoUserAdmin):  # type: ignore[misc]
    """An organization's admin looks after its users; only a superuser knows of superusers."""

    form, add_form, change_password_form = ChangedUserForm, NewUserForm, AdminPasswordChangeForm
    list_display = ["username", "first_name", "last_name", "rights", "is_active", "last_login"]
    list_filter = [("role", ChoicesDropdownFilter), ("is_active", BooleanRadioFilter)]
    list_select_related = ["organization"]
    search_help_text = "User name, name or e-mail"
    readonly_fields = ["two_factor_since"]

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        users = super().get_queryset(request)
        if user_of(request).is_superuser:
            return users
        return users.filter(organization=user_of(request).organization_id, is_superuser=False)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*self.list_display, *(["organization"] if user_of(request).is_superuser else [])]

    @display(description="Role", ordering="role")
    def rights(self, user: User) -> str:
        return "Superuser" if user.is_superuser else user.get_role_display()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        who = ["username", "password"] if obj else ["username", "password1", "password2"]
        rights = ["role", "is_active", "is_staff"] if obj else ["role"]
        if user_of(request).is_superuser:
            rights = ["organization", *rights, "is_superuser"]
        return [
            (None, {"fields": who}),
            ("Person", {"fields": ["first_name", "last_name", "email"]}),
            ("Rights", {"fields": [*rights, *(["two_factor_since"] if obj else [])]}),
        ]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj is None and not user_of(request).is_superuser:
            form.home = user_of(request).organization
        return form


@admin.register(Organization)
class OrganizationAdmin(EmptiesAllCaches, HouseAdmin):
    """Superusers look after organizations; an organization's admin may look at its own."""

    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    ordering = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        organizations = super().get_queryset(request)
        if user_of(request).is_superuser:
            return organizations
        return organizations.filter(pk=user_of(request).organization_id)


def looks_after_people(request: HttpRequest) -> bool:
    """Whether the side bar shows users and organizations."""
    return may(request.user, Act.VIEW, "core.user")
