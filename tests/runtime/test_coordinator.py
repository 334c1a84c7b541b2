"""The port of --coordinator: a mistake is one sentence, on kernels without IPv6, too."""

import errno
import socket

import pytest

from blurjax.runtime import UserError, processes


@pytest.fixture(autouse=True)
def no_jax(monkeypatch):
    """Lets no wrong port reach jax, which would end this process."""

    def refuse(*arguments, **options):
        raise AssertionError("reached jax")

    monkeypatch.setattr(processes.jax.distributed, "initialize", refuse)


@pytest.mark.parametrize("port", ["65536", "0", "x", "\N{SUPERSCRIPT TWO}", ""])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(UserError, match="not HOST:PORT with a port from 1 to 65535"):
        processes.connect(f"127.0.0.1:{port}", 2, 0)


def test_a_port_in_use_is_named_without_ipv6(monkeypatch):
    class Socket(socket.socket):
        def __init__(self, family=-1, *arguments, **options):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", Socket)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} .* cannot be listened on"):
            processes.connect(f"127.0.0.1:{port}", 2, 0)
