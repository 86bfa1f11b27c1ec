"""A query engine of LlamaIndex on the retriever, end to end, with a model that says its prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import clients, cut_short, exchange, session, url
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import NullSpanHandler

from remit_client import NoPerson, Remit, Session, Unavailable, conversation
from remit_client.llama_index import RemitRetriever
from remit_client.requests import RetrieveRequest

retriever = RemitRetriever({"collections": ["diary", "notes"], "top_k": 5})
engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())


@pytest.fixture(scope="module")
def sessions() -> list[tuple[str, Session]]:
    return [
        (f"Travel of {person} with {agent}.", session(Remit(url, token=exchange(agent)), person, agent))
        for agent in clients
        for person in ("anne", "bob")
    ]


def test_an_engine_answers_from_what_the_person_may_read_and_names_its_sources(
    sessions: list[tuple[str, Session]],
) -> None:
    for who, one in sessions:
        with conversation(one):
            answer = engine.query("Where did they travel?")
        assert who in str(answer)
        assert [node.node.get_content() for node in answer.source_nodes] == [who]
        [node] = answer.source_nodes
        assert node.node.metadata["document_id"] == node.node.ref_doc_id
        assert node.node.metadata["scope_key"] not in str(answer)


async def test_one_engine_answers_many_at_once_each_from_their_own(
    sessions: list[tuple[str, Session]],
) -> None:
    async def ask(who: str, one: Session) -> tuple[str, str]:
        with conversation(one):
            await asyncio.sleep(0)
            answer = await engine.aquery("travel")
        return who, answer.source_nodes[0].node.get_content()

    answers = await asyncio.gather(*(ask(*sessions[index % len(sessions)]) for index in range(60)))
    assert [one for one in answers if one[0] != one[1]] == []


def test_outside_of_a_conversation_nobody_is_asked_for() -> None:
    with pytest.raises(NoPerson):
        engine.query("travel")


def test_an_answer_cut_short_before_anything_was_found_is_an_error_and_no_empty_list() -> None:
    with conversation(cut_short()):
        with pytest.raises(Unavailable) as raised:
            engine.query("travel")
        with pytest.raises(Unavailable):
            asyncio.run(retriever.aretrieve("travel"))
    assert (raised.value.txn, raised.value.retry_after) == ("t_1", 1)


def test_the_retriever_holds_nothing_of_anybody_and_keeps_its_question() -> None:
    for held in ({"token": "eyJ"}, {"approval": "g_1"}, {"query": "x"}):
        with pytest.raises(TypeError, match="retriever"):
            RemitRetriever(held)  # type: ignore[arg-type]
    question: RetrieveRequest = {"collections": ["diary"], "top_k": 5}
    one = RemitRetriever(question)
    question["collections"].append("notes")
    question["approval"] = "g_1"
    assert one._asked(QueryBundle("x")) == {"collections": ["diary"], "top_k": 5, "query": "x"}


class Events(BaseEventHandler):
    """Keeps what a tracer would send away."""

    seen: list[BaseEvent] = []  # noqa: RUF012

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)


class Spans(NullSpanHandler):
    """Keeps what each span gave."""

    results: list[Any] = []  # noqa: RUF012

    def span_exit(self, *_: Any, result: Any = None, **__: Any) -> None:
        self.results.append(result)


@pytest.fixture
def traced() -> Iterator[tuple[Events, Spans]]:
    dispatcher = get_dispatcher()
    events, spans = Events(), Spans()
    dispatcher.add_event_handler(events)
    dispatcher.add_span_handler(spans)
    yield events, spans
    dispatcher.event_handlers.remove(events)
    dispatcher.span_handlers.remove(spans)


async def test_events_and_spans_of_the_retriever_hold_ids_and_no_text(
    sessions: list[tuple[str, Session]], traced: tuple[Events, Spans]
) -> None:
    events, spans = traced
    who, anne = sessions[0]
    with conversation(anne):
        nodes = [*retriever.retrieve("travel"), *await retriever.aretrieve("travel")]
    assert [node.node.get_content() for node in nodes] == [who, who]
    assert len(events.seen) >= 4
    assert len(spans.results) >= 3
    assert nodes[0].node.node_id in repr(spans.results)
    assert who not in repr((events.seen, spans.results))
