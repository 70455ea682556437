from django.db import migrations

from core.history import Baseline


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0020_history"),
    ]

    operations = [
        Baseline("fleet.Driver"),
        Baseline("fleet.Truck"),
        Baseline("fleet.Trailer"),
    ]
