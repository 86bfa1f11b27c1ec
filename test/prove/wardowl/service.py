"""wardowl's HTTP service over pgvector and OpenFGA, and two routes by which a test writes chunks.

With `dim` and `fill` it searches by vectors of that many numbers, in a table that the statement fills; else by words.

Reads its settings from the environment, since one of them is a password; says its port once it listens.
"""

import json
import os
import socket

import uvicorn
from psycopg_pool import ConnectionPool
from wardowl import Document, PermissionedRetriever, Subject
from wardowl.authorizers.openfga import OpenFGAAuthorizer
from wardowl.backends.pgvector import PgVectorBackend, create_schema
from wardowl.caching import CachingAuthorizer
from wardowl.server import InvalidToken, create_app

settings = json.loads(os.environ["WARDOWL"])

pool = ConnectionPool(settings["database"], max_size=8, open=True)
if "dim" in settings:
    # As its documents say, but the index is built once the rows are there: row by row it takes many times as long.
    create_schema(pool, dim=settings["dim"], hnsw=False)
    with pool.connection() as connection:
        connection.execute(settings["fill"])
    create_schema(pool, dim=settings["dim"])
    with pool.connection() as connection:
        connection.execute("analyze wardowl_chunks")
    backend = PgVectorBackend(pool, **settings.get("backend", {}))
else:
    create_schema(pool, dim=1, hnsw=False, text_search="simple")
    backend = PgVectorBackend(pool, mode="keyword", text_search="simple")

authorizer = OpenFGAAuthorizer(settings["openfga"], settings["store"], **settings.get("authorizer", {}))
if "cached" in settings:
    authorizer = CachingAuthorizer(authorizer, ttl=settings["cached"])
retriever = PermissionedRetriever(backend, authorizer, **settings.get("retriever", {}))


def authenticate(token: str) -> Subject:
    if "people" not in settings:
        return Subject(token)
    if token not in settings["people"]:
        raise InvalidToken("nobody's")
    return Subject(settings["people"][token])


app = create_app(retriever, authenticate)


@app.put("/documents/{doc_id}")
def put(doc_id: str, body: dict) -> None:
    # Its table wants a vector of every chunk; no question has one.
    backend.add([Document(doc_id, body["text"], {"doc_id": doc_id})], embeddings=[[1.0]])


@app.delete("/documents/{doc_id}")
def remove(doc_id: str) -> None:
    backend.delete([doc_id])


listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
