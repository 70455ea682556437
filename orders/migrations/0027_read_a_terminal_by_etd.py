from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orders", "0026_former_index_by_eta")]

    operations = [
        AddIndexConcurrently(
            "order",
            models.Index(
                fields=["terminal", "etd_date", "id"],
                include=["organization"],
                name="orders_of_terminal_etd",
            ),
        )
    ]
