"""Authlib as a confidential client uses it, and as a public one on a device: each step says what came of it."""

from urllib.parse import parse_qsl, urlsplit

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from driven import asked, say, wait
from joserfc import jwt
from joserfc.jwk import KeySet

server = requests.get(asked["issuer"] + "/.well-known/openid-configuration", timeout=60).json()
token_endpoint = server["token_endpoint"]
exchange_grant = "urn:ietf:params:oauth:grant-type:token-exchange"
device_grant = "urn:ietf:params:oauth:grant-type:device_code"
access_token_type = "urn:ietf:params:oauth:token-type:access_token"

session = OAuth2Session(
    "authlib-app",
    asked["key"],
    scope="openid docs.search docs.read approvals.request",
    redirect_uri=asked["redirect_uri"],
    token_endpoint_auth_method=PrivateKeyJWT(token_endpoint),
    revocation_endpoint_auth_method=PrivateKeyJWT(token_endpoint),
    code_challenge_method="S256",
    default_timeout=60,
)


def found(**more):
    """The documents that a question finds, or the status of its refusal."""
    answer = session.post(asked["url"] + "/retrieve", json={"query": asked["query"], **more})
    if answer.status_code != 200:
        return answer.status_code
    return sorted(result["document_id"] for result in answer.json()["results"])


def refusal(step):
    try:
        return step() and "it worked"
    except OAuthError as error:
        return error.error


# The authorization request, pushed (RFC 9126): the library makes its URL, and its parameters go to the server first.
verifier = "v" * 43
url, state = session.create_authorization_url(
    server["authorization_endpoint"], code_verifier=verifier, nonce="n-1", resource=asked["url"]
)
pushed = requests.post(
    server["pushed_authorization_request_endpoint"],
    data=dict(parse_qsl(urlsplit(url).query)),
    auth=session.client_auth(session.token_endpoint_auth_method),
    timeout=60,
).json()
back = wait(open=f"{server['authorization_endpoint']}?client_id=authlib-app&request_uri={pushed['request_uri']}")
token = session.fetch_token(token_endpoint, authorization_response=back, state=state, code_verifier=verifier)

# As the library does it for its web frameworks: RS256, where nothing else was said.
keys = KeySet.import_key_set(requests.get(server["jwks_uri"], timeout=60).json())
decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
claims = CodeIDToken(
    decoded.claims,
    decoded.header,
    {"iss": {"value": asked["issuer"]}, "aud": {"value": "authlib-app"}},
    {"nonce": "n-1", "client_id": "authlib-app", "access_token": token["access_token"]},
)
claims.validate()
say(shows="sign-in, PAR by hand, ID token", signed_in=claims["sub"], scope=token["scope"], algorithm=decoded.header["alg"])
say(shows="retrieve", found=found())

# An offer, asked for and agreed to.
offer = session.post(asked["url"] + "/retrieve", json={"query": asked["query"]}).json()["approval"]["offer_id"]
approval = session.post(
    asked["url"] + "/approvals",
    json={"authorization_details": [{"type": "document_access", "offer": offer}], "purpose": "The report"},
).json()
wait(decide=approval["id"])
grant = session.get(f"{asked['url']}/approvals/{approval['id']}").json()["grant_id"]
say(shows="approval", found=found(approval=grant))

token = session.refresh_token(token_endpoint)
say(shows="refresh", scope=token["scope"], found=found())


def introspected():
    return session.introspect_token(server["introspection_endpoint"], token=token["access_token"]).json()


say(shows="introspection", introspected={name: introspected().get(name) for name in ["active", "sub", "client_id"]})

# Revocation, which has to be felt.
session.revoke_token(server["revocation_endpoint"], token["access_token"], "access_token")
say(shows="revocation", found=found(), introspected=introspected())
session.revoke_token(server["revocation_endpoint"], token["refresh_token"], "refresh_token")
say(shows="revocation", refused=refusal(lambda: session.refresh_token(token_endpoint, token["refresh_token"])))

# A person's own program on a device hands the agent a token that is for it; the agent exchanges it for the API.
device = OAuth2Session("cli-app", token_endpoint_auth_method="none", default_timeout=60)
begun = device.post(
    server["device_authorization_endpoint"],
    data={"client_id": "cli-app", "scope": "docs.search", "resource": asked["agent"]},
    withhold_token=True,
).json()
wait(device=begun["verification_uri"], code=begun["user_code"])
handed = device.fetch_token(token_endpoint, grant_type=device_grant, device_code=begun["device_code"])["access_token"]
session.token = session.fetch_token(
    token_endpoint,
    grant_type=exchange_grant,
    subject_token=handed,
    subject_token_type=access_token_type,
    scope="docs.search",
    resource=asked["url"],
)
say(shows="device by hand, exchange", exchanged=session.token["issued_token_type"], found=found())
