"""A real service, which test/client/python.test.ts started, and the people who sit at it."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import httpx2 as httpx
import pytest

from remit_client import ClientKey, Exchange, ProofKey, Remit, Session, StaticToken, TokenCache

asked: dict[str, Any] = json.loads(os.environ["REMIT_TEST"])
url: str = asked["url"]
issuer: str = asked["issuer"]
_claims = urlsafe_b64encode(b'{"sub": "anne", "aud": "https://remit.test"}').rstrip(b"=").decode()
unsigned_token = f"eyJhbGciOiJub25lIn0.{_claims}.c2lnbmF0dXJl"
clients = {"research-bot": "agent-app", "other-bot": "helper-app"}


def people(does: str, **what: object) -> Any:
    """Has a person do something in their browser: ``enter`` a code, ``decide``, ``hand`` over a token."""
    request = Request(f"{asked['people']}/{does}", json.dumps(what).encode())  # noqa: S310
    with urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


handed: dict[tuple[str, str], str] = {}


def subject_token(user: str, agent: str = "research-bot") -> str:
    if (user, agent) not in handed:
        handed[user, agent] = people("hand", user=user, agent=agent)
    return handed[user, agent]


def exchange(
    agent: str = "research-bot", *, proof_key: ProofKey | None = None, cache: TokenCache | None = None
) -> Exchange:
    client = clients[agent]
    key = ClientKey(asked["keys"][client])
    return Exchange(issuer=issuer, client_id=client, key=key, proof_key=proof_key, cache=cache)


def session(remit: Remit, user: str, agent: str = "research-bot") -> Session:
    return remit.session(user, subject_token=lambda: subject_token(user, agent))


def cut_short() -> Session:
    """Anne's, with a service whose time is over before it has found anything."""
    answer = {
        "results": [],
        "complete": False,
        "mode_used": "hybrid",
        "freshness": {"index_lag_ms": 0, "authorization_model_id": "m"},
        "scope_key": "s",
        "txn": "t_1",
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    token = StaticToken("anne", unsigned_token)
    return Remit("https://remit.test", token=token, transport=transport).session("anne")


@pytest.fixture(scope="module")
def remit() -> Iterator[Remit]:
    with Remit(url, token=exchange(proof_key=ProofKey.generate())) as one:
        yield one


@pytest.fixture
def anne(remit: Remit) -> Session:
    return session(remit, "anne")


@pytest.fixture
def bob(remit: Remit) -> Session:
    return session(remit, "bob")
