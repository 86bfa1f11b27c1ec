"""What the client does with answers that no service of ours gives, or only on a bad day."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, get_args

import httpx2 as httpx
import pytest
from conftest import exchange, issuer, session, url
from conftest import unsigned_token as jwt

import remit_client
from remit_client import (
    ApprovalDenied,
    ApprovalExpired,
    ConnectionRequired,
    DeviceFlow,
    GrantedDiffers,
    NoPerson,
    NotFound,
    ProofKey,
    RateLimited,
    Remit,
    RemitError,
    Session,
    SignInRequired,
    StaticToken,
    Unavailable,
    WrongPerson,
    conversation,
    current_session,
)
from remit_client._network import Pause
from remit_client._tokens import AccessToken, Person, TokenRequest, claims_of, read_token_answer
from remit_client.errors import error_from_answer, scrubbed
from remit_client.models import Problem

good = {"collections": [], "complete": True, "txn": "t_1"}


def told(*answers: httpx.Response | Exception) -> tuple[Session, list[httpx.Request]]:
    """A session with a service that says this, one after the other."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = answers[len(seen) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx.MockTransport(handle)
    source = StaticToken("anne", jwt)
    return Remit("https://remit.test", token=source, transport=transport).session("anne"), seen


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    anne, seen = told(httpx.Response(status, headers={"location": "https://elsewhere.test/"}))
    with pytest.raises(RemitError) as raised:
        anne.collections()
    assert (raised.value.status, len(seen)) == (status, 1)


def test_no_cookie_of_one_answer_goes_with_the_next_request() -> None:
    cookie = {"set-cookie": "sid=anne; Path=/"}
    anne, seen = told(httpx.Response(200, json=good, headers=cookie), httpx.Response(200, json=good))
    anne.collections()
    anne.collections()
    assert [request.headers.get("cookie") for request in seen] == [None, None]


def test_it_comes_back_where_the_service_says_when_but_not_with_an_approval() -> None:
    busy = httpx.Response(503, headers={"retry-after": "0"}, json={"code": "search_unavailable"})
    anne, seen = told(busy, busy, httpx.Response(200, json=good))
    assert anne.collections().txn == "t_1"
    anne, seen = told(busy, busy, busy)
    with pytest.raises(Unavailable):
        anne.collections()
    assert len(seen) == 3
    anne, seen = told(busy)
    with pytest.raises(Unavailable):
        anne.retrieve(query="x", approval="g_1")
    anne, seen = told(httpx.Response(429, headers={"retry-after": "600"}))
    with pytest.raises(RateLimited) as limited:
        anne.collections()
    assert limited.value.retry_after == 600


class Bound(StaticToken):
    """Its token is bound to a key."""

    key = ProofKey.generate()

    def get(self, request: TokenRequest) -> Any:
        token = yield from super().get(request)
        return replace(token, proof_key=self.key)


class Mixed(StaticToken):
    """Of somebody else, once its first was not taken."""

    was_dropped = False

    def get(self, request: TokenRequest) -> Any:
        token = yield from super().get(request)
        return replace(token, subject="bob", value=f"{token.value}2") if self.was_dropped else token

    def drop(self, request: TokenRequest, token: AccessToken) -> None:
        self.was_dropped = True


def test_another_persons_token_is_not_used_where_the_first_was_not_taken() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(401)

    remit = Remit("https://remit.test", token=Mixed("anne", jwt), transport=httpx.MockTransport(handle))
    with pytest.raises(WrongPerson):
        remit.session("anne").collections()
    assert len(seen) == 1


def test_each_request_proves_the_key_anew_and_takes_up_the_nonce_that_is_asked_for() -> None:
    challenge = {"dpop-nonce": "n1", "www-authenticate": 'DPoP error="use_dpop_nonce"'}
    answers = [httpx.Response(401, headers=challenge), httpx.Response(200, json=good)]
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answers[len(seen) - 1]

    remit = Remit("https://remit.test", token=Bound("anne", jwt), transport=httpx.MockTransport(handle))
    remit.session("anne").collections()
    assert [request.headers["authorization"] for request in seen] == [f"DPoP {jwt}"] * 2
    first, second = (claims_of(request.headers["dpop"]) for request in seen)
    assert (second["htm"], second["htu"]) == ("GET", "https://remit.test/collections")
    assert second["ath"] == urlsafe_b64encode(sha256(jwt.encode()).digest()).rstrip(b"=").decode()
    assert (first.get("nonce"), second["nonce"]) == (None, "n1")
    assert first["jti"] != second["jti"]


