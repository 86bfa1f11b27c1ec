"""Two people and two agents in one process, on one chain: whose answer each call got, told by the service."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import clients, exchange, session, url
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda

from remit_client import (
    NoPerson,
    Remit,
    Session,
    TokenCache,
    Unavailable,
    WrongPerson,
    conversation,
    current_session,
)
from remit_client.langchain import RemitRetriever, for_person

calls = 1_000


def texts_of(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


# Each person lent each agent one diary: exactly one document says who asked through whom.
retriever = RemitRetriever(collections=["diary", "notes"])
chain: Runnable[str, list[str]] = retriever | RunnableLambda(texts_of)


@pytest.fixture(scope="module")
def sessions() -> list[tuple[str, Session]]:
    cache = TokenCache()
    remits = {agent: Remit(url, token=exchange(agent, cache=cache)) for agent in clients}
    return [
        (f"Travel of {person} with {agent}.", session(remit, person, agent))
        for agent, remit in remits.items()
        for person in ("anne", "bob")
    ]


def test_no_call_of_two_people_on_one_chain_crosses_over(sessions: list[tuple[str, Session]]) -> None:
    def by_config(one: Session) -> list[str]:
        return chain.invoke("travel", for_person(one))

    def by_conversation(one: Session) -> list[str]:
        with conversation(one):
            return chain.invoke("travel")

    # A service that is asked more than it can answer in time refuses, and is asked again.
    def answered(ask: Callable[[Session], list[str]], one: Session) -> list[str]:
        while True:
            try:
                return ask(one)
            except Unavailable:
                time.sleep(0.1)

    async def awaited(one: Session) -> list[str]:
        return await chain.ainvoke("travel", for_person(one))

    async def awaited_in_conversation(one: Session) -> list[str]:
        with conversation(one):
            await asyncio.sleep(0)
            return await chain.ainvoke("travel")

    made = [sessions[index % len(sessions)] for index in range(calls)]
    random.Random(20_261_129).shuffle(made)  # noqa: S311
    half, rest = made[: calls // 2], made[calls // 2 :]
    with ThreadPoolExecutor(16) as pool:
        ways = [by_config, by_conversation]
        blocking = list(pool.map(lambda one: answered(ways[one[0] % 2], one[1][1]), enumerate(half)))

    async def together() -> list[list[str]]:
        limit = asyncio.Semaphore(32)
        ways = [awaited, awaited_in_conversation]

        async def one(index: int, asking: Session) -> list[str]:
            async with limit:
                while True:
                    try:
                        return await ways[index % 2](asking)
                    except Unavailable:
                        await asyncio.sleep(0.1)

        return await asyncio.gather(*(one(index, asking) for index, (_, asking) in enumerate(rest)))

    got = [*blocking, *asyncio.run(together())]
    assert len(got) == calls
    assert [(who, texts) for (who, _), texts in zip(half + rest, got, strict=True) if texts != [who]] == []


def test_a_batch_is_for_the_person_of_each_config(sessions: list[tuple[str, Session]]) -> None:
    configs = [for_person(one) for _, one in sessions]
    assert chain.batch(["travel"] * len(sessions), configs) == [[who] for who, _ in sessions]


def test_without_a_person_nothing_is_asked_and_with_two_neither(sessions: list[tuple[str, Session]]) -> None:
    (_, anne), (_, bob), *_ = sessions
    with pytest.raises(NoPerson):
        chain.invoke("travel")
    with pytest.raises(NoPerson):
        chain.invoke("travel", {"configurable": {"remit_session": "a token"}})
    with conversation(bob), pytest.raises(WrongPerson):
        chain.invoke("travel", for_person(anne))
    # A thread that somebody starts by hand has no conversation.
    with ThreadPoolExecutor(1) as pool, conversation(anne), pytest.raises(NoPerson):
        pool.submit(chain.invoke, "travel").result()


def test_the_retriever_refuses_to_hold_a_person_or_a_token(sessions: list[tuple[str, Session]]) -> None:
    _, anne = sessions[0]
    for held in ({"session": anne}, {"token": "eyJ"}, {"remit_session": anne}):
        with pytest.raises(ValueError):
            RemitRetriever(**held)
    with pytest.raises(TypeError, match="each call"):
        retriever.with_config(for_person(anne))
    with pytest.raises(TypeError, match="each call"):
        retriever.with_config(configurable={"remit_session": anne})
    assert retriever.with_config({"tags": ["a"]}) is not None
    with pytest.raises(ValueError):
        retriever.k = 3
    with pytest.raises(AttributeError):
        anne.subject = "bob"  # type: ignore[misc]


class Tracer(BaseCallbackHandler):
    """Keeps what a tracer of the retriever would send away."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.ended: list[Document] = []

    def on_retriever_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append((args, kwargs))

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.seen.append((documents, kwargs))
        self.ended += documents


