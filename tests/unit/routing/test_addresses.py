import pytest

from routing.addresses import is_public

#: Every way into a private network that a fetch rule has to know.
DENIED = (
    # this machine
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "0.255.255.255", "127.255.255.254",  # noqa: S104
    "::1", "::", "::ffff:127.0.0.1",
    "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fe80::1%eth0",
    # private networks
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255",
    "fc00::1", "fd12:3456:789a::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:192.168.1.1",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2002:c0a8:101::1",
    # clouds' metadata
    "169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "192.0.0.192",
    # carriers, tests, documentation, relays
    "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "2001::1", "2001:db8::1",
    "2001:2::1", "2001:10::1", "2001:20::1", "3fff::1", "2620:4f:8000::1", "100::1", "5f00::1",
    # multicast, reserved, broadcast
    "224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
ALLOWED = (
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "192.167.255.255",
    "2606:4700:4700::1111", "2a00:1450:4001:80b::200e",
)  # fmt: skip


def test_the_list_is_as_long_as_it_says():
    assert len(set(DENIED)) >= 62


@pytest.mark.parametrize("address", DENIED)
def test_what_leads_inside_is_refused(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_the_public_internet_is_not(address: str):
    assert is_public(address)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f000001", "1.1.1.1 ", "1.1.1"])
def test_what_is_no_address_is_refused(address: str):
    assert not is_public(address)