def chain_of(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


@pytest.mark.parametrize("fault", [httpx.ConnectError(f"with {jwt}"), httpx.ReadTimeout(jwt)])
def test_no_error_and_nothing_behind_it_holds_the_token(fault: Exception) -> None:
    anne, _ = told(fault)
    with pytest.raises(Unavailable) as raised:
        anne.collections()
    assert list(chain_of(raised.value)) == [raised.value]
    echo = httpx.Response(400, json={"code": "malformed_body", "detail": f"Authorization: Bearer {jwt}"})
    anne, _ = told(echo)
    with pytest.raises(RemitError) as said:
        anne.collections()
    assert jwt not in str(said.value)
    assert "[removed]" in str(said.value)
    assert scrubbed("DPoP abcdefghij access_token=abc") == "DPoP [removed] access_token=[removed]"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"collections": 1}', b"\xff"])
def test_an_answer_that_cannot_be_read_is_an_error_that_does_not_quote_it(body: bytes) -> None:
    anne, _ = told(httpx.Response(200, content=body))
    with pytest.raises(RemitError) as raised:
        anne.collections()
    assert raised.value.code == "bad_answer"
    assert list(chain_of(raised.value)) == [raised.value]


def test_an_answer_without_end_is_cut_off() -> None:
    given: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            given.append(1)
            yield b" " * (1 << 20)

    anne, _ = told(httpx.Response(200, content=endless()))
    with pytest.raises(Unavailable, match="too large"):
        anne.collections()
    # 32 MiB, and the part that was too much.
    assert len(given) == 33


