"""scim2-tester as it comes: every check that it has, against what /Schemas says of this server."""

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

from driven import asked, say

client = Client(base_url=asked["url"], headers={"Authorization": f"Bearer {asked['token']}"}, timeout=60)
for result in check_server(SyncSCIMClient(client)):
    say(check=result.title, of=result.resource_type, status=result.status.name, reason=result.reason)
