"""Secret keys, and the tokens that they sign (protocol §1, §3)."""
from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Iterable, Mapping
from urllib.parse import urlsplit

from .messages import Json


def parse_key(key: str) -> tuple[str, str]:
    """The id and the secret of a secret key: <id>:<secret> or <id>_secret_<secret>."""
    key_id, _, secret = key.partition(":" if ":" in key else "_secret_")
    if not key_id or not secret:
        raise ValueError("a secret key is <id>:<secret> or <id>_secret_<secret>")
    return key_id, secret


def sign_token(
    key: str, peer: str, *, channels: Iterable[str] | None = None, permissions: Iterable[str] | None = None,
    ttl: int = 3600, metadata: Mapping[str, Json] | None = None, peer_metadata: Mapping[str, Json] | None = None,
) -> str:
    """Signs a token for a peer, without a request. An argument that is left out is as the key has it: narrow it, or
    a device may do all that the key may."""
    key_id, secret = parse_key(key)
    now = int(time.time())
    claims: dict[str, Json] = {"sub": peer, "iat": now, "exp": now + ttl, **claimed(channels, permissions, metadata, peer_metadata)}
    signed = segment({"alg": "HS256", "typ": "JWT", "kid": key_id}) + b"." + segment(claims)
    return (signed + b"." + encoded(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


def claimed(
    channels: Iterable[str] | None, permissions: Iterable[str] | None,
    metadata: Mapping[str, Json] | None, peer_metadata: Mapping[str, Json] | None,
) -> dict[str, Json]:
    """The claims that were given: none and empty lists differ."""
    lists = {"channels": channels, "permissions": permissions}
    objects = {"metadata": metadata, "peerMetadata": peer_metadata}
    return {
        **{name: list(v) for name, v in lists.items() if v is not None},
        **{name: v for name, v in objects.items() if v is not None},
    }


def segment(part: Json) -> bytes:
    return encoded(json.dumps(part, separators=(",", ":"), allow_nan=False).encode())


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def service_url(url: str) -> str:
    """The service's URL up to and with /v1, for HTTP."""
    at = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(at.scheme, at.scheme)
    if scheme not in ("http", "https"):
        raise ValueError(f"the URL's scheme is {at.scheme!r}; it should be https, or http without TLS")
    if not at.hostname or at.username or at.password or at.query or at.fragment:
        raise ValueError("the URL should be a scheme, a host and perhaps a path, like https://host; keys and tokens have places of their own")
    return f"{scheme}://{at.netloc}{at.path.rstrip('/').removesuffix('/v1')}/v1"
