"""What the client raises: one class for each thing that a caller can do about it.

``code`` is one of the service's (``docs/errors``), an OAuth error, or one of the client's own. No error
holds a token, nor the cause that might; what looks like one in a message is taken out.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from typing import Any

from ._addresses import is_safe

Detail = Mapping[str, Any]
"""One of a token's, or a request's, ``authorization_details`` (RFC 9396): has a ``type``."""


@dataclass(eq=False, kw_only=True)
class RemitError(Exception):
    """What every error of the client may say."""

    message: str
    code: str
    status: int | None = None
    """HTTP status that it came with; None where nothing was answered."""
    txn: str | None = None
    """Thread of the action through every record of the service."""
    field: str | None = None
    """Member of the request that is wrong, as a dotted path."""
    retry_after: int | None = None
    """Seconds after which asking again makes sense."""
    grant_id: str | None = dataclasses.field(default=None, repr=False)
    """What a person agreed to before this went wrong: name it as ``approval`` to ask again."""

    def __str__(self) -> str:
        return self.message

    # An exception is copied by its arguments, of which these have none.
    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (type(self), {one.name: getattr(self, one.name) for one in fields(self)}))


def _again(kind: type[RemitError], facts: dict[str, Any]) -> RemitError:
    return kind(**facts)


class NotFound(RemitError):
    """Not there, or not for this person and agent: the service makes no difference."""


class ActorUnauthorized(RemitError):
    """This agent may not act here for this person; the person has to lend to it."""


class RateLimited(RemitError):
    """Asked too often; ``retry_after`` says when to come again."""


class Unavailable(RemitError):
    """No answer, or none now. Nothing was given out."""


class NoPerson(RemitError):
    """There is nobody for whom this could be done: no session was given, and no conversation is open."""


class WrongPerson(RemitError):
    """A token, or a conversation, is somebody else's than the person of this session. It was not used."""


class GrantedDiffers(RemitError):
    """The token that came is for something else than what was asked for. It was not used."""


@dataclass(eq=False, kw_only=True)
class InsufficientScope(RemitError):
    """The token lacks a scope."""

    scopes: tuple[str, ...] = ()
    """All that the request needs, not only what was missing."""


@dataclass(eq=False, kw_only=True)
class ApprovalRequired(RemitError):
    """A person has to agree first."""

    authorization_details: tuple[Detail, ...] = ()
    """What to ask them for."""


@dataclass(eq=False, kw_only=True)
class ApprovalDenied(RemitError):
    """The person said no. Never a result: asking again is for the person to begin."""

    approval: str | None = None
    reason: str | None = dataclasses.field(default=None, repr=False)
    """The person's words, if any. Not part of the message, which a model may read."""


@dataclass(eq=False, kw_only=True)
class ApprovalExpired(RemitError):
    """Nobody answered in time."""

    approval: str | None = None


@dataclass(eq=False, kw_only=True)
class SignInRequired(RemitError):
    """The person has to sign in, in any browser: show them the address and the code."""

    # None of it is printed with the error: whoever reads a log could sign in in the person's place.
    verification_uri: str = dataclasses.field(repr=False)
    user_code: str = dataclasses.field(repr=False)
    verification_uri_complete: str | None = dataclasses.field(default=None, repr=False)
    expires_in: float = 600.0
    """Seconds that the code was good for when it came."""


@dataclass(eq=False, kw_only=True)
class ConnectionRequired(RemitError):
    """The person has to link their account at a third party, or link it again: show them the address."""

    connect_url: str = dataclasses.field(repr=False)


# A shorter one would be cut out of ordinary words, and protects nothing.
_SECRET_MIN = 8

_unavailable = {
    "unavailable",
    "authorization_unavailable",
    "search_unavailable",
    "overloaded",
    "storage_unavailable",
    "provider_unavailable",
    "temporarily_unavailable",
    "deadline_exceeded",
}


def error_from_answer(
    status: int, headers: Mapping[str, str], body: object, secrets: Iterable[str] = ()
) -> RemitError:
    """What an answer that is no success says: a problem of the service (RFC 9457), or OAuth's error.

    Anything else, a proxy's page say, is told by its status alone. ``secrets`` are what the request carried:
    never said again, whatever the answer holds; one of less than 8 characters is no secret.
    """
    held = [secret for secret in secrets if len(secret) >= _SECRET_MIN]
    said = _without(held, body) if isinstance(body, dict) else {}
    # OAuth has no word for it, and would say that it is unavailable.
    code = "rate_limited" if status == 429 else _word(said, "code") or _word(said, "error")
    text = _word(said, "detail") or _word(said, "title") or _word(said, "error_description")
    facts: dict[str, Any] = {
        "message": text or f"The answer was {status}.",
        "code": code or _code_of(status),
        "status": status,
        "txn": _word(said, "txn"),
        "field": _word(said, "field"),
        "retry_after": retry_after(headers),
    }
    return _made(facts, said, _without(held, headers.get("www-authenticate", "")))


def _made(facts: dict[str, Any], said: dict[str, Any], challenge: str) -> RemitError:
    match facts["code"]:
        case "approval_required":
            details = said.get("authorization_details")
            listed = details if isinstance(details, list) else []
            return ApprovalRequired(
                **facts, authorization_details=tuple(one for one in listed if isinstance(one, dict))
            )
        case "connection_required" | "reconnect_required" if is_safe(url := _word(said, "connect_url")):
            return ConnectionRequired(**facts, connect_url=str(url))
        case "insufficient_scope":
            scopes = re.search(r'[ ,]scope="([^"]*)"', challenge)
            return InsufficientScope(**facts, scopes=tuple(scrubbed(scopes[1]).split()) if scopes else ())
        case "actor_unauthorized":
            return ActorUnauthorized(**facts)
        case "not_found":
            return NotFound(**facts)
        case "rate_limited":
            return RateLimited(**facts)
        case code if code in _unavailable:
            return Unavailable(**facts)
        # A code of a newer service: the two statuses that say all that a caller can do.
        case _ if facts["status"] == 404:
            return NotFound(**facts)
        case _ if facts["status"] == 503:
            return Unavailable(**facts)
        case _:
            return RemitError(**facts)


def _word(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return scrubbed(value) if isinstance(value, str) and 0 < len(value) <= 1_024 else None


def _without(secrets: Iterable[str], value: Any) -> Any:
    """The same value, where none of these stands anywhere in it."""
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, "[removed]")
            return value
        case list():
            return [_without(secrets, one) for one in value]
        case dict():
            return {name: _without(secrets, one) for name, one in value.items()}
    return value


def _code_of(status: int) -> str:
    if status == 404:
        return "not_found"
    return "unavailable" if status >= 500 else f"http_{status}"


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds, rounded up (RFC 9110 §10.2.3). None: the answer does not say."""
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}", value):
        return int(value)
    try:
        return max(0, math.ceil(parsedate_to_datetime(value).timestamp() - time.time()))
    except ValueError:
        return None


_credentials = (
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*"), "[removed]"),
    (re.compile(r"\b(bearer|dpop|basic)\s+[\w.~+/=-]{8,}", re.I), r"\1 [removed]"),
    (
        re.compile(
            r"\b((?:access|refresh|subject|actor|id)_token|client_assertion|client_secret|device_code)=[^&\s]+",
            re.I,
        ),
        r"\1=[removed]",
    ),
)


def scrubbed(text: str) -> str:
    """Takes out of a text what looks like a credential.

    A last net: no message is made of such in the first place.
    """
    for pattern, instead in _credentials:
        text = pattern.sub(instead, text)
    return text
