"""An agent at one service, and its sessions: everything is done for one person.

Each method that asks the service comes twice, blocking and, with an ``a`` before its name, to be awaited.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, NoReturn, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

import httpx2 as httpx
from pydantic import BaseModel, ValidationError

from ._addresses import is_safe
from ._network import Answer, Call, Flow, Network, Pause, Send
from ._tokens import AccessToken, Person, SubjectToken, TokenRequest, TokenSource
from .errors import (
    ApprovalDenied,
    ApprovalExpired,
    RateLimited,
    RemitError,
    Unavailable,
    WrongPerson,
    error_from_answer,
    retry_after,
)
from .models import Approval, ApprovalAsked, CollectionList, Document, RetrieveAnswer
from .requests import ApprovalInput, RetrieveRequest
from .sources import find_issuer_flow

Model = TypeVar("Model", bound=BaseModel)

_attempts_max: Final = 3
_wait_seconds_max: Final = 10
_patience_seconds: Final = 30
_margin_seconds: Final = 15
# The service itself says when these are over.
_open_states: Final = ("pending", "info_requested")


class Remit:
    """One agent at one service: ``Remit("https://remit.example", token=Exchange(…))``.

    ``url`` is the service's PUBLIC_URL, exactly. ``token`` is where the agent's tokens come from; it is who
    the agent is. ``timeout`` is in seconds, of a call with its retries once it has a token. ``scopes`` are
    those of the tokens that serve reading: with ``approvals.request`` among them one token serves approvals
    too. Whatever else is given goes to the HTTP clients as it is (``verify``, ``proxy``, ``transport``).

    Holds no person. Safe for threads, and for one event loop after the other.
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource,
        timeout: float = 30.0,
        scopes: tuple[str, ...] = ("docs.search", "docs.read"),
        **http: Any,
    ) -> None:
        self.url: Final = url.removesuffix("/")
        if not is_safe(self.url):
            raise ValueError(f"{url} has to be an https URL, or http on loopback.")
        self._source = token
        self._timeout = timeout
        self._scopes = scopes
        self._network = Network(**http)

    def session(self, subject: str, *, subject_token: SubjectToken | None = None) -> Session:
        """The agent, working for this person: cheap, one for each conversation or each request.

        ``subject`` is exactly what their tokens say in ``sub``. ``subject_token`` gives a fresh token that
        they handed to the agent, for ``Exchange``; it may be a coroutine function where calls are awaited.
        """
        if subject == "":
            raise ValueError("A person has a subject.")
        return Session(self, Person(subject, subject_token), _key=_made_here)

    def close(self) -> None:
        """Closes the connections of blocking calls."""
        self._network.close()

    async def aclose(self) -> None:
        """Closes all connections of this loop, and those of blocking calls."""
        await self._network.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _ask(
        self,
        model: type[Model],
        person: Person,
        method: str,
        path: str,
        *,
        scopes: tuple[str, ...],
        is_repeatable: bool,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> Flow[Model]:
        """The answer of a success, as that model; sent again where the service asks to come back."""
        wanted = self._scopes if set(scopes) <= set(self._scopes) else scopes
        request = TokenRequest(person, self.url, wanted)
        # A person who signs in first may take longer than any call.
        yield from self._source.get(request)
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        sent = {"accept": "application/json", **kind, **(headers or {})}
        for attempt in range(_attempts_max):
            sending = Send(method, self.url + path, httpx.Headers(sent), deadline, content)
            token, answer = yield from self._send(request, sending)
            if 200 <= answer.status < 300:
                break
            seconds = retry_after(answer.headers) if answer.status in (429, 503) else None
            is_last = not is_repeatable or attempt + 1 == _attempts_max
            left = deadline - time.monotonic()
            if is_last or seconds is None or seconds > _wait_seconds_max or seconds >= left:
                raise error_from_answer(answer.status, answer.headers, answer.json(), (token.value,))
            yield Pause(seconds)
        return _read(model, answer)

    def _token(self, request: TokenRequest) -> Flow[AccessToken]:
        token = yield from self._source.get(request)
        # Whatever a source mixed up ends here.
        if token.subject != request.person.subject:
            raise WrongPerson(message="The token is for somebody else.", code="wrong_person")
        return token

    def _send(self, request: TokenRequest, sent: Send) -> Flow[tuple[AccessToken, Answer]]:
        """Under a token of the source; under another one, once, where the API did not take the first."""
        token = yield from self._token(request)
        answer = yield from _send_as(token, sent)
        if answer.status != 401:
            return token, answer
        self._source.drop(request, token)
        second = yield from self._token(request)
        if second.value == token.value:
            return token, answer
        return second, (yield from _send_as(second, sent))


def _send_as(token: AccessToken, sent: Send) -> Flow[Answer]:
    """With the proof that the token needs, once more where the server asks for a nonce."""
    for attempt in (1, 2):
        proof_key = token.proof_key
        headers = httpx.Headers(sent.headers)
        headers["authorization"] = f"{'Bearer' if proof_key is None else 'DPoP'} {token.value}"
        proof = None if proof_key is None else proof_key.proof(sent.method, sent.url, token.value)
        if proof is not None:
            headers["dpop"] = proof
        answer: Answer = yield Send(sent.method, sent.url, headers, sent.deadline, sent.content)
        is_nonce_new = bool(proof_key and proof and proof_key.learn(sent.url, answer.headers, proof))
        asks = 'error="use_dpop_nonce"' in answer.headers.get("www-authenticate", "")
        if attempt == 2 or not is_nonce_new or answer.status != 401 or not asks:
            break
    return answer


def _read(model: type[Model], answer: Answer) -> Model:
    try:
        return model.model_validate_json(answer.content, strict=False)
    except ValidationError:
        pass
    # Raised here, where nothing is in flight: what validation says quotes the answer.
    raise RemitError(message="The service's answer cannot be read.", code="bad_answer", status=answer.status)


class CallOptions(TypedDict, total=False):
    """What any call takes."""

    timeout: float
    """Seconds, with its retries. Default: what ``Remit`` was given."""


class WaitOptions(TypedDict, total=False):
    """What waiting for a person takes."""

    on_question: Callable[[str], str | Awaitable[str]]
    """Answers what the person asks back, in the agent's words. Left out: the wait ends with that."""


class AskingOptions(TypedDict, total=False):
    """What ``Session.retrieve_asking`` takes beside the question.

    A function may be a coroutine function where the call is awaited.
    """

    on_pending: Callable[[ApprovalAsked], Awaitable[None] | None]
    """The person was asked: their page is ``/approvals/{asked.id}`` of the service.

    Not called where the service says no by itself.
    """
    on_question: Callable[[str], str | Awaitable[str]]
    """Answers what the person asks back. Left out: their question ends the wait, as a no would."""
    on_denied: Callable[[ApprovalDenied | ApprovalExpired], Awaitable[None] | None]
    """They said no, or nothing in time: for the app to say so, not for a model."""
    requested_expiry: int
    """Seconds that the person has: 30 to 86,400, by default 300."""


_made_here: Final = object()


class Session:
    """One agent, working for one person: made by ``Remit.session``.

    Hand it on with each call; do not keep it in what several people share. It cannot be pickled, so that no
    checkpoint or cache holds what acts for somebody.
    """

    __slots__ = ("_person", "_remit", "approvals")

    def __init__(self, remit: Remit, person: Person, *, _key: object = None) -> None:
        if _key is not _made_here:
            raise TypeError("A session is made by Remit.session.")
        self._remit: Final = remit
        self._person: Final = person
        self.approvals: Final = Approvals(remit, person)
        """Asks the person for more than they lent."""

    @property
    def subject(self) -> str:
        """Whom everything is done for."""
        return self._person.subject

    def __repr__(self) -> str:
        return f"<Session for {self.subject}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session acts for a person and is not stored.")

    def retrieve(
        self, *, offers: bool = False, timeout: float | None = None, **question: Unpack[RetrieveRequest]
    ) -> RetrieveAnswer:
        """Passages, best first, that the person may read, within what they lent to the agent.

        Takes exactly one of ``query`` and ``embedding``; ``top_k`` is 1 to 100, by default 10. With
        ``offers`` the answer's ``approval`` says whether there is more that the person could release.
        """
        return self._remit._network.run(self._retrieve(question, offers, timeout))

    async def aretrieve(
        self, *, offers: bool = False, timeout: float | None = None, **question: Unpack[RetrieveRequest]
    ) -> RetrieveAnswer:
        """As ``retrieve``."""
        return await self._remit._network.arun(self._retrieve(question, offers, timeout))

    def _retrieve(
        self, question: RetrieveRequest, offers: bool = False, timeout: float | None = None
    ) -> Flow[RetrieveAnswer]:
        return self._remit._ask(
            RetrieveAnswer,
            self._person,
            "POST",
            "/retrieve",
            body=question,
            scopes=("docs.search", "approvals.request") if offers else ("docs.search",),
            # An approval may be good for one use: what was counted must not be counted twice.
            is_repeatable="approval" not in question,
            timeout=timeout,
        )

    def read_document(
        self, document_id: str, *, approval: str | None = None, **options: Unpack[CallOptions]
    ) -> Document:
        """A whole document. ``approval``: a grant that the person gave for it.

        Raises NotFound where it is not there, or not theirs; ApprovalRequired where they have to agree first.
        """
        return self._remit._network.run(self._read_document(document_id, approval, options))

    async def aread_document(
        self, document_id: str, *, approval: str | None = None, **options: Unpack[CallOptions]
    ) -> Document:
        """As ``read_document``."""
        return await self._remit._network.arun(self._read_document(document_id, approval, options))

    def _read_document(self, document_id: str, approval: str | None, options: CallOptions) -> Flow[Document]:
        query = "" if approval is None else f"?{urlencode({'approval': approval})}"
        return self._remit._ask(
            Document,
            self._person,
            "GET",
            f"/documents/{quote(document_id, safe='')}{query}",
            scopes=("docs.read",),
            is_repeatable=approval is None,
            **options,
        )

    def collections(self, **options: Unpack[CallOptions]) -> CollectionList:
        """Collections in which there is something for this person and agent to read."""
        return self._remit._network.run(self._collections(options))

    async def acollections(self, **options: Unpack[CallOptions]) -> CollectionList:
        """As ``collections``."""
        return await self._remit._network.arun(self._collections(options))

    def _collections(self, options: CallOptions) -> Flow[CollectionList]:
        return self._remit._ask(
            CollectionList,
            self._person,
            "GET",
            "/collections",
            scopes=("docs.search",),
            is_repeatable=True,
            **options,
        )

    def retrieve_asking(
        self, question: RetrieveRequest, *, purpose: str, **asking: Unpack[AskingOptions]
    ) -> RetrieveAnswer:
        """``retrieve``, and where the service offers more that the person could release, asks them and waits.

        ``purpose`` says why, in the agent's own words, which the person sees as such. Without a yes the
        answer is what it was, with nothing in it of what was asked for or refused.
        """
        return self._remit._network.run(self._retrieve_asking(question, purpose, asking))

    async def aretrieve_asking(
        self, question: RetrieveRequest, *, purpose: str, **asking: Unpack[AskingOptions]
    ) -> RetrieveAnswer:
        """As ``retrieve_asking``."""
        return await self._remit._network.arun(self._retrieve_asking(question, purpose, asking))

    def _retrieve_asking(
        self, question: RetrieveRequest, purpose: str, asking: AskingOptions
    ) -> Flow[RetrieveAnswer]:
        answer = yield from self._retrieve(question, offers="approval" not in question)
        if answer.approval is None or "approval" in question:
            return answer
        grant = yield from self._agreed(answer.approval.offer_id, purpose, asking)
        if grant is None:
            return answer
        try:
            return (yield from self._retrieve({**question, "approval": grant}))
        except RemitError as error:
            error.grant_id = grant
            raise

    def _agreed(self, offer: str, purpose: str, asking: AskingOptions) -> Flow[str | None]:
        """The grant of a yes; None for everything else that a person, or the limit of questions, can say."""
        wanted: ApprovalInput = {
            "authorization_details": [{"type": "document_access", "offer": offer}],
            "purpose": purpose,
        }
        if "requested_expiry" in asking:
            wanted["requested_expiry"] = asking["requested_expiry"]
        refused: ApprovalDenied | ApprovalExpired
        try:
            asked = yield from self.approvals._request(wanted, {})
        except RateLimited:
            # Asked often enough.
            return None
        # Blocked, or too soon after a no: the person was asked nothing.
        if "on_pending" in asking and asked.state != "denied":
            yield Call(asking["on_pending"], (asked,))
        waiting: WaitOptions = {}
        if "on_question" in asking:
            waiting["on_question"] = asking["on_question"]
        try:
            return (yield from self.approvals._wait_for(asked.id, waiting, asked.expires_at)).grant_id
        except (ApprovalDenied, ApprovalExpired) as said:
            refused = said
        if "on_denied" in asking:
            yield Call(asking["on_denied"], (refused,))
        return None


