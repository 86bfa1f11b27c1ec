"""Keys of an agent's program: one that it proves itself with, one that its tokens are bound to."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2 as httpx
from joserfc import jws, jwt
from joserfc.jwk import ECKey, JWKRegistry, OKPKey

_assertion_type: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_assertion_seconds: Final = 60
_origins_max: Final = 100


class ClientKey:
    """The private key of the agent's client at the issuer (``private_key_jwt``, RFC 7523).

    ``jwk`` is a private JWK with its ``alg`` and ``kid``, as ``remit client key-pair`` writes one.
    """

    def __init__(self, jwk: dict[str, Any]) -> None:
        self._key = JWKRegistry.import_key(jwk)
        if not self._key.is_private:
            raise TypeError("A client proves itself with a private key.")
        self._header = {"alg": jwk.get("alg", "ES256"), **({"kid": jwk["kid"]} if "kid" in jwk else {})}

    @classmethod
    def read(cls, path: str | PathLike[str]) -> ClientKey:
        """The key in a file that holds one JWK."""
        return cls(json.loads(Path(path).read_text("utf-8")))

    def proof(self, client_id: str, issuer: str) -> dict[str, str]:
        """Form members that prove the client, good once and for a minute."""
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            # The issuer, not an endpoint: an assertion that another server asked for is worth nothing here.
            "aud": issuer,
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + _assertion_seconds,
        }
        assertion = jwt.encode(self._header, claims, self._key, algorithms=[self._header["alg"]])
        return {"client_assertion": assertion, "client_assertion_type": _assertion_type}


class ProofKey:
    """The key that an agent's tokens are bound to (DPoP, RFC 9449): ``ProofKey.generate()``.

    A token that is stolen without it is worth nothing. Keeps the nonces that servers ask for.
    """

    def __init__(self, key: ECKey | OKPKey) -> None:
        if not key.is_private:
            raise TypeError("A proof is made with a private key.")
        self._key = key
        self._public = key.as_dict(private=False)
        self._alg = "ES256" if isinstance(key, ECKey) else "Ed25519"
        self._nonces: dict[str, str] = {}
        self.thumbprint: Final = key.thumbprint()
        """Of the public half (RFC 7638)."""

    @classmethod
    def generate(cls) -> ProofKey:
        """A new ES256 key, in the memory of this process alone."""
        return cls(ECKey.generate_key("P-256", private=True))

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        """A proof for one request; ``token`` is the one that it goes with, at a token endpoint None."""
        origin, path = _origin_and_path(url)
        claims: dict[str, Any] = {
            "htm": method,
            "htu": f"{origin}{path}",
            "jti": str(uuid4()),
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        if (nonce := self._nonces.get(origin)) is not None:
            claims["nonce"] = nonce
        header = {"alg": self._alg, "typ": "dpop+jwt", "jwk": self._public}
        return jwt.encode(header, claims, self._key, algorithms=[self._alg])

    def learn(self, url: str, headers: httpx.Headers, proof: str) -> bool:
        """Keeps the nonce of an answer for the next proof to that origin (§8.2).

        True: it is another than that proof carried. What is kept says nothing of that, since others send
        proofs meanwhile.
        """
        nonce = headers.get("dpop-nonce")
        if nonce is None:
            return False
        origin, _ = _origin_and_path(url)
        if len(self._nonces) >= _origins_max:
            self._nonces.clear()
        self._nonces[origin] = nonce
        carried: object = json.loads(jws.extract_compact(proof.encode()).payload).get("nonce")
        return carried != nonce


def _origin_and_path(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/"
