from django.db import migrations

from core.row_security import RowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0002_same_organization"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    operations = [
        RowSecurity("core_organization", column="id"),
        RowSecurity("core_user"),
        # What somebody did in the admin: the rows' names stand in it. The user's own wall decides.
        RowSecurity(
            "django_admin_log",
            condition="EXISTS (SELECT FROM core_user WHERE core_user.id = user_id)",
        ),
    ]