class Silent(httpx.AsyncBaseTransport):
    """Answers after a while, and keeps to no time limit."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return httpx.Response(200, json=good)


async def test_a_call_ends_in_time() -> None:
    busy = httpx.Response(503, headers={"retry-after": "3"}, json={"code": "search_unavailable"})
    anne, _ = told(busy, busy)
    began = time.monotonic()
    for seconds in (0.2, 2.9):
        with pytest.raises(Unavailable) as raised:
            anne.collections(timeout=seconds)
        # What the service said, not that the time is over.
        assert (raised.value.code, raised.value.retry_after) == ("search_unavailable", 3)
    remit = Remit("https://remit.test", token=StaticToken("anne", jwt), transport=Silent())
    with pytest.raises(Unavailable, match=r"remit\.test gave no answer in time"):
        await remit.session("anne").acollections(timeout=0.2)
    assert time.monotonic() - began < 1


def test_no_answer_says_whose_and_why() -> None:
    anne, _ = told(httpx.ConnectError(f"with {jwt}"))
    with pytest.raises(Unavailable) as raised:
        anne.collections()
    assert str(raised.value) == "remit.test gave no answer (ConnectError)."


def question(state: str, seconds: float = 60, **more: object) -> httpx.Response:
    expires_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return httpx.Response(200, json={"id": "ap_1", "state": state, "expires_at": expires_at, **more})


dropped = httpx.ReadError("")
too_many = httpx.Response(429, json={"code": "rate_limited"})
approved = question("approved", grant_id="g_1")
more_there = {
    "results": [],
    "complete": False,
    "mode_used": "keyword",
    "freshness": {"index_lag_ms": 0, "authorization_model_id": "m"},
    "scope_key": "s",
    "txn": "t_1",
    "approval": {"offer_id": "o_1"},
}


def test_waiting_for_a_person_outlives_a_broken_connection_and_a_limit_but_not_the_question() -> None:
    anne, seen = told(question("pending"), dropped, too_many, approved)
    assert anne.approvals.wait_for("ap_1").grant_id == "g_1"
    # The first look asks how long the question is open, and so does not wait.
    assert [request.headers.get("prefer") for request in seen] == [None] + ["wait=30"] * 3
    for trouble, kind in ((dropped, Unavailable), (too_many, RateLimited)):
        anne, seen = told(question("pending", 1.5), trouble, trouble, trouble)
        with pytest.raises(kind):
            anne.approvals.wait_for("ap_1")
        assert len(seen) < 4


def test_a_limit_while_waiting_is_no_no_and_a_grant_that_was_given_is_not_lost() -> None:
    offer = httpx.Response(200, json=more_there)
    asked = question("pending", interval=1)
    anne, seen = told(offer, asked, too_many, approved, dropped)
    with pytest.raises(Unavailable) as raised:
        anne.retrieve_asking({"query": "x"}, purpose="Why")
    assert raised.value.grant_id == "g_1"
    assert len(seen) == 5
    # Too many questions asked: as it was.
    anne, _ = told(offer, too_many)
    assert anne.retrieve_asking({"query": "x"}, purpose="Why").approval is not None


def test_a_word_of_a_newer_service_is_let_through_and_is_no_yes() -> None:
    anne, _ = told(
        httpx.Response(200, json={**more_there, "mode_used": "graph", "more": 1}), question("put_off")
    )
    assert anne.retrieve(query="x").mode_used == "graph"
    assert anne.approvals.get("ap_1").state == "put_off"
    anne, _ = told(question("put_off"), approved)
    assert anne.approvals.wait_for("ap_1").grant_id == "g_1"
    anne, seen = told(*[question("put_off", 0.5, grant_id="g_1")] * 2)
    with pytest.raises(ApprovalExpired):
        anne.approvals.wait_for("ap_1")
    assert len(seen) == 2


def test_a_code_of_a_newer_service_is_read_by_its_status() -> None:
    for status, kind in ((404, NotFound), (429, RateLimited), (503, Unavailable), (409, RemitError)):
        error = error_from_answer(status, {}, {"code": "new_code"})
        assert (type(error), error.status) == (kind, status)


def test_only_a_secret_of_eight_characters_or_more_is_cut_out_of_words() -> None:
    said = {"code": "invalid_token", "detail": "The token is invalid or expired: secret78"}
    assert str(error_from_answer(401, {}, said, ("x", "secret7", "secret78"))) == (
        "The token is invalid or expired: [removed]"
    )


def test_what_looks_like_a_credential_is_in_no_word_of_an_error() -> None:
    said = {"code": f"x_{jwt}", "title": "access_token=abc", "txn": f"t_{jwt}", "field": "Bearer abcdefghij"}
    error = error_from_answer(403, {"www-authenticate": f'DPoP scope="{jwt}"'}, said)
    words = (error.code, str(error), error.txn, error.field)
    assert words == ("x_[removed]", "access_token=[removed]", "t_[removed]", "Bearer [removed]")


def test_what_is_for_a_person_alone_is_not_printed_with_an_error() -> None:
    facts: dict[str, Any] = {"message": "So.", "code": "x", "grant_id": "g_secret"}
    link = "https://remit.test/secret"
    errors = [
        ApprovalDenied(**facts, reason="secret"),
        SignInRequired(
            **facts,
            verification_uri=link,
            user_code="secret",
            verification_uri_complete=f"{link}?user_code=secret",
        ),
        ConnectionRequired(**facts, connect_url=link),
    ]
    assert [repr(error) for error in errors if "secret" in repr(error)] == []


def test_a_static_token_that_says_somebody_else_or_another_api_is_not_sent() -> None:
    for claims, kind in (
        ({"sub": "bob"}, WrongPerson),
        ({"aud": "https://elsewhere.test"}, GrantedDiffers),
        ({"aud": ["https://elsewhere.test"]}, GrantedDiffers),
    ):
        value = token(**{"aud": "https://remit.test", **claims})["access_token"]
        with pytest.raises(kind):
            told_as(StaticToken("anne", value)).collections()
    for value, audience in (
        (token(aud=["https://remit.test", "account"])["access_token"], None),
        (token(aud="remit")["access_token"], "remit"),
        ("opaque", None),
    ):
        assert told_as(StaticToken("anne", value, audience=audience)).collections().txn == "t_1"


def told_as(source: StaticToken) -> Session:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=good))
    return Remit("https://remit.test", token=source, transport=transport).session("anne")


class SlowOnce(StaticToken):
    """As a person who has to sign in first."""

    pause = 0.3

    def get(self, request: TokenRequest) -> Any:
        yield Pause(self.pause)
        self.pause = 0
        return (yield from super().get(request))


def test_a_person_who_signs_in_first_may_take_longer_than_a_call() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=good))
    remit = Remit("https://remit.test", token=SlowOnce("anne", jwt), transport=transport)
    assert remit.session("anne").collections(timeout=0.25).txn == "t_1"


def test_a_session_is_not_stored_and_prints_nothing_but_its_person() -> None:
    anne, _ = told()
    for held in (anne, anne.approvals):
        for store in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                store(held)
    assert repr(anne) == "<Session for anne>"
    with pytest.raises(TypeError):
        Session(anne._remit, Person("bob"))


def test_what_an_error_says_beside_its_message_holds_no_token_and_no_unsafe_link() -> None:
    said = {
        "code": f"x {jwt}",
        "title": f"of {jwt}",
        "txn": f"t_{jwt}",
        "field": f"a.{jwt}",
        "authorization_details": [{"type": "a", "of": [jwt, "opaque-token"]}],
    }
    challenge = {"www-authenticate": f'Bearer scope="docs.read {jwt}"'}
    for code in (said["code"], "approval_required", "insufficient_scope"):
        error = error_from_answer(403, challenge, {**said, "code": code}, ("opaque-token", jwt))
        held = repr([getattr(error, one.name) for one in fields(error)])
        assert "[removed]" in held
        assert "opaque-token" not in held and jwt not in held
    for link in ("javascript:alert(1)", "http://remit.test/connect", "https://a:b@remit.test/"):
        error = error_from_answer(403, {}, {"code": "connection_required", "connect_url": link})
        assert (type(error), error.code) == (RemitError, "connection_required")


def test_an_error_goes_to_another_process_whole() -> None:
    denied = ApprovalDenied(message="No.", code="approval_denied", approval="ap_1", reason="Not today")
    again = pickle.loads(pickle.dumps(denied))  # noqa: S301
    assert (type(again), again.reason, str(again)) == (ApprovalDenied, "Not today", "No.")


def test_every_code_of_the_service_becomes_an_error() -> None:
    known, _ = get_args(Problem.model_fields["code"].annotation)
    codes = get_args(known)
    assert len(codes) > 20
    for code in codes:
        error = error_from_answer(400, {}, {"code": code, "title": "So.", "connect_url": "https://x.test"})
        assert (error.code, str(error)) == (code, "So.")


def token(**claims: object) -> dict[str, Any]:
    import json

    said = {"iss": issuer, "aud": url, "sub": "anne", **claims}
    parts = [{"alg": "none"}, said]
    head, body = (urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts)
    return {"access_token": f"{head}.{body}.c2ln", "token_type": "Bearer", "expires_in": 60}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (token(sub="bob"), WrongPerson),
        (token(aud="https://elsewhere.test"), GrantedDiffers),
        (token(aud=[url, "https://elsewhere.test"]), GrantedDiffers),
        (token(iss="https://elsewhere.test"), GrantedDiffers),
        ({**token(), "token_type": "DPoP"}, GrantedDiffers),
        ({**token(), "access_token": "opaque"}, GrantedDiffers),
        ({}, GrantedDiffers),
    ],
)
def test_a_token_that_is_not_what_was_asked_for_is_not_used(
    answer: dict[str, Any], kind: type[RemitError]
) -> None:
    request = TokenRequest(Person("anne"), url, ("docs.search",))
    assert read_token_answer(token(), request, issuer, None).subject == "anne"
    with pytest.raises(kind):
        read_token_answer(answer, request, issuer, None)


def test_plain_http_is_for_this_machine_alone() -> None:
    source = StaticToken("anne", jwt)
    for address in ("http://remit.test", "ftp://127.0.0.1", "https://", "remit", "https://anne:x@remit.test"):
        with pytest.raises(ValueError):
            Remit(address, token=source)
        with pytest.raises(ValueError):
            DeviceFlow(issuer=address, client_id="x")


def test_nobody_is_nobody() -> None:
    with pytest.raises(NoPerson):
        current_session()
    with pytest.raises(NoPerson), conversation(None):  # type: ignore[arg-type]
        pass
    anne, seen = told()
    with pytest.raises(WrongPerson):
        anne._remit.session("bob").collections()
    with pytest.raises(ValueError):
        anne._remit.session("")
    assert seen == []


def test_a_token_is_exchanged_once_however_many_wait_in_threads_and_in_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source = exchange()
    sent: list[str] = []
    post = source._post

    def counted(endpoint: str, form: dict[str, str]) -> Any:
        sent.append(endpoint)
        return post(endpoint, form)

    monkeypatch.setattr(source, "_post", counted)
    with Remit(url, token=source) as remit:
        bob = session(remit, "bob")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: bob.collections(), range(16)))
        assert len(sent) == 1
        source._cache._entries.clear()

        async def together() -> None:
            await asyncio.gather(*(bob.acollections() for _ in range(16)))

        # One loop after the other: connections of the first are of no use to the second.
        for _ in range(2):
            asyncio.run(together())
        assert len(sent) == 2


def test_all_that_is_public_is_there() -> None:
    for name in remit_client.__all__:
        assert getattr(remit_client, name) is not None