async def test_tracing_of_the_retriever_gets_ids_and_no_text(sessions: list[tuple[str, Session]]) -> None:
    who, anne = sessions[0]
    tracer = Tracer()
    for documents in (
        retriever.invoke("travel", {**for_person(anne), "callbacks": [tracer]}),
        await retriever.ainvoke("travel", {**for_person(anne), "callbacks": [tracer]}),
    ):
        assert [document.page_content for document in documents] == [who]
        assert documents[0].metadata["scope_key"]
    assert [set(document.metadata) for document in tracer.ended] == [{"document_id", "rank", "txn"}] * 2
    assert who not in repr(tracer.seen)
    assert "eyJ" not in repr(tracer.seen)


def test_a_conversation_is_not_opened_in_a_generator_nor_in_somebody_elses(
    sessions: list[tuple[str, Session]],
) -> None:
    (_, anne), (_, bob), *_ = sessions

    def answers(one: Session) -> Iterator[list[str]]:
        with conversation(one):
            yield chain.invoke("travel")
            yield chain.invoke("travel")

    async def awaited(one: Session) -> AsyncIterator[list[str]]:
        with conversation(one):
            yield await chain.ainvoke("travel")

    def by_stack(one: Session) -> Iterator[list[str]]:
        with ExitStack() as stack:
            stack.enter_context(conversation(one))
            yield chain.invoke("travel")

    for suspended in (answers(anne), by_stack(anne)):
        with pytest.raises(TypeError, match="for_person"):
            next(suspended)
    with pytest.raises(TypeError, match="for_person"):
        asyncio.run(anext(awaited(anne)))  # type: ignore[arg-type]
    with pytest.raises(NoPerson):
        current_session()
    with conversation(anne), pytest.raises(WrongPerson), conversation(bob):
        pass
    with conversation(anne), conversation(anne):
        assert current_session() is anne
    with pytest.raises(NoPerson):
        current_session()


async def test_streams_of_two_people_that_take_turns_do_not_cross(
    sessions: list[tuple[str, Session]],
) -> None:
    (annes, anne), (bobs, bob), *_ = sessions

    def answers(one: Session) -> Iterator[list[str]]:
        for _ in range(3):
            yield from chain.stream("travel", for_person(one))

    async def awaited(one: Session) -> AsyncIterator[list[str]]:
        for _ in range(3):
            async for answer in chain.astream("travel", for_person(one)):
                yield answer

    taking_turns = zip(answers(anne), answers(bob), strict=True)
    assert list(taking_turns) == [([annes], [bobs])] * 3
    first, second = awaited(anne), awaited(bob)
    assert [(await anext(first), await anext(second)) for _ in range(3)] == [([annes], [bobs])] * 3


def test_the_chain_of_the_readme_answers_with_an_ordinary_prompt(sessions: list[tuple[str, Session]]) -> None:
    readme = Path("README.md").read_text("utf-8")
    [block] = [
        part for part in re.findall(r"```python\n(.*?)```", readme, re.S) if "remit_client.langchain" in part
    ]
    who, anne = sessions[0]
    says_its_prompt = RunnableLambda(lambda prompt: prompt.to_string())
    names: dict[str, Any] = {"model": says_its_prompt, "session": anne}
    exec(block, names)  # noqa: S102
    said = names["chain"].invoke("Where did they travel?", for_person(anne))
    assert who in said
    assert "Where did they travel?" in said
