"""Remit as a retriever of LangChain: one chain for everybody, and the person comes with each call.

With the demo running, in a clone:

    TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
        python python/examples/langchain_chain.py "What did the March recall cost?"
"""

import os
import sys

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from remit_client import Remit, StaticToken
from remit_client.langchain import RemitRetriever, for_person

url = os.environ.get("PUBLIC_URL", "http://localhost:8787")
person = os.environ.get("PERSON", "anne")
question = sys.argv[1] if len(sys.argv) > 1 else "What did the March recall cost?"


def answer(documents: list[Document]) -> str:
    """Stands for a prompt and a model."""
    if not documents:
        return "According to nothing that you may read."
    about = documents[0].metadata
    return f"According to {about['document_id']} ({about['title']})."


# Made once, for everybody.
remit = Remit(url, token=StaticToken(person, os.environ["TOKEN"]))
chain = RemitRetriever(k=3) | RunnableLambda(answer)

print(chain.invoke(question, for_person(remit.session(person))))
