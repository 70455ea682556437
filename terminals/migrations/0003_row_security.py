from django.db import migrations

from core.row_security import RowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("terminals", "0002_same_organization"),
    ]

    operations = [
        RowSecurity("terminals_terminal"),
        RowSecurity("terminals_terminalstaff"),
    ]
