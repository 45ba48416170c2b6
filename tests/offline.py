"""A guard: inside, every look-up of a host name and every connection raises."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


class NetworkUsedError(AssertionError):
    """Something tried to leave this machine."""


def refuse(*target: object, **options: object) -> None:
    """Stand in for anything that would use the network."""
    raise NetworkUsedError(f"tried to reach {target[1:] or target}")


@contextmanager
def offline() -> Iterator[None]:
    """Forbid the network inside a with-block."""
    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket.socket, "connect_ex", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
        mock.patch.object(socket, "create_connection", refuse),
    ):
        yield
