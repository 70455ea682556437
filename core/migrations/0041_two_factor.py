import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

from core.row_security import RowSecurity

# What belongs to a user is seen by whom the user's own wall lets in.
OF_USER = "EXISTS (SELECT FROM core_user WHERE core_user.id = user_id)"
OF_DEVICE = "EXISTS (SELECT FROM otp_static_staticdevice AS device WHERE device.id = device_id)"


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0040_limits_and_token_families"),
        ("otp_static", "0003_add_timestamps"),
        ("otp_totp", "0003_add_timestamps"),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name="organization",
            name="insert_insert",
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name="organization",
            name="update_update",
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name="organization",
            name="delete_delete",
        ),
        migrations.AddField(
            model_name="organization",
            name="require_two_factor",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="To sign in to the admin, a code from an authenticator app is needed too.",
                verbose_name="two-factor sign-in",
            ),
        ),
        migrations.AddField(
            model_name="organizationevent",
            name="require_two_factor",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="To sign in to the admin, a code from an authenticator app is needed too.",
                verbose_name="two-factor sign-in",
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="organization",
            trigger=pgtrigger.compiler.Trigger(
                name="insert_insert",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func='WITH _pgh_attached_context AS ( SELECT _pgh_attach_context() AS value ) INSERT INTO "core_organizationevent" ("created_at", "id", "limit_read", "limit_upload", "limit_write", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "require_two_factor", "slug", "updated_at") SELECT new_values."created_at", new_values."id", new_values."limit_read", new_values."limit_upload", new_values."limit_write", new_values."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'insert\', new_values."id", new_values."require_two_factor", new_values."slug", new_values."updated_at" FROM ( SELECT new_values.* FROM new_values  ) AS new_values, _pgh_attached_context; RETURN NULL;',
                    hash="729a779c4fe899e45c91a3783445227cf685ca14",
                    level="STATEMENT",
                    operation="INSERT",
                    pgid="pgtrigger_insert_insert_3b5e5",
                    referencing="REFERENCING NEW TABLE AS new_values ",
                    table="core_organization",
                    when="AFTER",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="organization",
            trigger=pgtrigger.compiler.Trigger(
                name="update_update",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    condition="WHEN (OLD.* IS DISTINCT FROM NEW.*)",
                    func='INSERT INTO "core_organizationevent" ("created_at", "id", "limit_read", "limit_upload", "limit_write", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "require_two_factor", "slug", "updated_at") VALUES (NEW."created_at", NEW."id", NEW."limit_read", NEW."limit_upload", NEW."limit_write", NEW."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'update\', NEW."id", NEW."require_two_factor", NEW."slug", NEW."updated_at"); RETURN NULL;',
                    hash="ebdc9cb2651d37332e9d911404a09c7557a145bb",
                    operation="UPDATE",
                    pgid="pgtrigger_update_update_062d3",
                    table="core_organization",
                    when="AFTER",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="organization",
            trigger=pgtrigger.compiler.Trigger(
                name="delete_delete",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func='WITH _pgh_attached_context AS ( SELECT _pgh_attach_context() AS value ) INSERT INTO "core_organizationevent" ("created_at", "id", "limit_read", "limit_upload", "limit_write", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "require_two_factor", "slug", "updated_at") SELECT old_values."created_at", old_values."id", old_values."limit_read", old_values."limit_upload", old_values."limit_write", old_values."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'delete\', old_values."id", old_values."require_two_factor", old_values."slug", old_values."updated_at" FROM ( SELECT old_values.* FROM old_values  ) AS old_values, _pgh_attached_context; RETURN NULL;',
                    hash="dd4bd72648bfd05695ee2d51528da6b48e767d5b",
                    level="STATEMENT",
                    operation="DELETE",
                    pgid="pgtrigger_delete_delete_f1932",
                    referencing="REFERENCING OLD TABLE AS old_values ",
                    table="core_organization",
                    when="AFTER",
                ),
            ),
        ),
        RowSecurity("otp_totp_totpdevice", condition=OF_USER),
        RowSecurity("otp_static_staticdevice", condition=OF_USER),
        RowSecurity("otp_static_statictoken", condition=OF_DEVICE),
    ]
