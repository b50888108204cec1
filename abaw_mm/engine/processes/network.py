"""Choose the network interface between the machines of a run."""

import array
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from abaw_mm.errors import InvalidValueError

VARIABLES = ('GLOO_SOCKET_IFNAME', 'NCCL_SOCKET_IFNAME')
SIOCGIFCONF = 0x8912  # ioctl of netdevice(7): list names and IPv4 addresses
ENTRY = 40  # bytes of a struct ifreq: 16 for the name, 4 before the address
MAX_ENTRIES = 1024


def choose_interface(own: str, others: Sequence[str]) -> None:
    """Set the interface for gloo and NCCL, unless the user has set it.

    Both libraries would use the address that the machine's name resolves to, which Debian and
    Ubuntu set to 127.0.1.1: other machines cannot connect to it. The first machine may resolve
    ``MASTER_ADDR`` to this address as well, so it takes the route to another machine. A run on one
    machine is left as it is.

    Args:
        own (str): Address of this machine on its route to ``MASTER_ADDR``.
        others (Sequence[str]): The same of all processes.

    Raises:
        InvalidValueError: If no interface has the address.
    """
    remote = [address for address in others if not is_loopback(address)]
    if is_loopback(own) and remote:
        own = find_local_address(remote[0]) or own
    if not remote or all(name in os.environ for name in VARIABLES):
        return
    interface = find_interface(own)
    if interface is None or is_loopback(own):
        raise InvalidValueError(
            f'{VARIABLES[0]}: got no interface with the address {own}, from which this machine '
            f'({socket.gethostname()}) reaches the others ({remote[-1]}); set {VARIABLES[0]} and '
            f'{VARIABLES[1]} to the network interface between the machines (`ip addr` lists them)'
        )
    for name in VARIABLES:
        os.environ.setdefault(name, interface)


def is_loopback(address: str) -> bool:
    """Return whether an IP address is of this machine only.

    >>> is_loopback('127.0.1.1'), is_loopback('::1'), is_loopback('10.0.0.1')
    (True, True, False)
    """
    return ipaddress.ip_address(address.partition('%')[0]).is_loopback


def find_local_address(peer: str) -> str | None:
    """Return this machine's address on the route to another one, None if there is no route.

    No packet is sent.

    Args:
        peer (str): Name or IP address.

    >>> find_local_address('127.0.0.1')
    '127.0.0.1'
    """
    with suppress(OSError):
        family, _, _, _, where = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    return None


def find_interface(address: str) -> str | None:
    """Return the name of the network interface that has an IP address (Linux only)."""
    address = address.partition('%')[0]
    if sys.platform != 'linux':
        return None
    if ':' in address:
        return _list_ipv6().get(address)
    return _list_ipv4().get(address)


def _list_ipv4() -> dict[str, str]:
    import fcntl  # not on Windows

    entries = array.array('B', bytes(MAX_ENTRIES * ENTRY))
    request = struct.pack('iL', len(entries), entries.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        size = struct.unpack('iL', fcntl.ioctl(probe.fileno(), SIOCGIFCONF, request))[0]
    found = {}
    for at in range(0, size, ENTRY):
        name = entries[at : at + 16].tobytes().partition(b'\0')[0].decode()
        # eth0:1 is the label of a further address of eth0
        found[socket.inet_ntoa(entries[at + 20 : at + 24].tobytes())] = name.partition(':')[0]
    return found


def _list_ipv6() -> dict[str, str]:
    try:
        rows = [line.split() for line in Path('/proc/net/if_inet6').read_text().splitlines()]
    except OSError:  # IPv6 is switched off
        return {}
    return {str(ipaddress.IPv6Address(bytes.fromhex(row[0]))): row[5] for row in rows}
