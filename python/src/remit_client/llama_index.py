"""A retriever for LlamaIndex: ``pip install 'remit-client[llama-index]'``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    QueryType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from ._found import found
from .conversation import current_session
from .models import Passage, RetrieveAnswer
from .requests import RetrieveRequest

_found: ContextVar[dict[str, NodeWithScore]] = ContextVar("remit_found")
# An approval is somebody's, and the words come with each call.
_members = {"top_k", "mode", "collections", "filter", "consistency"}
# For the program, not for a model.
_aside = ["document_id", "collection", "rank", "complete", "scope_key", "txn"]

Method = TypeVar("Method", bound=Callable[..., Any])


def _unspanned(method: Method) -> Method:
    """No span around it, which would hold the text: inside, the method of the base class makes one."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


class RemitRetriever(BaseRetriever):
    """Passages that the person of the conversation may read. One retriever, one query engine, for everybody.

    It holds no person: wrap each query in ``with conversation(session):``; outside of one it raises
    NoPerson. ``question`` is what to ask beside the words: ``RemitRetriever({"top_k": 5})``.

    What the retriever's own events and spans hold are ids, ranks and ``txn``, no text. The steps after it
    (prompts, answers) are the framework's to trace. Nodes have no score: they come best first. An answer that
    was cut short before anything was found raises Unavailable.
    """

    def __init__(
        self, question: RetrieveRequest | None = None, *, callback_manager: CallbackManager | None = None
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        given: RetrieveRequest = {} if question is None else question
        if others := sorted(set(given) - _members):
            raise TypeError(f"A retriever, which is everybody's, holds no {', '.join(others)}.")
        # A copy: what the caller changes later would be everybody's.
        self._question = deepcopy(given)

    @_unspanned
    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Nodes for the person of this conversation, best first."""
        found: dict[str, NodeWithScore] = {}
        token = _found.set(found)
        try:
            return _whole(super().retrieve(str_or_query_bundle), found)
        finally:
            _found.reset(token)

    @_unspanned
    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """As ``retrieve``."""
        found: dict[str, NodeWithScore] = {}
        token = _found.set(found)
        try:
            return _whole(await super().aretrieve(str_or_query_bundle), found)
        finally:
            _found.reset(token)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _kept(current_session().retrieve(**self._asked(query_bundle)))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _kept(await current_session().aretrieve(**self._asked(query_bundle)))

    def _asked(self, query_bundle: QueryBundle) -> RetrieveRequest:
        return {**self._question, "query": query_bundle.query_str}


def _kept(answer: RetrieveAnswer) -> list[NodeWithScore]:
    """Keeps the nodes for ``retrieve``, and gives what may be traced of them."""
    _found.get().update({passage.chunk_id: _node(passage, answer) for passage in found(answer)})
    return [_traced(passage, answer) for passage in answer.results]


def _whole(traced: list[NodeWithScore], found: dict[str, NodeWithScore]) -> list[NodeWithScore]:
    return [found[one.node.node_id] for one in traced]


def _node(passage: Passage, answer: RetrieveAnswer) -> NodeWithScore:
    about = {name: getattr(passage, name) for name in ("document_id", "collection", "title", "uri", "rank")}
    node = TextNode(
        id_=passage.chunk_id,
        text=passage.text,
        metadata={**about, "complete": answer.complete, "scope_key": answer.scope_key, "txn": answer.txn},
        excluded_llm_metadata_keys=_aside,
        excluded_embed_metadata_keys=_aside,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.document_id)},
    )
    return NodeWithScore(node=node)


def _traced(passage: Passage, answer: RetrieveAnswer) -> NodeWithScore:
    about = {"document_id": passage.document_id, "rank": passage.rank, "txn": answer.txn}
    return NodeWithScore(node=TextNode(id_=passage.chunk_id, text="", metadata=about))
