"""How a name and a password, or a session, become a user."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import connection

from core import sign_in, tenancy
from core.models import User
from core.querysets import with_bound_terminals


class TenantBackend(ModelBackend):
    """Django's, looking beyond the wall for as long as it takes to know whose wall it is."""

    def authenticate(
        self, request: Any, username: Any = None, password: Any = None, **kwargs: Any
    ) -> User | None:
        """The user of this name, if that is the password; None else, whatever is wrong with it.

        Raises:
            RateLimited: too many have failed; nothing was looked at.
        """
        if username is None or password is None:
            return None
        with sign_in.attempt(request, username) as attempt:
            with tenancy.everyone("sign-in"):
                user: Any = super().authenticate(request, username, password)
            attempt.succeeded = user is not None
        if user and connection.in_atomic_block:
            tenancy.enter_for(user)
        return user

    def get_user(self, user_id: Any) -> User | None:
        with tenancy.everyone("session"):
            users = with_bound_terminals(User.objects.select_related("organization"))
            user = users.filter(pk=user_id).first()
        return user if user and self.user_can_authenticate(user) else None
