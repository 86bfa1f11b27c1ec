"""The client against the real service: sign-in, exchange, retrieve, approval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import exchange, issuer, people, session, subject_token, url

from remit_client import (
    ApprovalDenied,
    ApprovalRequired,
    ClientKey,
    DeviceFlow,
    Exchange,
    NotFound,
    ProofKey,
    Remit,
    RemitError,
    Session,
    SignInRequired,
    StaticToken,
    WrongPerson,
    find_issuer,
)
from remit_client._tokens import Person, TokenRequest
from remit_client.models import RetrieveAnswer


def found(answer: RetrieveAnswer) -> list[str]:
    return sorted({passage.document_id for passage in answer.results})


def enter(sign_in: SignInRequired, user: str) -> None:
    people("enter", uri=sign_in.verification_uri, code=sign_in.user_code, user=user)


def test_signs_in_by_a_code_and_reads_what_that_person_lent() -> None:
    asked: list[str] = []

    def show(sign_in: SignInRequired, person: Person) -> None:
        asked.append(sign_in.user_code)
        enter(sign_in, person.subject)

    source = DeviceFlow(
        issuer=find_issuer(url), client_id="public-agent", proof_key=ProofKey.generate(), on_sign_in=show
    )
    with Remit(url, token=source) as remit:
        bob = remit.session("bob")
        assert found(bob.retrieve(query="travel", collections=["handbook"])) == ["handbook/travel"]
        assert bob.read_document("handbook/travel").text.startswith("Travel costs")
        # Its token is gone: it is renewed, and nobody is asked again.
        source._cache._entries.clear()
        assert found(bob.retrieve(query="travel", collections=["handbook"])) == ["handbook/travel"]
    assert len(asked) == 1


def test_somebody_elses_sign_in_gives_no_token() -> None:
    def show(sign_in: SignInRequired, _: Person) -> None:
        enter(sign_in, "bob")

    source = DeviceFlow(issuer=issuer, client_id="public-agent", on_sign_in=show)
    with Remit(url, token=source) as remit, pytest.raises(WrongPerson):
        remit.session("anne").retrieve(query="travel")


def test_without_a_screen_the_sign_in_is_raised_and_goes_on_later() -> None:
    with Remit(url, token=DeviceFlow(issuer=issuer, client_id="public-agent")) as remit:
        with pytest.raises(SignInRequired) as first:
            remit.session("anne").collections()
        with pytest.raises(SignInRequired) as second:
            remit.session("anne").collections()
        assert first.value.user_code == second.value.user_code


async def test_one_agent_reads_for_each_person_what_they_may_read(anne: Session, bob: Session) -> None:
    for_anne = ["finance/budget", "handbook/trains", "handbook/travel"]
    assert found(anne.retrieve(query="travel", collections=["handbook", "finance"])) == for_anne
    assert found(await anne.aretrieve(query="travel", collections=["handbook", "finance"])) == for_anne
    assert found(bob.retrieve(query="travel", collections=["handbook"])) == ["handbook/travel"]
    assert found(await bob.aretrieve(query="travel", collections=["handbook"])) == ["handbook/travel"]
    listed = await anne.acollections()
    assert {"finance", "handbook"} <= {one.id for one in listed.collections}


def test_missing_and_forbidden_are_one_error_and_a_wrong_question_names_its_member(bob: Session) -> None:
    for document in ("finance/budget", "finance/none"):
        with pytest.raises(NotFound) as raised:
            bob.read_document(document)
        assert raised.value.txn is not None and raised.value.txn.startswith("t_")
        assert raised.value.status == 404
    with pytest.raises(RemitError) as wrong:
        bob.retrieve(query="travel", top_k=1_000)
    assert (wrong.value.code, wrong.value.field) == ("invalid_request", "top_k")


def test_a_bound_token_is_refused_without_its_key_and_holds_each_request_to_it(remit: Remit) -> None:
    source = exchange(proof_key=ProofKey.generate())
    request = TokenRequest(session(remit, "bob")._person, url, ("docs.search", "docs.read"))
    token = remit._network.run(source.get(request))
    assert token.proof_key is not None
    with Remit(url, token=StaticToken("bob", token.value)) as thief, pytest.raises(RemitError) as refused:
        thief.session("bob").retrieve(query="travel")
    assert refused.value.status == 401
    assert token.value not in str(refused.value)
    with Remit(url, token=source) as own:
        assert found(session(own, "bob").retrieve(query="travel", collections=["handbook"])) == [
            "handbook/travel"
        ]


def test_what_somebody_handed_over_for_another_person_is_not_used(remit: Remit) -> None:
    mixed = remit.session("anne", subject_token=lambda: subject_token("bob"))
    fresh = Remit(url, token=exchange())
    with fresh, pytest.raises(WrongPerson):
        fresh.session("anne", subject_token=mixed._person.subject_token).retrieve(query="travel")


@pytest.fixture
def asking() -> Iterator[Session]:
    """Of a token that anne gave the agent's own client: for approvals too."""
    scopes = ("docs.search", "docs.read", "approvals.request")
    signed_in: str = people("sign-in", user="anne")
    with Remit(url, token=exchange(proof_key=ProofKey.generate()), scopes=scopes) as one:
        yield one.session("anne", subject_token=lambda: signed_in)
    people("forget")


