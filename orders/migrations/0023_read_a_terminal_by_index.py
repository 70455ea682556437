from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

INDEXES = {
    "orders_of_terminal_created": ("created_at", "orders_terminal_created"),
    "orders_of_terminal_eta": ("eta_date", "orders_terminal_eta"),
    "orders_of_terminal_etd": ("etd_date", "orders_terminal_etd"),
}


class Migration(migrations.Migration):
    # Built beside the work, each before the one in whose place it comes.
    atomic = False

    dependencies = [("orders", "0022_search_behind_the_wall")]

    operations = [
        operation
        for name, (column, former) in INDEXES.items()
        for operation in (
            AddIndexConcurrently(
                "order",
                models.Index(
                    fields=["terminal", column, "id"], include=["organization"], name=name
                ),
            ),
            RemoveIndexConcurrently("order", former),
        )
    ]
