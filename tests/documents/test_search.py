"""Documents found by words and by misread numbers, through indexes, behind the wall."""

import re
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from core import tenancy
from documents.models import OrderDocument, OrderDocumentText
from documents.ranking import best
from documents.search import _pattern, search_for
from documents.snippets import snippets
from orders.models import Order
from tests.core.factories import OrganizationFactory
from tests.documents.factories import OrderDocumentFactory

pytestmark = pytest.mark.django_db


def document(*pages: str, **values: Any) -> OrderDocument:
    made = OrderDocumentFactory(**values)
    OrderDocumentText.objects.filter(document=made).update(pages=list(pages))
    return made


def found(words: str) -> list[OrderDocument]:
    search = search_for(words)
    rows = OrderDocument.objects.matching(search)
    by_id = rows.in_bulk()
    ids = best(rows, search, 0, 100, total=rows.count())
    assert len(ids) == len({*ids} & {*by_id}) == rows.count()
    return [by_id[each] for each in ids]


class TestWords:
    @pytest.mark.parametrize(
        "words",
        [
            "laksen",
            "LAKS",
            "lakser",
            "frøya",
            "froya",
            "Frøyå",
            "til Frøya",
            '"fersk laks"',
            "cold",
        ],
    )
    def test_are_found_by_stem_by_form_and_without_accents(self, words):
        made = document("Fersk laks til Frøya", "Keep cold")
        document("Tørrfisk fra Lofoten")
        assert found(words) == [made]

    def test_have_to_stand_in_one_document_all_of_them(self):
        document("Fersk laks")
        document("til Hitra")
        both = document("Fersk laks", "til Hitra")
        assert found("laks hitra") == [both]
        assert found("laks -hitra") != [both]

    def test_of_title_and_name_are_found_and_count_most(self):
        in_text = document("Pakkseddel")
        in_title = document("x", title="Pakkseddel")
        in_name = document("x", file_name="pakkseddel_2026.pdf")
        assert found("pakkseddel")[2] == in_text
        assert {*found("pakkseddel")[:2]} == {in_title, in_name}

    def test_follow_every_change(self):
        made = document("Laks")
        OrderDocument.objects.filter(pk=made.pk).update(title="Torsk")
        OrderDocumentText.objects.filter(document=made).update(pages=["Sei"])
        assert [found(word) for word in ("laks", "torsk", "sei")] == [[], [made], [made]]

    def test_of_a_text_that_is_too_much_are_found_in_its_first_part(self):
        made = document(" ".join(f"ord{number:x}x" for number in range(200_000)))
        assert found("ord1ax") == [made]

    @pytest.mark.parametrize(
        "words", ["'", "!!", "a & | b", "((", ":*", "\\", "%", "_" * 9, "0" * 200]
    )
    def test_may_be_anything(self, words):
        document("Laks")
        assert found(words) == []


class TestNumbers:
    TEXT = "CMR No 204518 MRN 23NO1234567890ABC5\nContainer MSKU 123456 5, truck DK 12345"

    @pytest.mark.parametrize(
        "typed",
        [
            *("204518", "2O4518", "204513", "704518", "20451B"),
            *("23NO1234567890ABC5", "23N01234567890ABC5", "23NO1234567890AXC5"),
            *("MSKU1234565", "MSKU 123456-5", "MSKU1234575", "msku1z34565"),
            *("DK12345", "dk 12 345", "DK 12346", "DX12345"),
            *("truck DK12845", "container msku1234565", "CMR 204578", "no 204578 dk12345"),
        ],
    )
    def test_are_found_with_one_character_wrong(self, typed):
        made = document(self.TEXT)
        document("CMR No 998877 MRN 23NO9994567890ABC5 Container TGHU 765432 1, truck AB 98765")
        assert found(typed) == [made]

    @pytest.mark.parametrize("typed", ["204599", "MSKU1234599", "DK99945", "204518 torsk"])
    def test_are_not_found_with_two(self, typed):
        document(self.TEXT)
        assert found(typed) == []

    def test_as_they_are_come_before_those_misread(self):
        misread, exact = document("No 204513"), document("No 204518")
        document("No 204578")
        assert found("204518")[0] == exact
        assert found("204513")[0] == misread

    def test_are_no_words_with_a_digit_or_two(self):
        assert search_for("jernlager17").marks == []
        assert search_for("2O45I8").marks == ["204518"]


class TestSnippets:
    def test_show_the_words_on_their_pages(self):
        made = document("Ingenting her", "Vi sender fersk laks til Hitra i dag")
        (snippet,) = snippets([made.pk], search_for("laks"))[made.pk]
        assert snippet.page == 2
        assert snippet.parts[1] == "laks"
        assert "".join(snippet.parts) == "sender fersk laks til Hitra i dag"

    def test_show_a_number_that_was_misread(self):
        made = document("Ingenting", "CMR No 2O4513 fra Hitra")
        (snippet,) = snippets([made.pk], search_for("204518"))[made.pk]
        assert (snippet.page, snippet.parts) == (2, ["CMR No ", "2O4513", " fra Hitra"])

    def test_are_none_for_what_is_found_by_its_title(self):
        made = document("Ingenting", title="Laks")
        assert snippets([made.pk], search_for("laks")) == {made.pk: []}


