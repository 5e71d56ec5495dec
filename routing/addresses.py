"""Which network addresses a fetch on a caller's behalf may go to: public ones, and nothing else.

Denied by default. What the standard library calls global still holds addresses that lead inside
(NAT64, 6to4, translated and reserved ranges), so IPv6 is allowed by range and IPv4 minus a list.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_DENIED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' shared space; also a cloud's metadata service
        "168.63.129.16/32",  # Azure's host
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/3",  # multicast and reserved
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Whether an address, as a resolver returned it, is on the public internet.

    An address that cannot be read, or that has a zone, is not.
    """
    if "%" in address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return _public_v4(parsed) if isinstance(parsed, IPv4Address) else _public_v6(parsed)


def _public_v4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _DENIED_V4)


def _public_v6(address: IPv6Address) -> bool:
    return address in _UNICAST_V6 and not any(address in network for network in _DENIED_V6)
