"""Certificates for tests, made anew in each run by the system's openssl."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import run_tool

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in two files (PEM)."""

    cert: Path
    key: Path


def self_signed(folder: Path, name: str, *options: str) -> Identity:
    """Make a certificate that vouches for itself: an authority, or a stranger."""
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    key_options = options or ("-nodes",)
    run_tool(
        "openssl", "req", "-x509", *_EC, *key_options, "-days", "2", "-subj", f"/CN={name}",
        "-keyout", str(identity.key), "-out", str(identity.cert),
    )  # fmt: skip
    return identity


def signed_by(authority: Identity, folder: Path, name: str) -> Identity:
    """Make a certificate that an authority vouches for."""
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    request = folder / f"{name}.csr"
    run_tool(
        "openssl", "req", *_EC, "-nodes", "-subj", f"/CN={name}", "-keyout", str(identity.key), "-out", str(request)
    )
    run_tool(
        "openssl", "x509", "-req", "-in", str(request), "-CA", str(authority.cert), "-CAkey", str(authority.key),
        "-CAcreateserial", "-days", "2", "-out", str(identity.cert),
    )  # fmt: skip
    return identity


def client_context(identity: Identity | None = None) -> ssl.SSLContext:
    """What a HEP agent uses: it does not ask who the capture node is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context
