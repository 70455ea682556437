"""Documents of orders: an uploaded file each, and the text that is read out of it."""

from typing import ClassVar

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from core import history
from core.constraints import Rule, Unique, referable
from core.fields import LineField
from core.models import Organization, TenantModel
from core.row_security import SameOrganization
from documents.querysets import OrderDocumentQuerySet, OrderDocumentTextQuerySet
from orders.models import Order

SHA256 = "^[0-9a-f]{64}$"


class DocumentType(models.TextChoices):
    T1 = "t1", "T1"
    MIO = "mio", "MIO"
    SAD = "sad", "SAD"
    CMR = "cmr", "CMR"
    LABEL = "label", "Label"
    INVOICE = "invoice", "Invoice"
    PICTURES = "pictures", "Pictures"
    PACKING_LIST = "packing_list", "Packing list"
    MOVING_REPORT = "moving_report", "Moving report"
    LOADING_CHART = "loading_chart", "Loading chart"
    THIRD_PARTY_LOGISTICS = "third_party_logistics", "3PL/4PL"
    BILL_OF_LADING = "bill_of_lading", "Bill of lading"
    DEVIATION_REPORT = "deviation_report", "Deviation report"
    EXPORT_DOCUMENTS = "export_documents", "Export documents"
    OFF_LOADING_CHART = "off_loading_chart", "Off-loading chart"
    OWNER_PLUKK_LIST = "owner_plukk_list", "Owner plukk list"
    PLUKK_LIST_SCANNED = "plukk_list_scanned", "Plukk list, scanned"
    PLUKK_LIST_EXCEL = "plukk_list_excel", "Plukk list, Excel"
    OTHER = "other", "Other"


class ReadingStatus(models.TextChoices):
    """How far the reading of a document is; the last three are its ends."""

    PENDING = "pending", "Waiting"
    RUNNING = "running", "Being read"
    DONE = "done", "Read"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Not read"


ENDED = (ReadingStatus.DONE, ReadingStatus.FAILED, ReadingStatus.SKIPPED)


