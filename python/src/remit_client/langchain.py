"""A retriever for LangChain: ``pip install 'remit-client[langchain]'``."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict

from ._found import found
from .conversation import _current, current_session
from .errors import NoPerson, WrongPerson
from .models import Passage, RetrieveAnswer
from .requests import RetrieveRequest
from .session import Session

_member = "remit_session"


def for_person(session: Session) -> RunnableConfig:
    """The config of one call: ``chain.invoke(question, for_person(session))``."""
    return {"configurable": {_member: session}}


class RemitRetriever(BaseRetriever):
    """Passages that the person of each call may read. One retriever, one chain, for everybody.

    It holds no person, and refuses to: the session comes with each call, by ``for_person(session)``, or by
    ``conversation(session)`` around it. With neither it raises NoPerson; with two people, WrongPerson.

    What tracing and callbacks see of its result are ids, ranks and ``txn``, no text. A document's
    ``metadata`` has ``scope_key``: whatever you cache of an answer, keep it under that. An answer that was
    cut short before anything was found raises Unavailable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = 10
    """Passages at most, 1 to 100. ``invoke(query, config, k=3)`` says otherwise for one call."""
    mode: Literal["hybrid", "vector", "keyword"] | None = None
    collections: list[str] | None = None
    filter: dict[str, Any] | None = None
    """As it is sent: ``docs/filters.md``."""

    def with_config(
        self, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Runnable[str, list[Document]]:
        """As of any runnable, but for a person: that would make their retriever of everybody's."""
        if any(_member in (one.get("configurable") or {}) for one in (config or {}, kwargs)):
            raise TypeError("A session is given with each call, not kept in a retriever.")
        return super().with_config(config, **kwargs)

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Documents for the person of this call, best first."""
        found: list[Document] = []
        super().invoke(input, config, **kwargs, _session=_session_of(config), _found=found)
        return found

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """As ``invoke``."""
        found: list[Document] = []
        await super().ainvoke(input, config, **kwargs, _session=_session_of(config), _found=found)
        return found

    def _get_relevant_documents(  # type: ignore[override]  # `invoke` above always gives the two
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        _session: Session,
        _found: list[Document],
    ) -> list[Document]:
        answer = _session.retrieve(**self._question(query, k))
        _found += _documents(answer)
        return _traced(answer)

    async def _aget_relevant_documents(  # type: ignore[override]  # as above
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        _session: Session,
        _found: list[Document],
    ) -> list[Document]:
        answer = await _session.aretrieve(**self._question(query, k))
        _found += _documents(answer)
        return _traced(answer)

    def _question(self, query: str, k: int | None) -> RetrieveRequest:
        question: RetrieveRequest = {"query": query, "top_k": self.k if k is None else k}
        if self.mode is not None:
            question["mode"] = self.mode
        if self.collections is not None:
            question["collections"] = self.collections
        if self.filter is not None:
            question["filter"] = self.filter
        return question


def _session_of(config: RunnableConfig | None) -> Session:
    given = ensure_config(config).get("configurable", {}).get(_member)
    if given is None:
        return current_session()
    if not isinstance(given, Session):
        raise NoPerson(message="What the config names is no session.", code="no_person")
    around = _current.get()
    if around is not None and around.subject != given.subject:
        raise WrongPerson(message="The conversation around is somebody else's.", code="wrong_person")
    return given


def _documents(answer: RetrieveAnswer) -> list[Document]:
    return [
        Document(
            id=passage.chunk_id,
            page_content=passage.text,
            metadata={
                **passage.model_dump(exclude={"text", "chunk_id"}),
                "complete": answer.complete,
                "scope_key": answer.scope_key,
                "txn": answer.txn,
            },
        )
        for passage in found(answer)
    ]


def _traced(answer: RetrieveAnswer) -> list[Document]:
    def of(passage: Passage) -> Document:
        about = {"document_id": passage.document_id, "rank": passage.rank, "txn": answer.txn}
        return Document(id=passage.chunk_id, page_content="", metadata=about)

    return [of(passage) for passage in answer.results]
