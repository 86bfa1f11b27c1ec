"""The Python SDK's client as a program uses it, driven by a test: says on stdout, one JSON line each, what it would show its
person, and takes from stdin where their browser came back to."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata
from mcp_types import ElicitResult

url, issuer, query = sys.argv[1:]
redirect = "http://127.0.0.1:49152/callback"


def say(**said):
    print(json.dumps(said), flush=True)


async def heard():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


class Storage:
    """In memory; the client is one that was registered."""

    tokens = None
    client = OAuthClientInformationFull(
        client_id="public-agent", redirect_uris=[redirect], token_endpoint_auth_method="none", issuer=issuer
    )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def send_to(page):
    say(open=page)


async def back():
    given = parse_qs(urlsplit(await heard()).query)
    return AuthorizationCodeResult(code=given["code"][0], state=given["state"][0], iss=given["iss"][0])


async def elicit(_, params):
    say(decide=params.url)
    await heard()
    return ElicitResult(action="accept")


async def main():
    metadata = OAuthClientMetadata(
        client_name="Python", redirect_uris=[redirect], token_endpoint_auth_method="none"
    )
    auth = OAuthClientProvider(url, metadata, Storage(), send_to, back)
    async with httpx2.AsyncClient(auth=auth) as http:
        async with Client(streamable_http_client(url, http_client=http), elicitation_callback=elicit) as client:
            say(revision=client.protocol_version, tools=sorted(tool.name for tool in (await client.list_tools()).tools))

            async def call(name, **arguments):
                result = await client.call_tool(name, arguments)
                say(called=name, error=result.is_error, result=result.structured_content or result.content[0].text)
                return result.structured_content or {}

            await call("retrieve", query=query)
            await call("read_document", id="handbook/travel")
            await call("request_approval", id="ap_none")
            found = await call("retrieve", query=query)
            asked = await call(
                "request_approval",
                authorization_details=[{"type": "document_access", "offer": found["approval"]["offer_id"]}],
                purpose="The report",
            )
            await call("retrieve", query=query, approval=asked["grant_id"])


asyncio.run(main())
