from django.db import migrations

from core.history import Baseline


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0020_history"),
    ]

    operations = [
        Baseline("orders.Order"),
    ]