class TestBehindTheWall:
    def test_nothing_of_others_is_found(self):
        document("Laks 204518")
        with tenancy.within(OrganizationFactory().pk):
            assert [found("laks"), found("204518")] == [[], []]

    @pytest.mark.parametrize(
        ("by", "index"),
        [
            ("words", "documents_words"),
            ("heading", "documents_heading"),
            ("numbers", "documents_numbers"),
            ("part", "documents_marks"),
        ],
    )
    def test_an_index_answers_each_way_to_find(self, by, index):
        values = {"asked": "'laks'", "keys": "'a1b2c'", "beside": None, "most": 9}
        values |= {"part": "%204518%", "patterns": ["204518"]}
        kinds = {"asked": "tsquery", "keys": "tsquery", "beside": "tsquery", "most": "int"}
        kinds |= {"part": "text", "patterns": "text[]"}
        made = document("Laks 204518")
        with tenancy.within(made.organization_id), connection.cursor() as cursor:
            cursor.execute(
                "SELECT prosrc, proconfig FROM pg_proc WHERE proname = %s", [f"documents_by_{by}"]
            )
            source, configuration = cursor.fetchone()
            assert "enable_seqscan=off" in configuration
            cursor.execute("SET LOCAL enable_seqscan = off")
            sql = re.search(r"RETURN QUERY(.*?);", source, re.DOTALL)[1]
            for name, kind in kinds.items():
                sql = re.sub(rf"(?<![.\w]){name}(?!\w)", f"%({name})s::{kind}", sql)
            cursor.execute(f"EXPLAIN {sql}", values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert f"Bitmap Index Scan on {index}" in plan
        assert "Seq Scan" not in plan


class TestWhatManyDocumentsHave:
    """More than are compared one by one."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr("documents.search.FEW", 2)
        monkeypatch.setattr("documents.ranking.FEW", 2)

    def test_comes_by_title_and_by_age(self):
        first = document("x", title="Laks")
        others = [document(f"Laks {number}") for number in range(5)]
        assert found("laks") == [first, *reversed(others)]

    def test_comes_page_by_page_without_a_gap(self):
        made = [
            document(f"Laks {number}", title="Laks" if number < 2 else "") for number in range(4)
        ]
        search = search_for("laks")
        rows = OrderDocument.objects.matching(search)
        pages = [best(rows, search, start, 1, total=4) for start in range(5)]
        wanted = [made[1], made[0], made[3], made[2]]
        assert pages == [*([each.pk] for each in wanted), []]

    def test_is_filtered_before_it_is_cut(self):
        made = document("Laks", type="t1")
        for _ in range(4):
            document("Laks", type="cmr")
        search = search_for("laks")
        rows = OrderDocument.objects.filter(type="t1").matching(search)
        assert best(rows, search, 0, 20, total=1) == [made.pk]

    def test_is_found_as_it_was_typed_where_it_is_a_number(self):
        misread = document("No 204513")
        as_typed = [document(f"No 204518 {word}") for word in "abc"]
        assert misread not in found("204518")
        assert {*found("204518")} == {*as_typed}
        assert len(found("204519")) == 4

    def test_finds_its_orders(self):
        made = [document("Laks") for _ in range(4)]
        document("Torsk")
        orders = Order.objects.filter(search_for("laks").found("pk", "order_id"))
        assert {order.pk for order in orders} == {each.order_id for each in made}

    @pytest.mark.parametrize("words", ["-laks", "laks or -torsk", "-1234567"])
    def test_is_not_all_that_lacks_something(self, words):
        document("Sei")
        assert found(words) == []


LETTERS = "0123456789ACEFHKMNPRTUVWXY"  # none that is read for another


class TestMisreadNumbers:
    @given(
        mark=st.text(LETTERS, min_size=5, max_size=18).filter(
            lambda text: sum(each.isdigit() for each in text) > 3
        ),
        data=st.data(),
    )
    @settings(max_examples=40, deadline=None)
    def test_share_a_key_wherever_the_wrong_character_is(self, mark, data):
        at = data.draw(st.integers(0, len(mark) - 1))
        other = mark[:at] + data.draw(st.sampled_from("34679")) + mark[at + 1 :]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tsvector_to_array(documents_keys(%s)) && "
                "       tsvector_to_array(documents_keys(%s)),"
                "       %s ~ %s",
                [f" {mark} ", f" {other} ", f" {other} ", _pattern(mark)],
            )
            assert cursor.fetchone() == (True, True)
