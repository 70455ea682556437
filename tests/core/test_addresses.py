"""Who is believed about where a request comes from."""

from ipaddress import ip_network

import pytest
from django.test import RequestFactory

from core.addresses import client_address, client_network


def address(remote: str = "10.0.0.1", forwarded: str | None = None) -> str:
    extra = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=remote, **extra))


class TestTheAddress:
    def test_is_the_peers_whatever_it_says_of_itself(self):
        assert address("192.0.2.1", "198.51.100.7") == "192.0.2.1"

    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            ("198.51.100.7", "198.51.100.7"),
            ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("1.1.1.1, nonsense", "10.0.0.1"),
            ("1.1.1.1,", "10.0.0.1"),
            ("", "10.0.0.1"),
            (None, "10.0.0.1"),
        ],
    )
    def test_is_what_a_trusted_proxy_wrote_last(self, settings, forwarded, expected):
        settings.TRUST_PROXY = True
        assert address(forwarded=forwarded) == expected

    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            ("1.1.1.1, 198.51.100.7, 172.16.0.9", "198.51.100.7"),
            ("172.16.0.8, 172.16.0.9", "172.16.0.8"),
        ],
    )
    def test_is_the_last_that_is_no_proxy_of_ours(self, settings, forwarded, expected):
        settings.TRUST_PROXY, settings.TRUSTED_PROXIES = True, [ip_network("172.16.0.0/12")]
        assert address(forwarded=forwarded) == expected

    def test_is_empty_where_there_is_none(self):
        assert address("") == ""


class TestTheNetwork:
    @pytest.mark.parametrize(
        ("remote", "expected"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("", ""),
        ],
    )
    def test_is_the_address_or_all_that_one_caller_has(self, remote, expected):
        assert client_network(RequestFactory().get("/", REMOTE_ADDR=remote)) == expected
