#!/usr/bin/env python
"""The operators' door. `script/manage` runs it in the right environment."""

import os
import sys

from django.core.management import ManagementUtility, get_commands


class Utility(ManagementUtility):
    """Django's, but a command that there is not is wrong usage: one line, and exit code 2."""

    def fetch_command(self, subcommand: str) -> object:
        if subcommand not in get_commands() and subcommand != "help":
            print(f"There is no command {subcommand!r}; `help` lists them.", file=sys.stderr)  # noqa: T201
            sys.exit(2)
        return super().fetch_command(subcommand)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    Utility(sys.argv).execute()
