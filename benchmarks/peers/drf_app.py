"""Django REST Framework as most people write it: model serializers, `select_related`, pages.

Serves the addresses and rows of ours: `gunicorn benchmarks.peers.drf_app:application`. The count is
exact, sign-in is simplejwt's, and the registry's list goes through Django's cache.
"""

import os

import dj_database_url
import django
from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)},
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["REDIS_URL"],
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    TIME_ZONE="UTC",
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    },
    SIMPLE_JWT={"ISSUER": "dockside", "AUDIENCE": "dockside-api"},
)
django.setup()

from django.contrib.auth.base_user import AbstractBaseUser  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import IntegrityError, models  # noqa: E402
from django.db.models.functions import Coalesce  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, serializers, status  # noqa: E402
from rest_framework.exceptions import APIException  # noqa: E402
from rest_framework.pagination import PageNumberPagination  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_simplejwt.authentication import JWTAuthentication  # noqa: E402
from uuid_utils.compat import uuid7  # noqa: E402

# ------------------------------------------------------------------------------------ the tables


class Row(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7)
    organization_id = models.UUIDField()

    class Meta:
        abstract = True
        app_label = "peers"
        managed = False


class User(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid7)
    organization_id = models.UUIDField()
    username = models.CharField(max_length=150)
    is_active = models.BooleanField()

    USERNAME_FIELD = "username"

    class Meta:
        app_label = "peers"
        managed = False
        db_table = "core_user"


class Terminal(Row):
    name = models.CharField(max_length=120)
    account_code = models.CharField(max_length=32)
    address = models.CharField(max_length=255)
    timezone = models.CharField(max_length=64)
    is_active = models.BooleanField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(Row.Meta):
        db_table = "terminals_terminal"


class Driver(Row):
    name = models.CharField(max_length=120)
    phone = models.CharField(max_length=16)

    class Meta(Row.Meta):
        db_table = "fleet_driver"


class Vehicle(Row):
    license_plate = models.CharField(max_length=16)
    plate_country = models.CharField(max_length=2)
    name = models.CharField(max_length=120)

    class Meta(Row.Meta):
        abstract = True


class Truck(Vehicle):
    class Meta(Row.Meta):
        db_table = "fleet_truck"


class Trailer(Vehicle):
    class Meta(Row.Meta):
        db_table = "fleet_trailer"


def link(to: type[models.Model], **options: object) -> models.ForeignKey:
    return models.ForeignKey(to, on_delete=models.PROTECT, related_name="+", **options)


def text(max_length: int) -> models.CharField:
    return models.CharField(max_length=max_length, blank=True, default="")


SERVICES = ["reload_car_car", "reload_car_terminal_car", "into_plukk_storage", "cross_dock"]
COMMODITIES = ["salmon", "salmon_products", "salmon_mix", "trout", "whitefish", "bacalao"]
COMMODITIES += ["stockfish", "shrimp", "other"]


class Order(Row):
    terminal = link(Terminal)
    reference = models.CharField(max_length=32)
    service = models.CharField(max_length=24, choices=[(name, name) for name in SERVICES])
    commodity = models.CharField(
        max_length=16, choices=[(name, name) for name in COMMODITIES], null=True, blank=True
    )
    pallets = models.PositiveIntegerField(null=True, blank=True)
    boxes = models.PositiveIntegerField(null=True, blank=True)
    kilos = models.DecimalField(max_digits=9, decimal_places=2, null=True, blank=True)
    priority = models.BooleanField(default=False)
    notes = text(1024)
    eta_date = models.DateField(null=True, blank=True)
    eta_time = models.TimeField(null=True, blank=True)
    eta_driver = link(Driver, null=True, blank=True)
    eta_truck = link(Truck, null=True, blank=True)
    eta_trailer = link(Trailer, null=True, blank=True)
    eta_driver_name = text(120)
    eta_driver_phone = text(32)
    eta_truck_plate = text(16)
    eta_trailer_plate = text(16)
    etd_date = models.DateField(null=True, blank=True)
    etd_time = models.TimeField(null=True, blank=True)
    etd_driver = link(Driver, null=True, blank=True)
    etd_truck = link(Truck, null=True, blank=True)
    etd_trailer = link(Trailer, null=True, blank=True)
    etd_driver_name = text(120)
    etd_driver_phone = text(32)
    etd_truck_plate = text(16)
    etd_trailer_plate = text(16)
    status = models.CharField(max_length=16, default="planned", editable=False)
    arrived_at = models.DateTimeField(null=True, editable=False)
    departed_at = models.DateTimeField(null=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, editable=False)
    cancel_reason = models.CharField(max_length=1024, default="", editable=False)
    version = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(Row.Meta):
        db_table = "orders_order"


class OrderDocument(Row):
    order = link(Order)

    class Meta(Row.Meta):
        db_table = "documents_orderdocument"


LINKS = ["terminal"]
LINKS += [f"{leg}_{what}" for leg in ("eta", "etd") for what in ("driver", "truck", "trailer")]


# ------------------------------------------------------------------------------------ the shapes


