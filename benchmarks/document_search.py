"""Searching documents: by index behind the wall, against ILIKE over the same pages.

    DATABASE_URL=… DATABASE_OWNER_URL=… python benchmarks/document_search.py [--documents N]

Makes a scratch database beside the one that is named, with an organization of N documents of a page
each, freight papers of words that are as rare and as common as words are, and another of a tenth as
many. Each search is asked as the API asks it, as the application's role within its organization,
for the first page with its count; `ILIKE` is asked for the same words. Told are medians of
interleaved rounds and what the plan reads by. Ends with 1 if a search does without its index.
"""

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
URLS = [name for name in ("DATABASE_OWNER_URL", "DATABASE_URL") if os.environ.get(name)]
ROUNDS = 7
SCRATCH = "dockside_document_search"
SEARCHES = {
    "a rare word": "jernlager17",
    "a common word, in one of ten": "laks",
    "a word of all": "consignment",
    "a word of one letter": "a",
    "two words": "laks hitra",
    "a phrase of common words": '"fersk laks"',
    "a part of a number": "000183",
    "a number": "20001834",
    "a number, one character wrong": "2000I8Z4",
    "a container, one character wrong": "MSKU20O1I934",
    "nothing": "finnesikke",
}
# One word of ten stands in a tenth of all documents, the others the rarer the further behind.
SEED = """
    INSERT INTO documents_orderdocument (id, organization_id, order_id, type, title, file_name,
        size_bytes, sha256, content_type, thumbnail_sha256, uploaded_by_type, uploaded_by_name,
        version, created_at, updated_at)
    SELECT (lpad(to_hex(%(first)s + n), 12, '0') || '70008000000000000000')::uuid,
           %(home)s, %(order)s, 'cmr', '', 'scan-' || n || '.pdf', 1000,
           encode(sha256((%(first)s + n)::text::bytea), 'hex'), 'application/pdf', '', 'user',
           'kari', 1, now(), now()
      FROM generate_series(1, %(count)s) AS n
"""
TEXTS = """
    INSERT INTO documents_orderdocumenttext (id, organization_id, document_id, status, pages,
        language, extractor, error, attempts, queued_at, finished_at, created_at, updated_at)
    SELECT gen_random_uuid(), organization_id, id, 'done', ARRAY[
               'International consignment note CMR No ' || 20000000 + n || ' container MSKU'
               || 20010000 + n
               || E'\\nSender havbruk avdeling' || mod(n, 997) || ' jernlager' || mod(n, 4999)
               || CASE WHEN mod(n, 10) = 0 THEN ' fersk laks' ELSE ' stykkgods' END
               || CASE WHEN mod(n, 7) = 0 THEN ' til Hitra' ELSE ' til Oslo' END
               || E'\\nPaller ' || mod(n, 33) || ' vekt ' || mod(n, 20000) || ' kg '
               || (SELECT string_agg('vare' || mod(n * 31 + k * 7919, 50021), ' ')
                     FROM generate_series(1, 60) AS k)
           ], '', 'pdfium', '', 1, now(), now(), now(), now()
      FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM documents_orderdocument
             WHERE organization_id = %(home)s) AS document
"""


# All at once and before the indexes, which takes a fifth of the time that row by row does.
SEARCH = """
    SELECT count(documents_search_anew(id)) FROM documents_orderdocument
"""
INDEXES = """
    CREATE INDEX documents_words ON documents_documentsearch USING gin (words);
    CREATE INDEX documents_heading ON documents_documentsearch USING gin (heading);
    CREATE INDEX documents_numbers ON documents_documentsearch USING gin (numbers);
    CREATE INDEX documents_marks ON documents_documentsearch USING gin (marks gin_trgm_ops);
"""


def scratch(url: str) -> str:
    return re.sub(r"/[^/?]*(\?.*)?$", rf"/{SCRATCH}\1", os.environ[url])


