"""The second factor of the admin's sign-in: a code of an authenticator app, or a recovery code.

Who needs one is said by the organization, or for everybody by ADMIN_REQUIRE_TWO_FACTOR; everybody
else may set one up and is asked for it from then on. `gate` is the one place where that happens: no
page of the admin but those of the sign-in itself is served before. Tokens and API keys of programs
are not concerned; a session on the API is.
"""

import hashlib
import secrets
import time
from base64 import b32encode
from binascii import unhexlify
from collections.abc import Callable
from io import BytesIO
from typing import Any

import django_otp
import qrcode
import qrcode.image.svg
import structlog
from django.conf import settings
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from core.models import User

log = structlog.stdlib.get_logger("core.two_factor")

CODES = 10  # recovery codes
DIGITS = 6
ADMIN = "/admin/"
BEFORE = frozenset({"admin:login", "admin:logout", "two-factor", "two-factor-set-up"})
_NEW_KEY = "two_factor_new_key"


def is_required(user: Any) -> bool:
    """Whether `user` may not do without a second factor."""
    home = user.organization
    return settings.ADMIN_REQUIRE_TWO_FACTOR or bool(home and home.require_two_factor)


def is_satisfied(request: HttpRequest) -> bool:
    """Whether this session may be served: its second factor was given, or there is none."""
    user = request.user
    return (
        not user.is_authenticated
        or has_passed(request)
        or not (is_required(user) or is_set_up(user))
    )


def has_passed(request: HttpRequest) -> bool:
    """Whether this session has given a second factor that is still the user's."""
    given = request.session.get(django_otp.DEVICE_ID_SESSION_KEY)
    device = Device.from_persistent_id(given) if given else None
    return device is not None and device.confirmed and device.user_id == request.user.pk


def is_set_up(user: Any) -> bool:
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


# ------------------------------------------------------------------------------------- setting up


def new_device(request: HttpRequest) -> TOTPDevice:
    """The app to be added, not stored yet.

    Its secret lives and dies with the session: what somebody with only the password may have seen
    in another session never becomes the owner's.
    """
    key = request.session.setdefault(_NEW_KEY, random_hex(20))
    return TOTPDevice(user=request.user, name="Authenticator app", key=key)


def secret_of(device: TOTPDevice) -> str:
    """The secret as people type it into an app."""
    text = b32encode(unhexlify(device.key)).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def picture_of(device: TOTPDevice) -> str:
    """The QR code to scan, as SVG."""
    drawn = BytesIO()
    image = qrcode.make(
        device.config_url, image_factory=qrcode.image.svg.SvgPathImage, box_size=12, border=2
    )
    image.save(drawn)
    text = drawn.getvalue().decode()
    return text[text.index("<svg") :]


def set_up(request: HttpRequest, code: str) -> list[str] | None:
    """Keep the new app if `code` is one of its codes, and let the session in.

    Returns the recovery codes, which nobody can read again; None if the code is wrong, or somebody
    else has set up an app meanwhile: whoever only has the password never adds a second one.
    """
    user = User.objects.select_for_update().get(pk=request.user.pk)
    device = new_device(request)
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    totp.time = time.time()
    if is_set_up(user) or not (_is_code(code) and totp.verify(int(code), device.tolerance)):
        return None
    device.last_t, device.drift = totp.t(), totp.drift
    device.save()
    del request.session[_NEW_KEY]
    User.objects.filter(pk=user.pk).update(two_factor_since=Now())
    log.info("two_factor_set_up", user_id=str(user.pk))
    codes = new_recovery_codes(user)
    _let_in(request, device)
    return codes


def new_recovery_codes(user: User) -> list[str]:
    """Ten codes that work once each, in place of those before; only their hashes are kept."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="Recovery codes")
    codes = [b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_hash(each)) for each in codes)
    log.info("recovery_codes_made", user_id=str(user.pk))
    return ["-".join(each[at : at + 4] for at in range(0, 16, 4)) for each in codes]


def recovery_codes_left(user: User) -> int:
    return StaticToken.objects.filter(device__user=user).count()


def reset(user: User) -> bool:
    """Forget app and recovery codes. Returns whether any were there.

    Who is required to have a second factor sets it up anew: every session that was let in by the
    old one is asked again.
    """
    User.objects.filter(pk=user.pk).exclude(two_factor_since=None).update(two_factor_since=None)
    gone = [model.objects.filter(user=user).delete()[0] for model in (TOTPDevice, StaticDevice)]
    log.warning("two_factor_reset", user_id=str(user.pk))
    return any(gone)


# ---------------------------------------------------------------------------------------- the code


def enter(request: HttpRequest, code: str) -> bool:
    """Let the session in if `code` is right."""
    device = _device_of(request.user, code)
    if device is None:
        return False
    _let_in(request, device)
    return True


def turn_off(user: User, code: str) -> bool:
    """Do without a second factor from now on if `code` is right, and none is required.

    A session alone, such as one left open, does not suffice.
    """
    if is_required(user) or _device_of(user, code) is None:
        return False
    reset(user)
    return True


def _device_of(user: Any, code: str) -> Any:
    """The app or the recovery codes of `user` that `code` is of, or None; it is used up.

    After a wrong one django-otp takes none at all for a second, then two, four and so on; the row
    is locked meanwhile, so that codes sent at once count one after the other.
    """
    code = "".join(code.split()).replace("-", "").lower()
    model, given = (TOTPDevice, code) if _is_code(code) else (StaticDevice, _hash(code))
    device: Any = model.objects.select_for_update().filter(user=user, confirmed=True).first()
    if device is None or not device.verify_token(given):
        log.warning("two_factor_failed", user_id=str(user.pk))
        return None
    if model is StaticDevice:
        log.warning("recovery_code_used", user_id=str(user.pk))
    return device


def _let_in(request: HttpRequest, device: Device) -> None:
    request.session.cycle_key()
    django_otp.login(request, device)


def _is_code(code: str) -> bool:
    return len(code) == DIGITS and code.isascii() and code.isdecimal()


def _hash(code: str) -> str:
    """80 random bits need neither salt nor a slow hash; the column has 16 characters."""
    return b32encode(hashlib.blake2b(code.encode(), digest_size=10).digest()).decode()


# ---------------------------------------------------------------------------------------- the gate


def gate(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Serve no page of the admin to who has a second factor, or needs one, and has not given it."""

    def handle(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(ADMIN) or is_satisfied(request):
            return get_response(request)
        if request.path_info in map(reverse, BEFORE):
            return get_response(request)
        wanted = request.get_full_path() if request.method == "GET" else reverse("admin:index")
        return HttpResponseRedirect(f"{reverse('two-factor')}?{urlencode({'next': wanted})}")

    return handle