def test_asks_the_person_for_what_is_sensitive_and_reads_it_once(asking: Session) -> None:
    with pytest.raises(ApprovalRequired):
        asking.read_document("handbook/merger")
    purposes: list[Any] = []

    def decide(pending: Any) -> None:
        purposes.append(people("decide", id=pending.id, answer={"answer": "approve"}))

    answer = asking.retrieve_asking({"query": "merger"}, purpose="To answer: merger", on_pending=decide)
    assert "handbook/merger" in found(answer)
    assert purposes == ["To answer: merger"]
    # One answer: the next question finds nothing of it without another yes.
    assert "handbook/merger" not in found(asking.retrieve(query="merger"))


async def test_after_a_no_the_answer_is_the_rest_with_no_word_of_it(asking: Session) -> None:
    heard: list[str | None] = []

    async def decide(pending: Any) -> None:
        heard.append("asked")
        people("decide", id=pending.id, answer={"answer": "deny", "reason": "Not today"})

    async def ask() -> RetrieveAnswer:
        return await asking.aretrieve_asking(
            {"query": "merger"},
            purpose="To answer.",
            on_pending=decide,
            on_denied=lambda denied: heard.append(getattr(denied, "reason", None)),
        )

    answer = await ask()
    assert heard == ["asked", "Not today"]
    assert "handbook/merger" not in found(answer)
    assert "Not today" not in answer.model_dump_json()
    # Too soon after it the service says no by itself, and the person hears nothing.
    await ask()
    assert heard == ["asked", "Not today", None]


async def test_answers_what_the_person_asks_back_and_hears_their_no(asking: Session) -> None:
    offer = asking.retrieve(query="merger", offers=True).approval
    assert offer is not None
    asked = asking.approvals.request(
        authorization_details=[{"type": "document_access", "offer": offer.offer_id}], purpose="The report"
    )
    people("decide", id=asked.id, answer={"answer": "ask", "question": "What for?"})
    assert asking.approvals.wait_for(asked.id).question == "What for?"

    async def reply(question: str) -> str:
        return f"{question} The board."

    # They decide once it was answered.
    people("decide-when-answered", id=asked.id, answer={"answer": "deny", "reason": "No need."})
    with pytest.raises(ApprovalDenied) as denied:
        await asking.approvals.await_for(asked.id, on_question=reply)
    assert (denied.value.reason, denied.value.approval) == ("No need.", asked.id)
    assert "No need." not in str(denied.value)


def test_a_key_file_is_read_and_a_public_one_is_refused(tmp_path: Any) -> None:
    from conftest import asked

    jwk = asked["keys"]["agent-app"]
    (tmp_path / "desk-app.key.json").write_text(json.dumps(jwk))
    key = ClientKey.read(tmp_path / "desk-app.key.json")
    with Remit(url, token=Exchange(issuer=issuer, client_id="agent-app", key=key)) as remit:
        assert found(session(remit, "bob").retrieve(query="travel", collections=["handbook"])) == [
            "handbook/travel"
        ]
    with pytest.raises(TypeError):
        ClientKey({name: value for name, value in jwk.items() if name != "d"})
