"""scim2-client as it comes: it finds out what the server serves, then does what a directory does all day."""

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import BulkOperation, BulkRequest, PatchOp, PatchOperation, SearchRequest

from driven import asked, say

client = SyncSCIMClient(
    Client(base_url=asked["url"], headers={"Authorization": f"Bearer {asked['token']}"}, timeout=60)
)
client.discover()
User = client.get_resource_model("User")
Group = client.get_resource_model("Group")
say(shows="discovery", models=sorted([User.__name__, Group.__name__]))

anne = client.create(User(user_name="anne@acme.test", external_id="anne", active=True, display_name="Anne"))
bob = client.create(User(user_name="bob@acme.test", external_id="bob", active=True))
staff = client.create(Group(display_name="Staff", members=[Group.Members(value=anne.id)]))
say(shows="create", user=anne.user_name, members=len(staff.members), etag=bool(anne.meta.version))

found = client.query(User, query_parameters=SearchRequest(filter='userName sw "BOB"', count=1))
say(shows="filter", total=found.total_results, ids=[user.id == bob.id for user in found.resources])

add = PatchOp[Group](
    operations=[PatchOperation(op="add", path="members", value=[{"value": bob.id}])]
)
client.modify(Group, staff.id, add)
say(shows="patch", members=len(client.query(Group, staff.id).members))

anne.display_name = "Anne B."
say(shows="replace", name=client.replace(anne).display_name)

off = PatchOp[User](operations=[PatchOperation(op="replace", path="active", value=False)])
client.modify(User, bob.id, off)
say(shows="deactivate", members=len(client.query(Group, staff.id).members))

client.delete(Group, staff.id)
client.delete(User, anne.id)
say(shows="delete", left=client.query(User).total_results)
