"""The plainest valid organization and user."""

from functools import cache

import factory
from django.contrib.auth.hashers import make_password
from factory.django import DjangoModelFactory

from core.models import Organization, Role, User

PASSWORD = "the-tide-comes-in-twice"


@cache
def password_hash() -> str:
    """PASSWORD as it is stored: hashed once for all users, since hashing is slow on purpose."""
    return make_password(PASSWORD)


class OrganizationFactory(DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    slug = factory.Sequence("harbour-{}".format)
    name = factory.Sequence("Harbour {}".format)


class UserFactory(DjangoModelFactory[User]):
    """A dispatcher of a new organization, who may sign in to the admin with PASSWORD."""

    class Meta:
        model = User

    class Params:
        admin = factory.Trait(role=Role.ADMIN)
        viewer = factory.Trait(role=Role.VIEWER)
        superuser = factory.Trait(is_superuser=True, organization=None)

    username = factory.Sequence("user-{}".format)
    password = factory.LazyFunction(password_hash)
    organization = factory.SubFactory(OrganizationFactory)
    role = Role.DISPATCHER
    is_staff = True
