"""Where an agent's tokens come from."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from weakref import WeakKeyDictionary

import httpx2 as httpx

from ._addresses import is_safe
from ._network import Alone, Answer, Call, Flow, Pause, Send, fetch_json
from ._tokens import (
    AccessToken,
    Person,
    TokenCache,
    TokenRequest,
    claims_of,
    differs,
    is_token,
    read_token_answer,
)
from .errors import (
    NoPerson,
    RemitError,
    SignInRequired,
    Unavailable,
    WrongPerson,
    error_from_answer,
)
from .keys import ClientKey, ProofKey

_exchange_grant: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_device_grant: Final = "urn:ietf:params:oauth:grant-type:device_code"
_access_token_type: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
_metadata_seconds: Final = 600
_request_seconds: Final = 15
_wait_seconds_max: Final = 5
_held_max: Final = 10_000


class StaticToken:
    """A bearer token from elsewhere, for one person, used until it is refused: for scripts and trials.

    One that is a JWT has to say that person, and the service as its audience. ``audience`` is for a token of
    an issuer that calls the service something else than its URL.
    """

    def __init__(self, subject: str, token: str, *, audience: str | None = None) -> None:
        if not is_token(token):
            raise ValueError("A token is of visible ASCII characters.")
        self._subject = subject
        self._token = token
        self._audience = audience

    def get(self, request: TokenRequest) -> Flow[AccessToken]:
        """Raises WrongPerson for anybody but its person."""
        yield from ()
        if request.person.subject != self._subject:
            raise WrongPerson(message="The token is for somebody else.", code="wrong_person")
        if claims := claims_of(self._token):
            if claims.get("sub") != self._subject:
                raise WrongPerson(message="The token says somebody else.", code="wrong_person")
            said = claims.get("aud")
            if (self._audience or request.audience) not in (said if isinstance(said, list) else [said]):
                raise differs("The token is not for this API.")
        return AccessToken(self._token, self._subject, request.audience, request.scopes, float("inf"))

    def drop(self, request: TokenRequest, token: AccessToken) -> None:
        """There is no other one to give."""


class _IssuerClient:
    """One client's requests at one authorization server."""

    _is_spent_once = False
    """Whether a token is got for something that is worth nothing afterwards."""

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        key: ClientKey | None = None,
        proof_key: ProofKey | None = None,
        cache: TokenCache | None = None,
    ) -> None:
        if not is_safe(issuer):
            raise ValueError(f"{issuer} has to be an https URL, or http on loopback.")
        self.issuer: Final = issuer
        self.client_id: Final = client_id
        self.proof_key: Final = proof_key
        self._key = key
        self._cache = TokenCache() if cache is None else cache
        self._metadata: tuple[dict[str, Any], float] | None = None

    def _held(self, request: TokenRequest) -> tuple[Any, ...]:
        """Everything that makes two tokens different ones."""
        thumbprint = None if self.proof_key is None else self.proof_key.thumbprint
        scopes = tuple(sorted(set(request.scopes)))
        return (self.issuer, self.client_id, thumbprint, request.person.subject, request.audience, scopes)

    def get(self, request: TokenRequest) -> Flow[AccessToken]:
        """Fetched once, however many wait for it."""
        key = self._held(request)
        token = self._cache.find(key)
        if token is None:
            obtained = self._obtained(key, request)
            token = yield Alone((id(self), key), self._renewed(key, obtained), self._is_spent_once)
        return token

    def _renewed(self, key: tuple[Any, ...], obtained: Flow[AccessToken]) -> Flow[AccessToken]:
        token = self._cache.find(key)
        if token is None:
            token = yield from obtained
            self._cache.put(key, token)
        return token

    def _obtained(self, key: tuple[Any, ...], request: TokenRequest) -> Flow[AccessToken]:
        raise NotImplementedError

    def drop(self, request: TokenRequest, token: AccessToken) -> None:
        """Forgets a token that the API did not take."""
        self._cache.drop(self._held(request), token)

    def _redeemed(self, form: dict[str, str], request: TokenRequest) -> Flow[dict[str, Any]]:
        answer = yield from self._post("token_endpoint", form)
        # Before anything of it is used, the refresh token included.
        answer["token"] = read_token_answer(answer, request, self.issuer, self.proof_key)
        return answer

    def _post(self, endpoint: str, form: dict[str, str]) -> Flow[dict[str, Any]]:
        """Sends a form and gives the JSON object of a 200; once more for a fresh nonce, or a short wait."""
        url = (yield from self._described()).get(endpoint)
        if not isinstance(url, str) or not is_safe(url):
            raise TypeError(f"{self.issuer} has no {endpoint.replace('_', ' ')}.")
        for attempt in (1, 2):
            # Made anew for each attempt: the issuer takes an assertion, and a proof, once.
            proof = {} if self._key is None else self._key.proof(self.client_id, self.issuer)
            sent = {**form, "client_id": self.client_id, **proof}
            headers = httpx.Headers(
                {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
            )
            proof_key = self.proof_key if endpoint == "token_endpoint" else None
            bound = None if proof_key is None else proof_key.proof("POST", url)
            if bound is not None:
                headers["dpop"] = bound
            deadline = time.monotonic() + _request_seconds
            answer: Answer = yield Send("POST", url, headers, deadline, urlencode(sent).encode())
            is_nonce_new = bool(proof_key and bound and proof_key.learn(url, answer.headers, bound))
            said = answer.json()
            if answer.status == 200:
                if isinstance(said, dict):
                    return said
                raise Unavailable(message=f"The answer of {self.issuer} cannot be read.", code="unavailable")
            secrets = (value for name, value in sent.items() if name.endswith(("token", "code", "assertion")))
            error = error_from_answer(answer.status, answer.headers, said, secrets)
            if attempt == 2:
                raise error
            if is_nonce_new and error.code == "use_dpop_nonce":
                continue
            # Nothing was decided yet: a 503 of the issuer is no answer to what was asked.
            if answer.status != 503 or error.retry_after is None or error.retry_after > _wait_seconds_max:
                raise error
            yield Pause(error.retry_after)
        raise AssertionError("The second attempt returns or raises.")

    def _described(self) -> Flow[dict[str, Any]]:
        """What the issuer says of itself (RFC 8414), held for ten minutes."""
        if self._metadata is not None and self._metadata[1] > time.monotonic():
            return self._metadata[0]
        origin, path = _parts(self.issuer)
        for address in (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        ):
            document = yield from fetch_json(address)
            # A document that names another issuer is not this one's (RFC 8414 §3.3).
            if document is not None and document.get("issuer") == self.issuer:
                self._metadata = (document, time.monotonic() + _metadata_seconds)
                return document
        raise Unavailable(message=f"What {self.issuer} says of itself cannot be had.", code="unavailable")


class Exchange(_IssuerClient):
    """Tokens by exchange (RFC 8693): what a person handed to the agent becomes a token for one API.

    ``issuer`` is the exact ``iss``, ``https://remit.example/oauth``; ``client_id`` and ``key`` are the
    agent's client there (``key`` left out: a public client); ``proof_key`` binds every token to a key (left
    out: bearer tokens); ``cache`` may be shared by all agents of a process.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        key: ClientKey | None = None,
        proof_key: ProofKey | None = None,
        cache: TokenCache | None = None,
    ) -> None:
        super().__init__(issuer=issuer, client_id=client_id, key=key, proof_key=proof_key, cache=cache)
        # Of each session, what was handed over for each of its tokens, as a hash.
        self._handed: WeakKeyDictionary[Person, dict[tuple[Any, ...], bytes]] = WeakKeyDictionary()

    def _held(self, request: TokenRequest) -> tuple[Any, ...]:
        """By what was handed over as well: only the issuer can say whose that is."""
        key = super()._held(request)
        return (*key, self._handed.get(request.person, {}).get(key))

    def get(self, request: TokenRequest) -> Flow[AccessToken]:
        """Fetched once, however many wait for it; what a session was handed is looked at once at least."""
        token = self._cache.find(self._held(request))
        if token is None:
            alone = (id(self), id(request.person), super()._held(request))
            token = yield Alone(alone, self._handed_over(request))
        return token

    def _handed_over(self, request: TokenRequest) -> Flow[AccessToken]:
        # Another call of this session may have got it meanwhile.
        if (found := self._cache.find(self._held(request))) is not None:
            return found
        person = request.person
        subject_token = None if person.subject_token is None else (yield Call(person.subject_token))
        if not isinstance(subject_token, str) or subject_token == "":
            raise NoPerson(message="Nothing was handed to the agent for this person.", code="no_person")
        digest = sha256(subject_token.encode()).digest()
        self._handed.setdefault(person, {})[super()._held(request)] = digest
        key = self._held(request)
        exchanged = self._exchanged(subject_token, request)
        token: AccessToken = yield Alone((id(self), key), self._renewed(key, exchanged))
        return token

    def _exchanged(self, subject_token: str, request: TokenRequest) -> Flow[AccessToken]:
        form = {
            "grant_type": _exchange_grant,
            "subject_token": subject_token,
            "subject_token_type": _access_token_type,
            "resource": request.audience,
            "scope": " ".join(request.scopes),
        }
        token: AccessToken = (yield from self._redeemed(form, request))["token"]
        return token


ShowSignIn = Callable[[SignInRequired, Person], "Awaitable[None] | None"]


@dataclass
class _SignIn:
    """A code that a person has not entered yet."""

    device_code: str
    required: SignInRequired
    """Raised as a copy: one that is raised again would keep the frames of everybody whom it passed."""
    interval: float
    next_at: float
    ends_at: float


class DeviceFlow(_IssuerClient):
    """Tokens by the device flow (RFC 8628): the person signs in in any browser and enters a code.

    Whoever that is has to be the person of the session: with somebody else's sign-in there is no token.
    Renewed by refresh token; device codes and refresh tokens stay in this process. ``on_sign_in`` shows the
    person where to sign in, and the call then waits; left out, the call raises SignInRequired, and is made
    again later. A person signs in once for each set of scopes: give a session's all at once.
    """

    _is_spent_once = True

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        key: ClientKey | None = None,
        proof_key: ProofKey | None = None,
        cache: TokenCache | None = None,
        on_sign_in: ShowSignIn | None = None,
    ) -> None:
        super().__init__(issuer=issuer, client_id=client_id, key=key, proof_key=proof_key, cache=cache)
        self._on_sign_in = on_sign_in
        self._sign_ins: OrderedDict[tuple[Any, ...], _SignIn] = OrderedDict()
        self._refresh_tokens: OrderedDict[tuple[Any, ...], str] = OrderedDict()

    def get(self, request: TokenRequest) -> Flow[AccessToken]:
        """Waits where the person is shown a code; else raises SignInRequired until they have signed in."""
        shown: str | None = None
        while True:
            try:
                return (yield from super().get(request))
            except SignInRequired as required:
                if self._on_sign_in is None:
                    raise
                again = required
            # A code that is over has made way for another one.
            if again.user_code != shown:
                yield Call(self._on_sign_in, (again, request.person))
                shown = again.user_code
            yield Pause(again.retry_after or 5)

    def _obtained(self, key: tuple[Any, ...], request: TokenRequest) -> Flow[AccessToken]:
        token = yield from self._refreshed(key, request)
        if token is not None:
            return token
        sign_in = self._sign_ins.get(key)
        if sign_in is None or sign_in.ends_at <= time.monotonic():
            sign_in = yield from self._begun(request)
            _keep(self._sign_ins, key, sign_in)
        if sign_in.next_at > time.monotonic():
            raise copy(sign_in.required)
        sign_in.next_at = time.monotonic() + sign_in.interval
        try:
            form = {"grant_type": _device_grant, "device_code": sign_in.device_code}
            token = yield from self._kept(key, form, request)
        except RemitError as error:
            if error.code == "slow_down":
                sign_in.interval += 5
            if error.code in ("authorization_pending", "slow_down"):
                raise copy(sign_in.required) from None
            # No answer says nothing about the code; everything else ends it: denied, over, or somebody
            # else's sign-in.
            if not isinstance(error, Unavailable):
                self._sign_ins.pop(key, None)
            raise
        self._sign_ins.pop(key, None)
        return token

    def _refreshed(self, key: tuple[Any, ...], request: TokenRequest) -> Flow[AccessToken | None]:
        refresh_token = self._refresh_tokens.get(key)
        if refresh_token is None:
            return None
        try:
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            return (yield from self._kept(key, form, request))
        except RemitError as error:
            if error.code != "invalid_grant":
                raise
            # Only the one that was refused: a newer one may have taken its place.
            if self._refresh_tokens.get(key) == refresh_token:
                self._refresh_tokens.pop(key, None)
            return None

    def _kept(self, key: tuple[Any, ...], form: dict[str, str], request: TokenRequest) -> Flow[AccessToken]:
        answer = yield from self._redeemed(form, request)
        if isinstance(refresh_token := answer.get("refresh_token"), str):
            _keep(self._refresh_tokens, key, refresh_token)
        token: AccessToken = answer["token"]
        return token

    def _begun(self, request: TokenRequest) -> Flow[_SignIn]:
        form = {"resource": request.audience, "scope": " ".join(request.scopes)}
        said = yield from self._post("device_authorization_endpoint", form)
        device_code, user_code, uri = (
            said.get(name) for name in ("device_code", "user_code", "verification_uri")
        )
        # A person is sent there: nothing but an address that a browser opens safely.
        if not (isinstance(device_code, str) and isinstance(user_code, str) and is_safe(uri)):
            raise Unavailable(message=f"The answer of {self.issuer} cannot be read.", code="unavailable")
        whole = said.get("verification_uri_complete")
        interval = _positive(said.get("interval"), 5)
        lasts = _positive(said.get("expires_in"), 600)
        required = SignInRequired(
            message="The person has to sign in.",
            code="sign_in_required",
            retry_after=round(interval),
            verification_uri=str(uri),
            verification_uri_complete=str(whole) if is_safe(whole) else None,
            user_code=user_code,
            expires_in=lasts,
        )
        now = time.monotonic()
        return _SignIn(device_code, required, interval, now + interval, now + lasts)


def find_issuer_flow(resource: str) -> Flow[str]:
    """See ``find_issuer``."""
    if not is_safe(resource):
        raise ValueError(f"{resource} has to be an https URL, or http on loopback.")
    origin, path = _parts(resource)
    document = yield from fetch_json(f"{origin}/.well-known/oauth-protected-resource{path}")
    if document is None or document.get("resource") != resource:
        raise Unavailable(message=f"Who issues tokens for {resource} cannot be had.", code="unavailable")
    servers = document.get("authorization_servers")
    own = [
        server
        for server in (servers if isinstance(servers, list) else [])
        if is_safe(server) and _parts(server)[0] == origin
    ]
    if len(own) != 1:
        raise TypeError(f"The issuer of tokens for {resource} has to be named.")
    return str(own[0])


def _parts(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _positive(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else default


def _keep(held: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], value: object) -> None:
    held[key] = value
    held.move_to_end(key)
    while len(held) > _held_max:
        held.popitem(last=False)
