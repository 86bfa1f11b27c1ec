"""Tokens when several people, threads and loops want them at once, and an issuer that has a bad day."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from traceback import TracebackException, walk_tb
from urllib.parse import parse_qsl

import httpx2 as httpx
import pytest
from joserfc.jwk import ECKey

from remit_client import (
    ClientKey,
    DeviceFlow,
    Exchange,
    GrantedDiffers,
    NoPerson,
    ProofKey,
    Remit,
    RemitError,
    Session,
    SignInRequired,
    StaticToken,
    Unavailable,
    WrongPerson,
)
from remit_client._tokens import claims_of

url = "https://remit.test"
issuer = f"{url}/oauth"
good = {"collections": [], "complete": True, "txn": "t_1"}


def signed(**claims: object) -> str:
    parts = ({"alg": "none"}, claims)
    head, body = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.c2ln"


def handed_over(person: str) -> str:
    return signed(sub=person, aud=f"{url}/agents/desk")


class Issuer(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An issuer, and the service beside it. Rotates refresh tokens; ``seconds`` is how long it takes."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.nonces: dict[str, str] = {}
        """Asked for at these paths."""
        self.before: Callable[[httpx.Request], None] = lambda request: None
        self.refuses: dict[str, str] = {}
        """OAuth errors, by grant."""
        self.sent: list[dict[str, str]] = []
        self.heard: list[str | None] = []
        """Whose questions the service answered."""
        self.refresh_token = ""
        self.spoils = ""
        """Stands behind each token."""
        self.made = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.before(request)
        answer = self.answer(request)
        time.sleep(self.wait(request))
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.before(request)
        answer = self.answer(request)
        await asyncio.sleep(self.wait(request))
        return answer

    def wait(self, request: httpx.Request) -> float:
        return self.seconds if request.url.path == "/oauth/token" else 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/.well-known"):
            described = {
                "token_endpoint": f"{issuer}/token",
                "device_authorization_endpoint": f"{issuer}/device",
            }
            return httpx.Response(200, json={"issuer": issuer, **described})
        nonce = self.nonces.get(path)
        if nonce is not None and claims_of(request.headers["dpop"]).get("nonce") != nonce:
            asks = {"dpop-nonce": nonce, "www-authenticate": 'DPoP error="use_dpop_nonce"'}
            status = 400 if path == "/oauth/token" else 401
            return httpx.Response(status, json={"error": "use_dpop_nonce"}, headers=asks)
        if path == "/oauth/device":
            uri = f"{issuer}/device"
            said = {"device_code": "dc", "user_code": "ABCD", "verification_uri": uri, "interval": 0.01}
            return httpx.Response(200, json=said)
        if path == "/oauth/token":
            return self.token(dict(parse_qsl(request.content.decode())))
        value = request.headers["authorization"].split()[1]
        self.heard.append(claims_of(value).get("sub"))
        return httpx.Response(200, json=good)

    def token(self, form: dict[str, str]) -> httpx.Response:
        self.sent.append(form)
        grant = form["grant_type"].rpartition(":")[2]
        if grant in self.refuses:
            return httpx.Response(400, json={"error": self.refuses[grant]})
        if grant == "refresh_token" and form["refresh_token"] != self.refresh_token:
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.made += 1
        person = claims_of(form["subject_token"])["sub"] if grant == "token-exchange" else "anne"
        token = signed(iss=issuer, aud=url, sub=person, n=self.made) + self.spoils
        said = {"access_token": token, "token_type": "Bearer", "expires_in": 300}
        if "client_assertion" not in form:
            said["token_type"] = "DPoP"  # noqa: S105
        if grant != "token-exchange":
            said["refresh_token"] = self.refresh_token = f"rt{self.made}"
        return httpx.Response(200, json=said)

    def grants(self) -> list[str]:
        return [form["grant_type"].rpartition(":")[2] for form in self.sent]


def remit_of(one: Issuer, source: Exchange | DeviceFlow) -> Remit:
    return Remit(url, token=source, transport=one)


def bound() -> Exchange:
    return Exchange(issuer=issuer, client_id="desk", proof_key=ProofKey.generate())


@pytest.mark.parametrize("path", ["/oauth/token", "/collections"])
def test_two_who_meet_the_same_nonce_first_and_at_once_both_get_on(path: str) -> None:
    one = Issuer()
    both = threading.Barrier(2, timeout=5)

    def together(request: httpx.Request) -> None:
        if request.url.path == path and "nonce" not in claims_of(request.headers["dpop"]):
            both.wait()

    one.before = together
    one.nonces[path] = "n1"
    remit = remit_of(one, bound())
    people = [remit.session(who, subject_token=partial(handed_over, who)) for who in ("anne", "bob")]
    with ThreadPoolExecutor(2) as pool:
        assert [answer.txn for answer in pool.map(lambda person: person.collections(), people)] == ["t_1"] * 2
    # No good token was thrown away for it.
    assert one.made == 2
    assert sorted(map(str, one.heard)) == ["anne", "bob"]


# Not in a frame of a test, which is in every traceback.
_annes = handed_over("anne")
_client_key = ClientKey({**ECKey.generate_key("P-256", private=True).as_dict(private=True), "kid": "k"})


def files_of(error: BaseException) -> set[str]:
    """Those whose frames it holds, and their variables with them."""
    return {Path(frame.f_code.co_filename).name for frame, _ in walk_tb(error.__traceback__)}


def everything_in(error: BaseException) -> str:
    said = ""
    one: BaseException | None = error
    while one is not None:
        said += "".join(TracebackException.from_exception(one, capture_locals=True).format())
        one = one.__cause__ or one.__context__
    return said


async def test_a_traceback_with_its_locals_holds_no_token_and_no_frame_of_the_client() -> None:
    one = Issuer()
    one.refuses["token-exchange"] = "invalid_grant"
    remit = remit_of(one, Exchange(issuer=issuer, client_id="desk", key=_client_key))
    anne = remit.session("anne", subject_token=lambda: _annes)
    with pytest.raises(RemitError) as blocking:
        anne.collections()
    with pytest.raises(RemitError) as awaited:
        await anne.acollections()
    for error in (blocking.value, awaited.value):
        assert error.code == "invalid_grant"
        said = everything_in(error)
        assert "test_a_traceback" in said
        assert "eyJ" not in said
        assert files_of(error) == {"test_issuer.py", "session.py", "_network.py"}


async def test_what_the_app_raises_keeps_the_frames_of_the_app() -> None:
    def broken() -> str:
        raise KeyError("no token of anne")

    async def awaited() -> str:
        return broken()

    remit = remit_of(Issuer(), bound())
    with pytest.raises(KeyError) as raised:
        remit.session("anne", subject_token=broken).collections()
    assert "in broken" in everything_in(raised.value)
    with pytest.raises(KeyError) as raised:
        await remit.session("anne", subject_token=awaited).acollections()
    assert "in awaited" in everything_in(raised.value)
    assert files_of(raised.value) == {"test_issuer.py", "session.py", "_network.py"}


def test_each_sign_in_that_is_asked_for_is_an_error_of_its_own() -> None:
    one = Issuer()
    one.refuses["device_code"] = "authorization_pending"
    anne = remit_of(one, DeviceFlow(issuer=issuer, client_id="desk", proof_key=ProofKey.generate())).session(
        "anne"
    )
    raised = []
    for _ in range(3):
        with pytest.raises(SignInRequired) as asked:
            anne.collections()
        raised.append(asked.value)
        time.sleep(0.02)
    assert len({id(error) for error in raised}) == 3
    assert {error.user_code for error in raised} == {"ABCD"}
    assert len({everything_in(error).count("\n") for error in raised}) == 1
    assert one.grants() == ["device_code"] * 2


def signed_in(one: Issuer) -> tuple[Session, DeviceFlow]:
    """Anne, whose token is over and who has a refresh token."""
    source = DeviceFlow(issuer=issuer, client_id="desk", proof_key=ProofKey.generate())
    anne = remit_of(one, source).session("anne")
    with pytest.raises(SignInRequired):
        anne.collections()
    time.sleep(0.02)
    anne.collections()
    source._cache._entries.clear()
    one.sent.clear()
    return anne, source


async def begun(one: Issuer) -> None:
    while not one.sent:  # noqa: ASYNC110  # threads send as well
        await asyncio.sleep(0.01)


def test_a_thread_beside_a_loop_spends_a_refresh_token_once() -> None:
    one = Issuer(0.1)
    anne, source = signed_in(one)

    async def several() -> None:
        await asyncio.gather(*(anne.acollections() for _ in range(4)))

    with ThreadPoolExecutor(4) as pool:
        in_loop = pool.submit(asyncio.run, several())
        for answer in [pool.submit(anne.collections) for _ in range(3)]:
            assert answer.result(5).txn == "t_1"
        in_loop.result(5)
    assert one.grants() == ["refresh_token"]
    assert list(source._refresh_tokens.values()) == [one.refresh_token]


def test_a_refused_refresh_token_takes_no_newer_one_with_it() -> None:
    one = Issuer()
    anne, source = signed_in(one)

    def renewed_elsewhere(request: httpx.Request) -> None:
        if request.url.path == "/oauth/token":
            [key] = source._refresh_tokens
            source._refresh_tokens[key] = one.refresh_token = "newer"  # noqa: S105

    one.before = renewed_elsewhere
    with pytest.raises(SignInRequired):
        anne.collections()
    assert list(source._refresh_tokens.values()) == ["newer"]


async def test_a_refresh_that_nobody_waits_for_any_more_keeps_what_came_of_it() -> None:
    one = Issuer(0.2)
    anne, source = signed_in(one)
    asking = asyncio.create_task(anne.acollections())
    await begun(one)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    # It goes on, also while connections are being closed.
    await anne._remit.aclose()
    assert list(source._refresh_tokens.values()) == [one.refresh_token]
    await anne.acollections()
    assert one.grants() == ["refresh_token"]


async def test_a_blocking_call_does_not_wait_for_its_own_loop() -> None:
    one = Issuer(0.2)
    anne, _ = signed_in(one)
    asking = asyncio.create_task(anne.acollections())
    await begun(one)
    with pytest.raises(Unavailable, match="loop"):
        anne.collections()
    assert (await asking).txn == "t_1"
    assert one.grants() == ["refresh_token"]


def test_a_mix_up_of_what_was_handed_over_is_seen_in_each_session_however_warm_the_cache() -> None:
    one = Issuer()
    remit = remit_of(one, bound())
    asked: list[str] = []

    def of(person: str) -> str:
        asked.append(person)
        return handed_over(person)

    anne = remit.session("anne", subject_token=partial(of, "anne"))
    for _ in range(3):
        anne.collections()
    # Once for each session, and none is exchanged twice.
    remit.session("anne", subject_token=partial(of, "anne")).collections()
    assert (asked, one.made) == (["anne", "anne"], 1)
    with pytest.raises(WrongPerson):
        remit.session("anne", subject_token=partial(of, "bob")).collections()
    with pytest.raises(NoPerson):
        remit.session("anne").collections()
    assert one.heard == ["anne"] * 4


def test_one_session_whose_person_hands_over_another_token_each_time_exchanges_once_for_each_use() -> None:
    one = Issuer(0.05)
    many = iter(range(1_000))
    remit = remit_of(one, bound())
    anne = remit.session("anne", subject_token=lambda: signed(sub="anne", n=next(many)))
    offer = {"authorization_details": [{"type": "document_access", "offer": "o_1"}], "purpose": "Why"}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: anne.collections(), range(16)))
    for _ in range(2):
        with pytest.raises(RemitError, match="cannot be read"):
            anne.approvals.request(**offer)  # type: ignore[arg-type]
        anne.collections()
    assert one.made == 2


def test_a_token_that_no_header_can_hold_is_not_used() -> None:
    one = Issuer()
    one.spoils = "\n"
    with pytest.raises(GrantedDiffers):
        remit_of(one, bound()).session("anne", subject_token=lambda: _annes).collections()
    for value in ("a\nb", "a b", "é", ""):
        with pytest.raises(ValueError, match="visible") as raised:
            StaticToken("anne", value)
        assert "a\nb" not in str(raised.value)
