"""The interface that leads to the other machines is found and set."""

import os
import socket
import sys

import pytest

from abaw_mm.engine.processes import network
from abaw_mm.engine.processes.network import (
    VARIABLES,
    choose_interface,
    find_interface,
    find_local_address,
    is_loopback,
)

linux = pytest.mark.skipif(sys.platform != 'linux', reason='needs Linux')


@pytest.fixture
def interfaces(monkeypatch):
    """A machine with two addresses; its route to 10.0.0.2 starts at eth1."""
    for name in VARIABLES:
        monkeypatch.setenv(name, '')  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        network, 'find_interface', {'127.0.1.1': 'lo', '192.0.2.7': 'eth0', '10.0.0.1': 'eth1'}.get
    )
    monkeypatch.setattr(network, 'find_local_address', {'10.0.0.2': '10.0.0.1'}.get)
    return monkeypatch


def get_chosen():
    return [os.environ.get(name) for name in VARIABLES]


@linux
def test_interfaces_of_this_machine():
    assert find_interface('127.0.0.1') == 'lo'
    assert find_interface('192.0.2.77') is None  # an address for documentation
    assert find_local_address('127.0.0.1') == '127.0.0.1'
    assert find_local_address('no such name.invalid') is None
    if os.path.exists('/proc/net/if_inet6') and socket.has_ipv6:
        with open('/proc/net/if_inet6') as table:
            if '00000000000000000000000000000001' in table.read():
                assert find_interface('::1') == 'lo'


def test_interface_of_the_route_is_chosen(interfaces):
    choose_interface('192.0.2.7', ['127.0.1.1', '192.0.2.7'])
    assert get_chosen() == ['eth0', 'eth0']


def test_first_machine_takes_the_route_to_another(interfaces):
    # MASTER_ADDR is its own name, which /etc/hosts of Debian sets to 127.0.1.1
    choose_interface('127.0.1.1', ['127.0.1.1', '10.0.0.2'])
    assert get_chosen() == ['eth1', 'eth1']


def test_setting_of_the_user_is_kept(interfaces):
    interfaces.setenv('GLOO_SOCKET_IFNAME', 'ib0')
    choose_interface('192.0.2.7', ['192.0.2.7', '192.0.2.8'])
    assert get_chosen() == ['ib0', 'eth0']


def test_run_on_one_machine_is_left_as_it_is(interfaces):
    choose_interface('127.0.0.1', ['127.0.0.1', '127.0.0.1'])
    assert get_chosen() == [None, None]


@pytest.mark.parametrize('own', ['192.0.2.9', '127.0.1.1'])
def test_unknown_interface_names_the_variable(interfaces, own):
    with pytest.raises(ValueError, match=f'{own}.*10.0.0.3.*set GLOO_SOCKET_IFNAME and NCCL'):
        choose_interface(own, [own, '10.0.0.3'])
    assert get_chosen() == [None, None]


def test_loopback():
    assert is_loopback('fe80::1%eth0') is False and is_loopback('127.9.9.9')
