import os
import subprocess
import sys
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, execute_from_command_line

from core.models import Organization

pytestmark = pytest.mark.django_db


def create_organization(slug: str, name: str) -> str:
    said = StringIO()
    call_command("create_organization", slug, name=name, stdout=said)
    return said.getvalue()


class TestCreateOrganization:
    def test_makes_it(self):
        assert create_organization("kai", "Kai Spedisjon AS") == (
            "Organization kai made (Kai Spedisjon AS).\n"
        )
        assert Organization.objects.get().name == "Kai Spedisjon AS"

    def test_changes_nothing_the_second_time_and_says_so(self):
        create_organization("kai", "Kai Spedisjon AS")
        before = Organization.objects.values().get()
        assert create_organization("kai", "Another name") == (
            "Organization kai exists already (Kai Spedisjon AS); nothing changed.\n"
        )
        assert Organization.objects.values().get() == before

    @pytest.mark.parametrize(
        ("slug", "name", "field"),
        [
            ("not a slug", "Kai", "slug"),
            ("k" * 51, "Kai", "slug"),
            ("kai", "   ", "name"),
            ("kai", "K" * 121, "name"),
            ("kai", "two\nlines", "name"),
        ],
    )
    def test_refuses_what_does_not_fit_in_one_line(self, slug, name, field):
        with pytest.raises(CommandError, match=rf"\A{field}: [^\n]+\Z") as refusal:
            create_organization(slug, name)
        assert refusal.value.returncode == 1
        assert not Organization.objects.exists()

    def test_accepts_what_just_fits(self):
        create_organization("k" * 50, "K" * 120)
        assert Organization.objects.get().slug == "k" * 50

    def test_ends_with_2_on_wrong_usage(self, capsys):
        with pytest.raises(SystemExit) as end:
            execute_from_command_line(["manage.py", "create_organization", "kai"])
        assert end.value.code == 2
        assert "--name" in capsys.readouterr().err

    def test_ends_with_1_and_one_line_where_there_is_no_database(self):
        done = subprocess.run(
            [sys.executable, "manage.py", "create_organization", "kai", "--name", "Kai"],
            cwd=settings.BASE_DIR,
            env=os.environ
            | {"DATABASE_URL": "postgres://nobody:x@127.0.0.1:9/nothing", "DATABASE_OWNER_URL": ""},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("CommandError: The database does not serve: ")
        assert done.stderr.count("\n") == 1