class Approvals:
    """Asks one person for more than they lent, and reads their answers: ``session.approvals``."""

    __slots__ = ("_person", "_remit")

    def __init__(self, remit: Remit, person: Person) -> None:
        self._remit: Final = remit
        self._person: Final = person

    def __reduce__(self) -> NoReturn:
        raise TypeError("It acts for a person and is not stored.")

    def request(self, *, timeout: float | None = None, **wanted: Unpack[ApprovalInput]) -> ApprovalAsked:
        """Asks the person. An equal question that is open is that one.

        ``authorization_details`` is what to ask for: one of ``{"type": "document_access", "offer": "o_…"}``,
        or what ApprovalRequired says. ``purpose`` is in the agent's own words. ``requested_expiry``: seconds.
        """
        return self._remit._network.run(self._request(wanted, _options(timeout)))

    async def arequest(
        self, *, timeout: float | None = None, **wanted: Unpack[ApprovalInput]
    ) -> ApprovalAsked:
        """As ``request``."""
        return await self._remit._network.arun(self._request(wanted, _options(timeout)))

    def get(self, approval_id: str, **options: Unpack[CallOptions]) -> Approval:
        """How the question stands now."""
        return self._remit._network.run(self._get(approval_id, options))

    async def aget(self, approval_id: str, **options: Unpack[CallOptions]) -> Approval:
        """As ``get``."""
        return await self._remit._network.arun(self._get(approval_id, options))

    def wait_for(self, approval_id: str, **options: Unpack[WaitOptions]) -> Approval:
        """Waits until the person has answered, with the grant in ``grant_id``, or asks back.

        Raises ApprovalDenied, and ApprovalExpired where nobody answered in time. No answer of the service,
        and a limit, end it only once the question is over. A state that this version does not know is no
        answer: it is waited for until ``expires_at``.
        """
        return self._remit._network.run(self._wait_for(approval_id, options))

    async def await_for(self, approval_id: str, **options: Unpack[WaitOptions]) -> Approval:
        """As ``wait_for``."""
        return await self._remit._network.arun(self._wait_for(approval_id, options))

    def answer(self, approval_id: str, text: str, **options: Unpack[CallOptions]) -> Approval:
        """Answers what the person asked back, in at most 1,000 characters."""
        return self._remit._network.run(self._answer(approval_id, text, options))

    async def aanswer(self, approval_id: str, text: str, **options: Unpack[CallOptions]) -> Approval:
        """As ``answer``."""
        return await self._remit._network.arun(self._answer(approval_id, text, options))

    def _request(self, wanted: ApprovalInput, options: CallOptions) -> Flow[ApprovalAsked]:
        return self._remit._ask(
            ApprovalAsked,
            self._person,
            "POST",
            "/approvals",
            body=wanted,
            scopes=("approvals.request",),
            is_repeatable=False,
            **options,
        )

    def _get(
        self, approval_id: str, options: CallOptions, headers: dict[str, str] | None = None
    ) -> Flow[Approval]:
        return self._remit._ask(
            Approval,
            self._person,
            "GET",
            f"/approvals/{quote(approval_id, safe='')}",
            headers=headers,
            scopes=("approvals.request",),
            is_repeatable=True,
            **options,
        )

    def _answer(self, approval_id: str, text: str, options: CallOptions) -> Flow[Approval]:
        return self._remit._ask(
            Approval,
            self._person,
            "POST",
            f"/approvals/{quote(approval_id, safe='')}/answers",
            body={"text": text},
            scopes=("approvals.request",),
            is_repeatable=False,
            **options,
        )

    def _wait_for(
        self, approval_id: str, options: WaitOptions, expires_at: datetime | None = None
    ) -> Flow[Approval]:
        patient: CallOptions = {"timeout": _patience_seconds + _margin_seconds}
        while True:
            began = time.monotonic()
            # The first look, which says how long the question is open, comes back at once.
            headers = {} if expires_at is None else {"prefer": f"wait={_patience_seconds}"}
            trouble: Unavailable | RateLimited | None = None
            try:
                found = yield from self._get(approval_id, patient, headers)
            except (Unavailable, RateLimited) as error:
                trouble = error
            if trouble is not None:
                # No answer of the person's: they may have given one, or still do.
                pause = max(1, trouble.retry_after or 0)
                if expires_at is None or time.time() + pause >= expires_at.timestamp():
                    raise trouble
                yield Pause(pause)
                continue
            expires_at = found.expires_at
            match found.state:
                case "approved":
                    return found
                case "denied":
                    raise ApprovalDenied(
                        message="The person did not approve this.",
                        code="approval_denied",
                        approval=approval_id,
                        reason=found.reason,
                    )
                case "expired":
                    raise ApprovalExpired(
                        message="Nobody answered in time.", code="approval_expired", approval=approval_id
                    )
                case "info_requested" if found.question is not None:
                    if "on_question" not in options:
                        return found
                    text: str = yield Call(options["on_question"], (found.question,))
                    yield from self._answer(approval_id, text, {})
                case state if state not in _open_states and time.time() >= expires_at.timestamp():
                    # Not known here: no answer, and it may never become one that is.
                    raise ApprovalExpired(
                        message="Nobody answered in time.", code="approval_expired", approval=approval_id
                    )
                case _ if time.monotonic() - began < 1:
                    # A service that does not wait must not be asked without end.
                    yield Pause(1)


def _options(timeout: float | None) -> CallOptions:
    return {} if timeout is None else {"timeout": timeout}


def find_issuer(url: str, **http: Any) -> str:
    """The issuer of tokens for a service, by what that says of itself (RFC 9728), if of its own origin.

    An API must not be able to send an agent's proof, and a person's token, to any other: raises TypeError
    where the issuer has to be named by you. ``http`` as for ``Remit``.
    """
    network = Network(**http)
    try:
        return network.run(find_issuer_flow(url))
    finally:
        network.close()
