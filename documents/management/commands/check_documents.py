"""Finds files without rows and rows without files."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from core.management.commands._base import OperatorCommand
from documents import checking


class Command(OperatorCommand):
    help = (
        "Finds files that no document has, and documents whose file is not there. What is younger"
        " than an hour may be on its way and is left alone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--fix", action="store_true", help="remove such files, and such documents"
        )

    def handle(self, *args: Any, fix: bool, **options: Any) -> None:
        found = checking.check(timezone.now())
        lost = len(found.rows_without_files)
        if fix and lost and not found.files:
            raise CommandError(
                f"None of the files of {lost} documents is there: is the storage the right one?"
            )
        for name in found.strangers:
            self.say(f"documents: {name} is nothing of ours; left alone.")
        for home, sha256 in found.files_without_rows:
            self.say(f"documents: nobody needs the file {home}/{sha256}.")
        for name in found.unfinished:
            self.say(f"documents: {name} was never finished.")
        for document in found.rows_without_files:
            self.say(f"documents: the file of document {document.pk} is lost.")
        for document in found.thumbnails_without_files:
            self.say(f"documents: the thumbnail of document {document.pk} is lost.")
        if fix:
            checking.fix(found)
        wrong = (
            len(found.files_without_rows)
            + len(found.unfinished)
            + lost
            + len(found.thumbnails_without_files)
        )
        done = "removed" if fix else "found; --fix removes them"
        self.say(f"documents: {wrong} faults {done}." if wrong else "documents: all is well.")
