"""SIP over TLS on loopback, captured with tcpdump, with its key log: what a proxy with debugging switched on gives."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import need
from tests.support.tls import Identity, client_context

SERVER_PORT_HINT = 5061
_WAIT_S = 20


@dataclass(frozen=True)
class TlsCapture:
    """A capture, the keys that open it, and the two ports."""

    path: Path
    keylog: Path
    client_port: int
    server_port: int


def capture_tls(folder: Path, identity: Identity, records: Sequence[bytes]) -> TlsCapture:
    """Send each of *records* as one TLS record from a client to a server, and capture that; needs root.

    Args:
        folder: where the files go.
        identity: the server's certificate.
        records: SIP messages, or several of them, or parts.
    """
    path, keylog = folder / "tls.pcap", folder / "keys.log"
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.cert, identity.key)
    client = client_context()
    client.keylog_filename = str(keylog)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        dump = _tcpdump(path, port)
        try:
            serving = threading.Thread(target=_serve, args=(listening, server))
            serving.start()
            with client.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection:
                client_port = connection.getsockname()[1]
                for record in records:
                    connection.sendall(record)
                    time.sleep(0.02)  # else some of them share a segment
            serving.join(_WAIT_S)
            time.sleep(0.3)  # tcpdump reads what is still on its way
        finally:
            dump.terminate()
            dump.communicate(timeout=_WAIT_S)
    return TlsCapture(path, keylog, client_port, port)


def _tcpdump(path: Path, port: int) -> subprocess.Popen[bytes]:
    dump = subprocess.Popen(
        [need("tcpdump"), "-i", "lo", "-U", "--immediate-mode", "-w", str(path), f"tcp port {port}"],
        stderr=subprocess.PIPE,
    )
    assert dump.stderr is not None
    until_s = time.monotonic() + _WAIT_S
    while b"listening on" not in dump.stderr.readline():
        assert time.monotonic() < until_s
    return dump


def _serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with context.wrap_socket(connection, server_side=True) as secure:
        while secure.recv(65_536):
            pass
