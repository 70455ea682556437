from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0029_index_of_order_and_organization")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE orders_order ADD CONSTRAINT orders_order_in_organization"
            " UNIQUE USING INDEX orders_order_in_organization",
            reverse_sql="ALTER TABLE orders_order DROP CONSTRAINT orders_order_in_organization",
            state_operations=[
                migrations.AddConstraint(
                    model_name="order",
                    constraint=models.UniqueConstraint(
                        fields=("organization", "id"), name="orders_order_in_organization"
                    ),
                ),
            ],
        )
    ]
