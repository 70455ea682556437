"""The public part of `/api/v1/`."""

from django.urls import path

from core.api import public

urlpatterns = [
    path("health", public.HealthView.as_view(), name="health"),
    path("health/live", public.LiveView.as_view(), name="health-live"),
    path("health/ready", public.ReadyView.as_view(), name="health-ready"),
    path("health/detailed", public.HealthDetailsView.as_view(), name="health-detailed"),
    path("auth/token", public.ObtainView.as_view(), name="token"),
    path("auth/token/refresh", public.RefreshView.as_view(), name="token-refresh"),
    path("auth/logout", public.LogoutView.as_view(), name="logout"),
    path("auth/me", public.MeView.as_view(), name="me"),
    path("schema", public.DescriptionView.as_view(), name="schema"),
    path("docs", public.DocsView.as_view(), name="docs"),
]