class TerminalBrief(serializers.ModelSerializer):
    class Meta:
        model = Terminal
        fields = ["id", "name", "account_code"]


class TerminalOut(serializers.ModelSerializer):
    class Meta:
        model = Terminal
        exclude = ["organization_id"]


class DriverBrief(serializers.ModelSerializer):
    class Meta:
        model = Driver
        fields = ["id", "name", "phone"]


class TruckBrief(serializers.ModelSerializer):
    class Meta:
        model = Truck
        fields = ["id", "license_plate", "plate_country", "name"]


class TrailerBrief(serializers.ModelSerializer):
    class Meta:
        model = Trailer
        fields = ["id", "license_plate", "plate_country", "name"]


class OrderOut(serializers.ModelSerializer):
    terminal = TerminalBrief()
    kilos = serializers.FloatField()
    eta_driver = DriverBrief()
    eta_truck = TruckBrief()
    eta_trailer = TrailerBrief()
    etd_driver = DriverBrief()
    etd_truck = TruckBrief()
    etd_trailer = TrailerBrief()
    documents_count = serializers.IntegerField(default=0)  # a new one is not counted

    class Meta:
        model = Order
        exclude = ["organization_id"]


class OrderIn(serializers.ModelSerializer):
    terminal_id = serializers.PrimaryKeyRelatedField(
        source="terminal", queryset=Terminal.objects.all()
    )
    eta_driver_id, etd_driver_id = (
        serializers.PrimaryKeyRelatedField(
            source=f"{leg}_driver", queryset=Driver.objects.all(), allow_null=True, required=False
        )
        for leg in ("eta", "etd")
    )
    eta_truck_id, etd_truck_id = (
        serializers.PrimaryKeyRelatedField(
            source=f"{leg}_truck", queryset=Truck.objects.all(), allow_null=True, required=False
        )
        for leg in ("eta", "etd")
    )
    eta_trailer_id, etd_trailer_id = (
        serializers.PrimaryKeyRelatedField(
            source=f"{leg}_trailer", queryset=Trailer.objects.all(), allow_null=True, required=False
        )
        for leg in ("eta", "etd")
    )

    class Meta:
        model = Order
        exclude = ["organization_id", *LINKS]

    def validate(self, values: dict) -> dict:
        home = self.context["request"].user.organization_id
        for name in LINKS:
            if values.get(name) and values[name].organization_id != home:
                raise serializers.ValidationError({f"{name}_id": "There is nothing with this id."})
        return values


# ------------------------------------------------------------------------------------- the views


class Taken(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "reference: this is taken already."


class Authentication(JWTAuthentication):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.user_model = User


class Pages(PageNumberPagination):
    page_size_query_param = "per_page"
    page_size = 20
    max_page_size = 100


def counted(orders: models.QuerySet) -> models.QuerySet:
    """With the number of their documents; a join and `Count` would group all orders for a page."""
    mine = OrderDocument.objects.filter(order=models.OuterRef("pk")).order_by()
    number = mine.values("order").annotate(number=models.Count("pk")).values("number")
    return orders.annotate(documents_count=Coalesce(models.Subquery(number), 0))


class Orders(generics.ListCreateAPIView):
    authentication_classes = [Authentication]
    serializer_class = OrderOut
    pagination_class = Pages

    def get_queryset(self) -> models.QuerySet:
        orders = Order.objects.filter(organization_id=self.request.user.organization_id)
        given = self.request.query_params
        for name in ("terminal_id", "eta_date"):
            if name in given:
                orders = orders.filter(**{name: given[name]})
        return counted(orders).select_related(*LINKS).order_by("-created_at", "-id")

    def create(self, request: object) -> Response:
        given = OrderIn(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        try:
            order = given.save(organization_id=request.user.organization_id)
        except IntegrityError:
            raise Taken from None
        return Response(OrderOut(order).data, status=status.HTTP_201_CREATED)


class OneOrder(generics.RetrieveAPIView):
    authentication_classes = [Authentication]
    serializer_class = OrderOut

    def get_queryset(self) -> models.QuerySet:
        orders = Order.objects.filter(organization_id=self.request.user.organization_id)
        return counted(orders).select_related(*LINKS)


class Terminals(generics.ListAPIView):
    authentication_classes = [Authentication]
    serializer_class = TerminalOut
    pagination_class = Pages

    def get_queryset(self) -> models.QuerySet:
        terminals = Terminal.objects.filter(organization_id=self.request.user.organization_id)
        return terminals.order_by("name", "id")

    def list(self, request: object) -> Response:
        key = f"drf:terminals:{request.user.organization_id}:{request.query_params.urlencode()}"
        data = cache.get(key)
        if data is None:
            data = super().list(request).data
            cache.set(key, data, 3600)
        return Response(data)


def ready(request: object) -> JsonResponse:
    User.objects.exists()
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("api/v1/health/ready", ready),
    path("api/v1/orders", Orders.as_view()),
    path("api/v1/orders/<uuid:pk>", OneOrder.as_view()),
    path("api/v1/terminals", Terminals.as_view()),
]
application = get_wsgi_application()
