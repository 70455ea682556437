"""The pages of the admin's second factor: code, set-up, recovery codes, turning off."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminTextInputWidget

from core import two_factor
from core.models import User

NOT_A_CODE = "Not a code that is valid now. Wait for the next one to try again."

View = Callable[[HttpRequest], HttpResponse]


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=40,
        widget=UnfoldAdminTextInputWidget(
            attrs={
                "autocomplete": "one-time-code",
                "autofocus": True,
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )


def page(view: View) -> View:
    """For who has signed in to the admin with name and password."""

    @never_cache
    @sensitive_post_parameters("code")
    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(view)
    def handle(request: HttpRequest) -> HttpResponse:
        if not admin.site.has_permission(request):
            return HttpResponseRedirect(reverse("admin:login"))
        return view(request)

    return cast(View, handle)


def _next(request: HttpRequest) -> str:
    """Where to go afterwards: a page of this admin, whatever the address asks for."""
    wanted = request.GET.get("next", "")
    is_ours = wanted.startswith(two_factor.ADMIN) and url_has_allowed_host_and_scheme(
        wanted, allowed_hosts=None
    )
    return wanted if is_ours else reverse("admin:index")


def _shown(request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
    return TemplateResponse(
        request,
        f"core/two_factor/{template}.html",
        {**admin.site.each_context(request), "title": title, "site_url": None, **context},
    )


def _onwards(request: HttpRequest, name: str) -> HttpResponse:
    query = request.GET.urlencode()
    return HttpResponseRedirect(reverse(name) + (f"?{query}" if query else ""))


@page
def code(request: HttpRequest) -> HttpResponse:
    """Ask for a code."""
    if two_factor.is_satisfied(request):
        return HttpResponseRedirect(_next(request))
    if not two_factor.is_set_up(cast(User, request.user)):
        return _onwards(request, "two-factor-set-up")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        if two_factor.enter(request, form.cleaned_data["code"]):
            return HttpResponseRedirect(_next(request))
        form.add_error("code", NOT_A_CODE)
    return _shown(request, "code", "Second step", form=form)


@page
def set_up(request: HttpRequest) -> HttpResponse:
    """Show the secret of a new app, take its first code, show the recovery codes once."""
    if two_factor.is_set_up(cast(User, request.user)):
        return _onwards(request, "two-factor")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        codes = two_factor.set_up(request, form.cleaned_data["code"])
        if codes:
            return _shown(request, "codes", "Recovery codes", codes=codes, next=_next(request))
        form.add_error("code", "The app shows another code. Is the clock of the phone right?")
    device = two_factor.new_device(request)
    return _shown(
        request,
        "set_up",
        "Set up the second step",
        form=form,
        is_required=two_factor.is_required(request.user),
        picture=two_factor.picture_of(device),
        secret=two_factor.secret_of(device),
    )


@page
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Say how many codes are left, and make ten new ones."""
    user = cast(User, request.user)
    if not two_factor.has_passed(request):
        return _onwards(request, "two-factor-set-up")
    if request.method == "POST":
        codes = two_factor.new_recovery_codes(user)
        return _shown(request, "codes", "Recovery codes", codes=codes, next=_next(request))
    left = two_factor.recovery_codes_left(user)
    return _shown(request, "left", "Recovery codes", left=left)


@page
def turn_off(request: HttpRequest) -> HttpResponse:
    """Take a last code from who may do without."""
    user = cast(User, request.user)
    if two_factor.is_required(user) or not two_factor.has_passed(request):
        return HttpResponseRedirect(_next(request))
    form = CodeForm(request.POST or None)
    if form.is_valid():
        if two_factor.turn_off(user, form.cleaned_data["code"]):
            return HttpResponseRedirect(_next(request))
        form.add_error("code", NOT_A_CODE)
    return _shown(request, "off", "Turn off the second step", form=form)


def account_links(request: HttpRequest) -> list[dict[str, str]]:
    """Unfold's `ACCOUNT["navigation"]`: what is in the menu of whoever is signed in."""
    user = request.user
    if not user.is_authenticated:
        return []
    if user.two_factor_since:  # loaded with the user, on every page
        links = {"Recovery codes": "two-factor-recovery-codes"}
        if not two_factor.is_required(user):
            links["Turn off the second step"] = "two-factor-turn-off"
    else:
        links = {"Set up a second step": "two-factor-set-up"}
    return [{"title": title, "link": reverse(name)} for title, name in links.items()]


urlpatterns = [
    path("", code, name="two-factor"),
    path("set-up/", set_up, name="two-factor-set-up"),
    path("recovery-codes/", recovery_codes, name="two-factor-recovery-codes"),
    path("turn-off/", turn_off, name="two-factor-turn-off"),
]
