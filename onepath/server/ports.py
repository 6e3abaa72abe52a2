"""The ports that a server listens on."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from onepath.contract.errors import ServerUnavailableError


def choose_ports(host: str, wanted: Sequence[int | None]) -> list[int]:
    """Return a port for each that is wanted; None is given one that is free now.

    Args:
        host: the address to listen on.
        wanted: port numbers, or None.

    Raises:
        ServerUnavailableError: a wanted port is in use, or the host is none of this machine's addresses.
    """
    with ExitStack() as sockets:  # all are held until all are chosen, so that no two are the same
        return [_port(sockets, host, port) for port in wanted]


def connect_address(host: str, port: int) -> str:
    """Return where clients on this machine reach a server that listens on a host.

    >>> connect_address("0.0.0.0", 8001), connect_address("::", 8001), connect_address("10.0.0.7", 8001)
    ('127.0.0.1:8001', '[::1]:8001', '10.0.0.7:8001')
    """
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _port(sockets: ExitStack, host: str, wanted: int | None) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, wanted or 0))
    except (OSError, OverflowError) as error:
        raise ServerUnavailableError(
            f"cannot listen on {host} port {wanted or 'of any number'}: {error}; "
            "end what uses it, or choose another port or host",
            host=host,
            port=wanted,
        ) from error
    return int(listener.getsockname()[1])
