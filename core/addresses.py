"""Where a request comes from, for limits, logs and history: asked here and nowhere else."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address
_IPV6_HOUSEHOLD = 64  # whoever has one such address usually has all of its network


def client_address(request: HttpRequest) -> str:
    """The caller's address in its normal form; empty where there is none (a Unix socket, a test).

    `X-Forwarded-For` is believed with TRUST_PROXY only, and then from its right end, where our own
    proxies write: the last hop that is not one of TRUSTED_PROXIES. What stands left of it may be
    the caller's invention.
    """
    found = _parsed(request.META.get("REMOTE_ADDR", ""))
    if settings.TRUST_PROXY:
        for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            address = _parsed(hop)
            if address is None:
                break
            found = address
            if not _is_ours(address):
                break
    return str(found or "")


def client_network(request: HttpRequest) -> str:
    """What limits count by: the address, of IPv6 its /64."""
    address = client_address(request)
    if ":" not in address:
        return address
    return str(ip_network((address, _IPV6_HOUSEHOLD), strict=False))


def _parsed(text: str) -> Address | None:
    """`192.0.2.1`, `2001:db8::1`, also with a port and in brackets; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_ours(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)
