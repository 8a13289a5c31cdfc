"""JSON web tokens: what is refused, keys that change, and a whole call. Keys are of the test's own."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from threading import Thread
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eyecatch.api.identity import web_tokens
from eyecatch.api.identity.callers import token_digest
from eyecatch.api.identity.web_tokens import WebTokens
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput, Unauthenticated
from eyecatch.wiring.serve import application

from tests.certificates import NAME, Authority
from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.identity.test_callers import OK, UNKNOWN, code
from tests.waiting import until

ISSUER, AUDIENCE, SUBJECT = "https://issuer.shop", "eyecatch", "recommender"
MAKE: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
KEYS = {name: make() for name, make in MAKE.items()}
SECRET = "a-secret-that-is-shared-by-everybody"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _text(part: dict[str, object]) -> str:
    return _base64(json.dumps(part).encode())


def key_set(*algorithms: str) -> bytes:
    keys = []
    for name in algorithms:
        if name == "HS256":
            key = {"kty": "oct", "k": _base64(SECRET.encode())}
        else:
            key = jwt.get_algorithm_by_name(name).to_jwk(KEYS[name].public_key(), as_dict=True)
        keys.append(key | {"kid": name, "alg": name})
    return json.dumps({"keys": keys}).encode()


def token(algorithm: str = "ES256", key: object = None, kid: str | None = "", **changes: object) -> str:
    """A good token but for `changes`, of which None leaves a claim out."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": now + 600} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    headers = None if kid is None else {"kid": kid or algorithm}
    return jwt.encode(claims, key if key is not None else KEYS[algorithm], algorithm, headers)


@pytest.fixture
def checker() -> WebTokens:
    tokens = WebTokens(ISSUER, AUDIENCE)
    tokens.take_keys(key_set("RS256", "ES256", "EdDSA"))
    return tokens


def subject(checker: WebTokens, text: str) -> str:
    return checker.subject(text, token_digest(text))


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_good_token_has_a_subject(checker: WebTokens, algorithm: str) -> None:
    assert subject(checker, token(algorithm)) == SUBJECT


def unsigned() -> str:
    return jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": time.time() + 600}, None, "none")


BAD = {
    "another issuer": lambda: token(iss="https://stranger.shop"),
    "another audience": lambda: token(aud="other"),
    "no issuer": lambda: token(iss=None),
    "no audience": lambda: token(aud=None),
    "no subject": lambda: token(sub=None),
    "no end": lambda: token(exp=None),
    "expired": lambda: token(exp=time.time() - 60),
    "not valid yet": lambda: token(nbf=time.time() + 60),
    "another key": lambda: token(key=MAKE["ES256"]()),
    "an unknown key": lambda: token(kid="other"),
    "no name of a key among several": lambda: token(kid=None),
    "a key of another algorithm": lambda: token("RS256", kid="ES256"),
    "no signature": unsigned,
    "no algorithm and the name of a key": lambda: token("none", key="", kid="ES256"),
    "a shared secret": lambda: token("HS256", key=SECRET, kid="HS256"),
    "the end cut off": lambda: token()[:-4],
    "nothing": lambda: "",
    "dots": lambda: "..",
    "no JSON": lambda: "e30.e30.e30",
    "bytes that are no text": lambda: "_w._w._w",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_token_is_refused(checker: WebTokens, what: str) -> None:
    with pytest.raises(Unauthenticated, match="the web token is refused"):
        subject(checker, BAD[what]())


def test_a_public_key_is_no_shared_secret(checker: WebTokens) -> None:
    """The old trick: the token is signed by HMAC, with the text of the public key as its secret."""
    public = KEYS["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = _text({"alg": "HS256", "kid": "RS256"})
    body = _text({"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": time.time() + 600})
    signature = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    with pytest.raises(Unauthenticated, match="alg value is not allowed"):
        subject(checker, f"{head}.{body}.{_base64(signature)}")


def test_a_shared_secret_is_no_key(checker: WebTokens) -> None:
    with pytest.raises(InvalidInput, match="jwt_keys: got '1 other keys'; allowed: keys for RS256, ES256, EdDSA"):
        checker.take_keys(key_set("HS256"))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [1]}', b"\xff"])
def test_what_is_no_key_set_is_refused(checker: WebTokens, data: bytes) -> None:
    with pytest.raises(InvalidInput, match="jwt_keys"):
        checker.take_keys(data)


def test_a_token_expires_also_while_it_is_remembered(checker: WebTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    text = token()
    assert subject(checker, text) == SUBJECT
    later = time.time() + 700
    monkeypatch.setattr(web_tokens.time, "time", lambda: later)
    with pytest.raises(Unauthenticated, match="expired"):
        subject(checker, text)


def test_a_token_of_a_withdrawn_key_is_refused_also_if_it_is_remembered(checker: WebTokens) -> None:
    text = token()
    assert subject(checker, text) == SUBJECT
    checker.take_keys(key_set("RS256"))
    with pytest.raises(Unauthenticated, match="its key is unknown"):
        subject(checker, text)


@pytest.fixture
def with_tokens(config: Config, tmp_path: Path) -> Config:
    callers, keys = tmp_path / "callers.toml", tmp_path / "keys.json"
    callers.write_text(f'[callers.recommender]\nrights = ["recommend"]\nsubjects = ["{SUBJECT}"]')
    keys.write_bytes(key_set("ES256"))
    return replace(config, callers=str(callers), jwt_keys=str(keys), jwt_issuer=ISSUER, jwt_audience=AUDIENCE)


async def test_a_caller_is_known_by_the_subject_of_its_token(with_tokens: Config) -> None:
    async with (
        application(with_tokens, FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        assert await code(channel, f"Bearer {token()}") is OK
        assert await code(channel, f"Bearer {token(sub='stranger')}") is UNKNOWN


async def test_keys_of_a_file_that_changes_are_read_again(with_tokens: Config) -> None:
    async with (
        application(with_tokens, FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        Path(with_tokens.jwt_keys).write_bytes(key_set("EdDSA"))

        async def is_known() -> bool:
            return await code(channel, f"Bearer {token('EdDSA')}") is OK

        await until(is_known, "the new key")


@pytest.fixture
def issuer(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a key set behind https."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(key_set("ES256"))

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("issuer", NAME))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with ThreadingHTTPServer((NAME, 0), Keys) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"https://{NAME}:{server.server_port}/keys"
        server.shutdown()
        thread.join()


async def test_keys_come_from_an_address(with_tokens: Config, issuer: str) -> None:
    async with (
        application(replace(with_tokens, jwt_keys=issuer), FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):

        async def is_known() -> bool:
            return await code(channel, f"Bearer {token()}") is OK

        await until(is_known, "the keys")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jwt_keys": "http://issuer.shop/keys"}, "jwt_keys: got 'http:.*a file, or https://host/path"),
        ({"jwt_issuer": ""}, "with --callers, --jwt-issuer and --jwt-audience"),
        ({"jwt_audience": ""}, "with --callers, --jwt-issuer and --jwt-audience"),
        ({"jwt_keys": "/none.json"}, "jwt_keys: got '/none.json'; allowed: a file that can be read"),
        ({"jwt_keys": ""}, "callers.recommender.subjects: got 'recommender'; allowed: none without --jwt-keys"),
    ],
)
async def test_incomplete_settings_are_named_at_the_start(
    with_tokens: Config, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        async with application(replace(with_tokens, **settings), FakeGenerator(), MEAN):
            pass
