"""Tokens, whom they are for, and where they are held."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from joserfc import jws
from joserfc.errors import JoseError

from ._network import Flow
from .errors import GrantedDiffers, WrongPerson
from .keys import ProofKey

SubjectToken = Callable[[], "str | Awaitable[str]"]


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody for whom an agent works, as the app knows them after their sign-in. One for each session."""

    subject: str
    """Exactly what their tokens say in ``sub``."""
    subject_token: SubjectToken | None = field(default=None, repr=False)
    """Gives a token of theirs that is addressed to the agent, for ``Exchange``: fresh at each call."""


@dataclass(frozen=True)
class AccessToken:
    """One person's token for one API. Prints as what it is good for."""

    value: str = field(repr=False)
    subject: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: float
    """Seconds, of ``time.time()``."""
    proof_key: ProofKey | None = field(default=None, repr=False)
    """Makes the proofs that it needs; None for a bearer token."""


@dataclass(frozen=True)
class TokenRequest:
    """The token that a call needs."""

    person: Person
    audience: str
    scopes: tuple[str, ...]


class TokenSource(Protocol):
    """Where tokens come from: ``Exchange``, ``DeviceFlow`` or ``StaticToken``. One source is one agent."""

    def get(self, request: TokenRequest) -> Flow[AccessToken]:
        """A token for exactly this person and API; never one of somebody else's."""

    def drop(self, request: TokenRequest, token: AccessToken) -> None:
        """The API did not take this one: it is not given again."""


_ahead_seconds: Final = 30


class TokenCache:
    """Access tokens in memory, each under everything that makes two tokens different ones.

    Holds at most 10,000, those asked for last. Renews one 30 seconds before it ends, or in the last fifth of
    its life where that is shorter.
    """

    def __init__(self, held_max: int = 10_000) -> None:
        self._held_max = held_max
        self._entries: OrderedDict[tuple[Any, ...], tuple[AccessToken, float]] = OrderedDict()
        self._guard = threading.Lock()

    def find(self, key: tuple[Any, ...]) -> AccessToken | None:
        """The one that is held under the key and good for a while."""
        with self._guard:
            token, until = self._entries.get(key, (None, 0.0))
            if token is None or until <= time.time():
                return None
            self._entries.move_to_end(key)
            return token

    def put(self, key: tuple[Any, ...], token: AccessToken) -> None:
        """Holds the token."""
        left = token.expires_at - time.time()
        with self._guard:
            self._entries[key] = (token, token.expires_at - min(_ahead_seconds, left / 5))
            self._entries.move_to_end(key)
            while len(self._entries) > self._held_max:
                self._entries.popitem(last=False)

    def drop(self, key: tuple[Any, ...], token: AccessToken) -> None:
        """Forgets this token, and no other that has taken its place."""
        with self._guard:
            if self._entries.get(key, (None, 0.0))[0] is token:
                del self._entries[key]


def read_token_answer(
    answer: dict[str, Any], request: TokenRequest, issuer: str, proof_key: ProofKey | None
) -> AccessToken:
    """The token of an answer (RFC 6749 §5.1), if it is what was asked for: its kind, this person, this API.

    What a token says is the API's to verify; here it is only held against what was asked for, so that no
    mix-up, of the app's or on the way, ends in one person's session with another's token. A token that does
    not say whom it is for is refused.
    """
    value, kind, seconds, scope = (
        answer.get(name) for name in ("access_token", "token_type", "expires_in", "scope")
    )
    expected = "bearer" if proof_key is None else "dpop"
    if not isinstance(value, str) or not is_token(value) or str(kind).lower() != expected:
        raise differs(f"The issuer gave no {expected} token.")
    claims = claims_of(value)
    if claims.get("iss") != issuer or claims.get("aud") != request.audience:
        raise differs("The token is not for this API.")
    if claims.get("sub") != request.person.subject:
        raise WrongPerson(message="The token that came is for somebody else.", code="wrong_person")
    lifetime = seconds if isinstance(seconds, int | float) and seconds > 0 else 60
    return AccessToken(
        value=value,
        subject=request.person.subject,
        audience=request.audience,
        scopes=tuple(scope.split()) if isinstance(scope, str) else request.scopes,
        expires_at=time.time() + lifetime,
        proof_key=proof_key,
    )


def is_token(value: str) -> bool:
    """Whether a header can hold it."""
    return re.fullmatch(r"[\x21-\x7e]+", value) is not None


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says, unverified; nothing of one that is opaque."""
    try:
        claims = json.loads(jws.extract_compact(token.encode()).payload)
    except (JoseError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def differs(message: str) -> GrantedDiffers:
    return GrantedDiffers(message=message, code="granted_differs")
