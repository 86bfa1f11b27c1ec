"""LangChain's own tests of a retriever, against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import exchange, session, url
from langchain_tests.integration_tests import RetrieversIntegrationTests

from remit_client import Remit
from remit_client.conversation import _current
from remit_client.langchain import RemitRetriever


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
