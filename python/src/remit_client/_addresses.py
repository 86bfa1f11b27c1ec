"""Which addresses a credential, or a person, may be sent to."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_safe(address: object) -> bool:
    """Whether it is https, or http on loopback."""
    if not isinstance(address, str):
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # Userinfo is no part of an origin, and would be sent as another credential.
    if parts.username is not None:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