def seed(documents: int) -> Any:
    """The organization that is asked for; migrations, rows and statistics are the owner's."""
    from django.core.management import call_command
    from django.db import connection

    from core import tenancy
    from core.models import Organization
    from core.postgres.ownership import as_owner
    from orders.models import Order
    from terminals.models import Terminal

    call_command("migrate", verbosity=0)
    first = 0
    for slug, count in (("other", documents // 10), ("home", documents)):
        with tenancy.everyone("benchmark"):
            home = Organization.objects.create(slug=slug, name=slug)
            terminal = Terminal.objects.create(organization=home, name="Quay", account_code="Q")
            order = Order.objects.create(
                organization=home, terminal=terminal, reference="R", service="cross_dock",
                eta_date="2026-11-23", etd_date="2026-11-24",
            )  # fmt: skip
        with as_owner(), connection.cursor() as cursor:
            # Without history, and found once: by what the text says, not before that.
            for table in ("documents_orderdocument", "documents_orderdocumenttext"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        with as_owner(), tenancy.everyone("benchmark"), connection.cursor() as cursor:
            values = {"first": first, "home": home.pk, "order": order.pk, "count": count}
            cursor.execute(SEED, values)
            cursor.execute(TEXTS, values)
        first += count
    with as_owner(), tenancy.everyone("benchmark"), connection.cursor() as cursor:
        cursor.execute(
            "DROP INDEX documents_words, documents_heading, documents_numbers, documents_marks"
        )
        cursor.execute(SEARCH)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(INDEXES)
        cursor.execute("VACUUM ANALYZE")
    return home


def by_index(home: Any, words: str) -> int:
    """The count, the first page and its lines, as the API asks for them."""
    from documents.models import OrderDocument
    from documents.ranking import best
    from documents.search import search_for
    from documents.snippets import snippets

    search_for.cache_clear()
    search = search_for(words)
    rows = OrderDocument.objects.filter(organization_id=home.pk).matching(search)
    count = rows.order_by()[:10_001].count()
    snippets(best(rows, search, 0, 20, total=count), search)
    return count


def by_ilike(home: Any, words: str) -> int:
    """Every word somewhere in the pages, as one would write it without an index."""
    from documents.models import OrderDocumentText

    rows = OrderDocumentText.objects.filter(organization_id=home.pk)
    for word in words.split():
        rows = rows.extra(where=["array_to_string(pages, ' ') ILIKE %s"], params=[f"%{word}%"])
    count = rows[:10_001].count()
    list(rows.order_by("-document_id").values_list("document_id")[:20])
    return count


def timed(home: Any, asked: Callable[[Any, str], int], words: str) -> tuple[float, int]:
    """Milliseconds, and how many were found."""
    from core import tenancy

    began = time.perf_counter()
    with tenancy.within(home.pk):
        count = asked(home, words)
    return (time.perf_counter() - began) * 1000, count


def reads(home: Any) -> dict[str, int]:
    """How often each index, and the table as a whole, was read so far."""
    from django.db import connection

    from core import tenancy

    with tenancy.within(home.pk), connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    with tenancy.within(home.pk), connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"
            " WHERE indexrelname IN"
            " ('documents_words', 'documents_heading', 'documents_numbers', 'documents_marks')"
            " UNION ALL SELECT relname, seq_scan FROM pg_stat_user_tables"
            " WHERE relname IN ('documents_documentsearch', 'documents_orderdocumenttext')"
        )
        return dict(cursor.fetchall())


def run(documents: int) -> int:
    import django

    django.setup()
    began = time.perf_counter()
    home = seed(documents)
    print(f"{documents:,} documents in {time.perf_counter() - began:.0f} s\n")
    print("| search | found | by index | ILIKE | ratio | read by |")
    print("|---|---:|---:|---:|---:|---|")
    missed = False
    for title, words in SEARCHES.items():
        ours, theirs, count = [], [], 0
        for _ in range(ROUNDS):
            spent, count = timed(home, by_index, words)
            ours.append(spent)
            theirs.append(timed(home, by_ilike, words)[0])
        fast, slow = statistics.median(ours), statistics.median(theirs)
        before = reads(home)
        timed(home, by_index, words)
        used = sorted(name for name, times in reads(home).items() if times > before[name])
        missed |= "documents_words" not in used or any("documents_document" in n for n in used)
        print(
            f"| {title}: `{words}` | {count:,} | {fast:.1f} ms | {slow:.0f} ms"
            f" | {slow / fast:.0f} | {', '.join(used)} |",
            flush=True,
        )
    return int(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    arguments = parser.parse_args()
    maker = os.environ["DATABASE_OWNER_URL"]
    with psycopg.connect(maker, autocommit=True) as server:
        name = sql.Identifier(SCRATCH)
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            os.environ.update({url: scratch(url) for url in URLS})
            os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
            os.environ["DB_POOL"] = "0"
            return run(arguments.documents)
        finally:
            from django.db import connections

            connections.close_all()
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))


if __name__ == "__main__":
    sys.exit(main())
