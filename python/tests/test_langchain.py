"""LangChain's own tests of a retriever, against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import cut_short, exchange, session, url
from langchain_tests.integration_tests import RetrieversIntegrationTests

from remit_client import Remit, Unavailable
from remit_client.conversation import _current
from remit_client.langchain import RemitRetriever, for_person


class TestRemitRetriever(RetrieversIntegrationTests):
    """For anne, who is whom the whole module talks with."""

    @pytest.fixture(autouse=True)
    def with_anne(self) -> Iterator[None]:
        remit = Remit(url, token=exchange())
        token = _current.set(session(remit, "anne"))
        yield
        _current.reset(token)

    @property
    def retriever_constructor(self) -> type[RemitRetriever]:
        return RemitRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"k": 2}

    @property
    def retriever_query_example(self) -> str:
        return "travel"


def test_an_answer_cut_short_before_anything_was_found_is_an_error_and_no_empty_list() -> None:
    with pytest.raises(Unavailable) as raised:
        RemitRetriever().invoke("travel", for_person(cut_short()))
    assert (raised.value.txn, raised.value.retry_after) == ("t_1", 1)


async def test_so_it_is_when_awaited() -> None:
    with pytest.raises(Unavailable):
        await RemitRetriever().ainvoke("travel", for_person(cut_short()))
