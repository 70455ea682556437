from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orders", "0022_search_behind_the_wall")]

    operations = [
        AddIndexConcurrently(
            "order",
            models.Index(
                fields=["terminal", "created_at", "id"],
                include=["organization"],
                name="orders_of_terminal_created",
            ),
        )
    ]
