"""FastMCP's client as it comes: it finds out how to sign in, opens the browser, and listens on localhost itself."""

import asyncio

from driven import asked, say, wait
from fastmcp import Client
from fastmcp.client.auth import OAuth


async def main():
    auth = OAuth(client_id=asked["client_id"])
    async with Client(asked["url"], auth=auth) as client:
        say(shows="sign-in", tools=sorted(tool.name for tool in await client.list_tools()))

        async def call(shows, name, **arguments):
            result = await client.call_tool(name, arguments, raise_on_error=False)
            content = result.structured_content or result.content[0].text
            say(shows=shows, called=name, error=result.is_error, result=content)
            return content

        found = await call("retrieve", "retrieve", query=asked["query"])
        await call("retrieve", "read_document", id=asked["document"])
        await call("retrieve", "read_document", id="handbook/nothing")
        offer = found["approval"]["offer_id"]
        pending = await call(
            "approval",
            "request_approval",
            authorization_details=[{"type": "document_access", "offer": offer}],
            purpose="The report",
        )
        await asyncio.to_thread(wait, decide=pending["id"])
        approved = await call("approval", "request_approval", id=pending["id"])
        await call("approval", "retrieve", query=asked["query"], approval=approved["grant_id"])


asyncio.run(main())
