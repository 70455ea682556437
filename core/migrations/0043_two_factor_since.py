from django.db import migrations

# Who has a second step already.
SINCE = """
SELECT set_config('dockside.everyone', 'on', true);
UPDATE core_user SET two_factor_since = device.created_at
FROM otp_totp_totpdevice AS device
WHERE device.user_id = core_user.id AND device.confirmed AND device.created_at IS NOT NULL;
SELECT set_config('dockside.everyone', '', true);
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0042_two_factor_in_history")]

    operations = [migrations.RunSQL(SINCE, migrations.RunSQL.noop)]
