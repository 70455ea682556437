"""Documents found by words and by misread numbers, through indexes, behind the wall."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from core import tenancy
from documents.models import DocumentSearch, OrderDocument, OrderDocumentText
from documents.ranking import best
from documents.search import search_for
from documents.snippets import snippets
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
    ids = best(rows, search, 0, 100)
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

    @pytest.mark.parametrize("words", ["laks", "204518"])
    def test_an_index_answers(self, words):
        made = document("Laks 204518")
        with tenancy.within(made.organization_id), connection.cursor() as cursor:
            rows = DocumentSearch.objects.filter(search_for(words).condition).values(key=F("pk"))
            cursor.execute("SET LOCAL enable_seqscan = off")
            plan = rows.explain()
        assert "documents_words" in plan
        assert ("documents_marks" in plan) == (words == "204518")
