from django.db import migrations

from core.history import Baseline


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0020_history"),
    ]

    operations = [
        Baseline("core.Organization"),
        Baseline("core.User"),
    ]
