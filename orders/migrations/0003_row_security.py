from django.db import migrations

from core.row_security import RowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_same_organization"),
    ]

    operations = [
        RowSecurity("orders_order"),
    ]
