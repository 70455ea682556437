"""Every address of the house."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from rest_framework.routers import SimpleRouter

from core.api import public
from core.api.errors import refused_outside
from core.api.problems import problem_page
from core.metrics.exposition import metrics_page
from documents.admin_upload import upload
from documents.api.views import DocumentViewSet
from fleet.api.views import DriverViewSet, TrailerViewSet, TruckViewSet
from orders.api.views import OrderViewSet
from terminals.api.views import TerminalViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("terminals", TerminalViewSet, "terminals")
router.register("drivers", DriverViewSet, "drivers")
router.register("trucks", TruckViewSet, "trucks")
router.register("trailers", TrailerViewSet, "trailers")
router.register("orders", OrderViewSet, "orders")
router.register("documents", DocumentViewSet, "documents")

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/two-factor/", include("core.admin_two_factor")),
    path("admin/", admin.site.urls),
    path("forms/orders/<uuid:order_id>/documents", upload, name="upload-form"),
    path("api/v1/", include("core.api.urls")),
    path("api/v1/", include(router.urls)),
    path("api/v1/orders/<str:id>/", include("documents.api.urls")),
    path("problems/<str:code>", problem_page, name="problem"),
    path("metrics", metrics_page, name="metrics"),
    # For load balancers that know nothing of versions.
    path("health", public.HealthView.as_view(schema=None)),
    path("health/live", public.LiveView.as_view(schema=None)),
    path("health/ready", public.ReadyView.as_view(schema=None)),
    path("health/detailed", public.HealthDetailsView.as_view(schema=None)),
]

handler400 = handler403 = handler404 = refused_outside
handler500 = refused_outside
