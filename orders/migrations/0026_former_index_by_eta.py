from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    # The one that reads a terminal by itself has come in its place.
    atomic = False

    dependencies = [("orders", "0025_read_a_terminal_by_eta")]

    operations = [RemoveIndexConcurrently("order", "orders_terminal_eta")]
