// Tokens that a backend signs itself (protocol §3).

const encode = (text) => new TextEncoder().encode(text);

function base64url(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** A secret key's id and secret, in either spelling (protocol §1). */
function parts(secretKey) {
  const mark = secretKey.includes(":") ? ":" : "_secret_";
  const at = secretKey.indexOf(mark);
  if (at <= 0 || at + mark.length === secretKey.length) throw new TypeError("the secret key should be <id>:<secret> or <id>_secret_<secret>");
  return [secretKey.slice(0, at), secretKey.slice(at + mark.length)];
}

/** Signs a token for a peer, without a request. A field that is left out is as the key has it: narrow it. */
export async function signToken(secretKey, { peer, channels, permissions, ttlSec = 3600, metadata, peerMetadata }) {
  const [kid, secret] = parts(secretKey);
  const iat = Math.floor(Date.now() / 1000);
  const claims = { sub: peer, iat, exp: iat + ttlSec, channels, permissions, metadata, peerMetadata };
  const signed = [{ alg: "HS256", typ: "JWT", kid }, claims].map((part) => base64url(encode(JSON.stringify(part)))).join(".");
  const key = await crypto.subtle.importKey("raw", encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, encode(signed));
  return `${signed}.${base64url(new Uint8Array(signature))}`;
}