@history.tracked()
class OrderDocument(TenantModel):
    """A file that belongs to an order.

    The file itself lies in the storage under its organization and `sha256` (`documents.storage`),
    and so does the thumbnail under `thumbnail_sha256`, empty while there is none. `content_type` is
    what the bytes are, whatever the sender said. `page_count` is known for PDF files only. Who
    uploaded it is told as it was named on the day; when is `created_at`. `version` grows by one
    with each change that people make; what the reading adds does not count.
    """

    Type = DocumentType

    order = models.ForeignKey(
        Order,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="documents",
    )
    type = models.CharField(max_length=32, choices=DocumentType.choices)
    title = LineField(max_length=200, blank=True, default="")
    file_name = LineField(max_length=200, editable=False)
    size_bytes = models.IntegerField(editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    content_type = models.CharField(max_length=100, editable=False)
    page_count = models.IntegerField(null=True, editable=False)
    thumbnail_sha256 = models.CharField(max_length=64, blank=True, default="", editable=False)
    uploaded_by_type = models.CharField(max_length=16, editable=False)
    uploaded_by_id = models.UUIDField(null=True, editable=False)
    uploaded_by_name = models.CharField(max_length=150, editable=False)
    version = models.IntegerField(default=1, editable=False)

    objects: ClassVar[OrderDocumentQuerySet] = OrderDocumentQuerySet.as_manager()  # type: ignore[assignment]

    kept_by_database = ("updated_at", "version")

    class Meta(TenantModel.Meta):
        constraints = [
            referable("documents_orderdocument"),
            # Two uploads of one file at once; the second is stopped here.
            Unique(
                fields=["order", "sha256"],
                name="documents_orderdocument_once_per_order",
                field="file",
            ),
            SameOrganization(
                field="order",
                name="documents_orderdocument_order_same_organization",
                cascade=True,
            ),
            Rule(
                name="documents_orderdocument_type_known",
                condition=Q(type__in=DocumentType.values),
                field="type",
                code="invalid_choice",
                message="Not one of the values there are.",
            ),
            Rule(
                name="documents_orderdocument_file_name_not_empty",
                condition=~Q(file_name=""),
                field="file_name",
                code="required",
                message="A file has a name.",
            ),
            Rule(
                name="documents_orderdocument_size_positive",
                condition=Q(size_bytes__gte=1),
                field="file",
                code="empty-file",
                message="The file is empty.",
            ),
            Rule(
                name="documents_orderdocument_sha256_is_one",
                condition=Q(sha256__regex=SHA256),
                field="sha256",
                code="invalid",
                message="A SHA-256 is 64 hexadecimal digits.",
            ),
            Rule(
                name="documents_orderdocument_thumbnail_is_sha256",
                condition=Q(thumbnail_sha256="") | Q(thumbnail_sha256__regex=SHA256),
                field="thumbnail_sha256",
                code="invalid",
                message="A SHA-256 is 64 hexadecimal digits.",
            ),
            Rule(
                name="documents_orderdocument_page_count_positive",
                condition=Q(page_count__isnull=True) | Q(page_count__gte=1),
                field="page_count",
                code="min_value",
                message="A document has a page.",
            ),
            Rule(
                name="documents_orderdocument_version_positive",
                condition=Q(version__gte=1),
                code="min_value",
                message="Versions count from 1.",
            ),
        ]
        indexes = [
            # The documents of one order, oldest or newest first, and how many.
            models.Index(fields=["order", "created_at", "id"], name="documents_of_order"),
            # Those of all orders, and those of one type.
            models.Index(fields=["organization", "created_at", "id"], name="documents_by_created"),
            models.Index(
                fields=["organization", "type", "created_at", "id"], name="documents_by_type"
            ),
            # Whether a file is still anybody's.
            models.Index(fields=["organization", "sha256"], name="documents_of_file"),
            models.Index(
                fields=["organization", "thumbnail_sha256"],
                condition=~Q(thumbnail_sha256=""),
                name="documents_of_thumbnail",
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="next_version",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                condition=pgtrigger.AnyChange(exclude=["thumbnail_sha256", "page_count"]),
                func="NEW.version = OLD.version + 1; RETURN NEW;",
            ),
            *TenantModel.Meta.triggers,
            # What is left behind is written down in the same transaction, whoever deletes, and
            # removed from the storage after it (documents.storage).
            pgtrigger.Trigger(
                name="abandon_files",
                operation=pgtrigger.Delete | pgtrigger.UpdateOf("sha256", "thumbnail_sha256"),
                when=pgtrigger.After,
                func="""
                    INSERT INTO documents_abandonedfile (organization_id, sha256)
                    SELECT OLD.organization_id, file
                      FROM unnest(ARRAY[OLD.sha256, OLD.thumbnail_sha256]) AS file
                     WHERE file <> ''
                       AND (TG_OP = 'DELETE' OR file NOT IN (NEW.sha256, NEW.thumbnail_sha256));
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.file_name


@history.tracked(exclude=["pages"])
class OrderDocumentText(TenantModel):
    """What is read in a document, and how the reading went.

    `pages` is the text page by page, as far as it is read; what has no pages has one. `language` is
    that of the text, where it is known (ISO 639-3, several joined with +); `extractor` is what read
    it. `error` tells people why it failed or was skipped. `attempts` counts how often the reading
    began since it was last asked for. It was asked for at `queued_at`.
    """

    Status = ReadingStatus

    document = models.OneToOneField(
        OrderDocument,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="text",
    )
    status = models.CharField(
        max_length=16, choices=ReadingStatus.choices, default=ReadingStatus.PENDING
    )
    pages = ArrayField(models.TextField(), default=list)
    language = models.CharField(max_length=32, blank=True, default="")
    extractor = models.CharField(max_length=64, blank=True, default="")
    error = models.CharField(max_length=500, blank=True, default="")
    attempts = models.IntegerField(default=0)
    queued_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[OrderDocumentTextQuerySet] = OrderDocumentTextQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(TenantModel.Meta):
        constraints = [
            SameOrganization(
                field="document",
                name="documents_orderdocumenttext_document_same_organization",
                cascade=True,
            ),
            Rule(
                name="documents_orderdocumenttext_status_known",
                condition=Q(status__in=ReadingStatus.values),
                field="status",
                code="invalid_choice",
                message="Not one of the values there are.",
            ),
            Rule(
                name="documents_orderdocumenttext_attempts_not_negative",
                condition=Q(attempts__gte=0),
                field="attempts",
                code="min_value",
                message="Attempts count from 0.",
            ),
            Rule(
                name="documents_orderdocumenttext_ends_when_finished",
                condition=(Q(status__in=ENDED) & Q(finished_at__isnull=False))
                | (~Q(status__in=ENDED) & Q(finished_at__isnull=True)),
                code="status-instants",
                message="The status and its instants do not agree.",
            ),
            Rule(
                name="documents_orderdocumenttext_runs_when_started",
                condition=~Q(status=ReadingStatus.RUNNING) | Q(started_at__isnull=False),
                code="status-instants",
                message="The status and its instants do not agree.",
            ),
            Rule(
                name="documents_orderdocumenttext_says_why_not",
                condition=~Q(status__in=[ReadingStatus.FAILED, ReadingStatus.SKIPPED])
                | ~Q(error=""),
                field="error",
                code="required",
                message="What failed or was skipped has a reason.",
            ),
        ]
        indexes = [
            # Those that wait, run or failed, the oldest first.
            models.Index(
                fields=["organization", "status", "queued_at"],
                name="documents_text_by_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}: {self.status}"


class DocumentSearch(models.Model):
    """What a document is found by, kept by triggers from its title, its name and its pages.

    `words` are for full text, `heading` has those of title and name alone; `marks` are what looks
    like a number of something (a CMR, a plate, a container), bare, with a space before and after
    each, and `numbers` the keys by which one is found though a character is wrong. What a search
    in the documents of orders answers with is `order_id`. documents/search.py says more.
    """

    document = models.OneToOneField(
        OrderDocument,
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="search",
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    order_id = models.UUIDField()
    words = SearchVectorField()
    heading = SearchVectorField()
    marks = models.TextField(default=" ")
    numbers = SearchVectorField()

    class Meta:
        constraints = [
            SameOrganization(
                field="document",
                name="documents_documentsearch_document_same_organization",
                cascade=True,
            ),
        ]
        indexes = [
            # Every search reads the list of what is not yet sorted in: it is kept short.
            GinIndex(fields=["words"], name="documents_words", gin_pending_list_limit=256),
            GinIndex(fields=["heading"], name="documents_heading", gin_pending_list_limit=256),
            GinIndex(fields=["numbers"], name="documents_numbers", gin_pending_list_limit=256),
            # A part of a number.
            GinIndex(
                OpClass(F("marks"), "gin_trgm_ops"),
                name="documents_marks",
                gin_pending_list_limit=256,
            ),
        ]

    def __str__(self) -> str:
        return str(self.document_id)


class AbandonedFile(models.Model):
    """A file that a document no longer needs; it is removed unless another one does.

    Written by a trigger as documents are deleted, so that no way of deleting loses a file.
    """

    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="abandoned_files"
    )
    sha256 = models.CharField(max_length=64)
    abandoned_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.sha256
