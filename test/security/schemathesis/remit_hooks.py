"""What Schemathesis has to know of this service: who calls, and what all its answers owe.

It comes in SCHEMATHESIS_WORLD: who each operation is for, and ids of hidden objects. The headers of the callers are in
callers.json, which is written anew before their tokens expire.
"""

import atexit
import collections
import json
import os
import re
import zlib

import requests
import schemathesis

WORLD = json.loads(os.environ["SCHEMATHESIS_WORLD"])
CALLERS = ("nobody", "forged", "browser", "person", "administrator", "agent", "service")
SESSION = requests.Session()
KNOWN_BY_NOBODY = ("nobody", "forged")


SEEN = collections.Counter()


@atexit.register
def say_what_was_seen():
    with open("seen.json", "w") as file:
        json.dump(SEEN, file)


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return "\n".join(json.dumps(line) for line in value) if isinstance(value, list) else json.dumps(value)


def operation_of(case):
    return f"{case.method.lower()} {case.path}"


def caller_of(case):
    """Half of the cases come from whom the operation is for; the case alone decides, so that it can be repeated."""
    parts = (case.method, case.path, case.path_parameters, case.query, case.body, WORLD["seed"])
    drawn = zlib.crc32(repr(parts).encode("utf-8", "surrogatepass"))
    right = WORLD["callersOf"].get(operation_of(case), CALLERS)
    among = right if drawn % 2 == 0 else CALLERS
    return among[drawn // 2 % len(among)]


@schemathesis.hook
def before_call(context, case, **kwargs):
    case.headers = {
        name: value
        for name, value in (case.headers or {}).items()
        if name.lower() not in ("authorization", "cookie", "origin", "x-csrf-token")
    }
    case.cookies = {}
    with open("callers.json") as file:
        case.headers.update(json.load(file)[caller_of(case)])


@schemathesis.hook
def after_call(context, case, response):
    SEEN[str(response.status_code)] += 1
    if 200 <= response.status_code < 300:
        SEEN[f"{caller_of(case)} 2xx"] += 1


@schemathesis.check
def errors_are_problems(ctx, response, case):
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == ["application/problem+json"], response.headers["content-type"]
    if case.method.upper() == "HEAD":
        return
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["code"] in WORLD["codes"], problem
    assert not re.search(r"node_modules|\.ts:\d|\bat \S+ \(", response.text), response.text


@schemathesis.check
def only_503_of_the_server(ctx, response, case):
    assert response.status_code < 500 or response.status_code == 503, response.text


@schemathesis.check
def strangers_are_refused(ctx, response, case):
    if caller_of(case) in KNOWN_BY_NOBODY and operation_of(case) not in WORLD["public"]:
        assert response.status_code >= 400, response.status_code


@schemathesis.check
def hidden_is_as_missing(ctx, response, case):
    """The same request again, for an object that is hidden from its caller and for one that never was."""
    hidden = WORLD["hidden"].get(case.path)
    if hidden is None or caller_of(case) not in hidden["from"]:
        return
    SEEN["hidden beside missing"] += 1
    answers = [again(response, case, name) for name in (hidden["id"], hidden["missing"])]
    assert answers[0] == answers[1], answers


def again(response, case, name):
    request = response.request.copy()
    start, end = (re.escape(part) for part in case.path.split("{id}"))
    sent = re.sub(f"{start}[^/?#]*{end}", lambda _: case.path.replace("{id}", name), request.url, count=1)
    request.url = sent
    answer = SESSION.send(request, allow_redirects=False)
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("date", "x-request-id", "traceparent")}
    text = re.sub(r'"(txn|instance|request_id)":"[^"]*"', "", answer.text)
    return answer.status_code, text.replace(name, "ID"), sorted(headers)
