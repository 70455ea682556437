from django.db import migrations

from core.row_security import RowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0002_same_organization"),
    ]

    operations = [
        RowSecurity("fleet_driver"),
        RowSecurity("fleet_truck"),
        RowSecurity("fleet_trailer"),
    ]
