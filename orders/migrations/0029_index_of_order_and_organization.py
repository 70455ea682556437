from django.db import migrations


class Migration(migrations.Migration):
    # The constraint of the next one, which would otherwise build it while nobody may read.
    atomic = False

    dependencies = [("orders", "0028_former_index_by_etd")]

    operations = [
        migrations.RunSQL(
            [
                "DROP INDEX CONCURRENTLY IF EXISTS orders_order_in_organization",
                "CREATE UNIQUE INDEX CONCURRENTLY orders_order_in_organization"
                " ON orders_order (organization_id, id)",
            ],
            reverse_sql="DROP INDEX CONCURRENTLY IF EXISTS orders_order_in_organization",
        )
    ]
