"""LangChain's adapters as they come, on MCP's SDK 1.x, whose provider signs in: what an agent is given of each tool call."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

from driven import asked, say, wait
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

redirect = "http://127.0.0.1:49152/callback"
client_of_ours = {"redirect_uris": [redirect], "token_endpoint_auth_method": "none"}


class Storage:
    """In memory; the client is one that was registered."""

    tokens = None
    client = OAuthClientInformationFull(client_id=asked["client_id"], **client_of_ours)

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    came_back = None

    async def open(self, page):
        self.came_back = parse_qs(urlsplit(await asyncio.to_thread(wait, open=page)).query)

    async def answer(self):
        return self.came_back["code"][0], self.came_back["state"][0]


async def main():
    browser = Browser()
    metadata = OAuthClientMetadata(client_name="LangChain", **client_of_ours)
    auth = OAuthClientProvider(asked["url"], metadata, Storage(), browser.open, browser.answer)
    client = MultiServerMCPClient({"remit": {"transport": "http", "url": asked["url"], "auth": auth}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    say(shows="sign-in", tools=sorted(tools))

    async def call(shows, name, **arguments):
        """As an agent calls a tool; its answer is what the model would read."""
        message = await tools[name].ainvoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})
        [block] = message.content
        read = json.loads(block["text"])
        say(shows=shows, called=name, status=message.status, result=read)
        return read

    await call("retrieve", "read_document", id=asked["document"])
    await call("approval", "read_document", id=asked["sensitive"])
    offer = (await call("retrieve", "retrieve", query=asked["query"]))["approval"]["offer_id"]
    pending = await call(
        "approval",
        "request_approval",
        authorization_details=[{"type": "document_access", "offer": offer}],
        purpose="The report",
    )
    await asyncio.to_thread(wait, decide=pending["url"])
    grant = (await call("approval", "request_approval", id=pending["id"]))["grant_id"]
    await call("approval", "retrieve", query=asked["query"], approval=grant)


asyncio.run(main())
