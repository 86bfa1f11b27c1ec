"""Remit in a query engine of LlamaIndex: one engine for everybody, each query in somebody's conversation.

With the demo running, in a clone:

    TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
        python python/examples/llama_index_engine.py "What did the March recall cost?"
"""

import os
import sys

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from remit_client import Remit, StaticToken, conversation
from remit_client.llama_index import RemitRetriever

url = os.environ.get("PUBLIC_URL", "http://localhost:8787")
person = os.environ.get("PERSON", "anne")
question = sys.argv[1] if len(sys.argv) > 1 else "What did the March recall cost?"

# Made once, for everybody. The model only repeats what it is given: put one of yours in its place.
remit = Remit(url, token=StaticToken(person, os.environ["TOKEN"]))
engine = RetrieverQueryEngine.from_args(RemitRetriever({"top_k": 3}), llm=MockLLM())

with conversation(remit.session(person)):
    found = engine.query(question)
for node in found.source_nodes:
    print(f"{node.node.metadata['document_id']}: {node.node.get_content()}")
