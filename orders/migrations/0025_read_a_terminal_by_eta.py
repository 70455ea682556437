from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orders", "0024_former_index_by_created")]

    operations = [
        AddIndexConcurrently(
            "order",
            models.Index(
                fields=["terminal", "eta_date", "id"],
                include=["organization"],
                name="orders_of_terminal_eta",
            ),
        )
    ]
