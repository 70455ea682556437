from django.db import migrations

from core.history import Baseline


class Migration(migrations.Migration):
    dependencies = [
        ("terminals", "0020_history"),
    ]

    operations = [
        Baseline("terminals.Terminal"),
        Baseline("terminals.TerminalStaff"),
    ]
