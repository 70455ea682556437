"""The plainest valid terminal."""

import factory
from factory.django import DjangoModelFactory

from terminals.models import Terminal
from tests.core.factories import OrganizationFactory


class TerminalFactory(DjangoModelFactory[Terminal]):
    class Meta:
        model = Terminal

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence("Quay {}".format)
    account_code = factory.Sequence("Q{:04}".format)
