"""Who may ask: API keys, tenants that never meet, TLS in both directions."""

import asyncio
import datetime
import hashlib
import ipaddress
import itertools
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from luvc import AsyncClient, Tls, Unauthenticated, Unavailable
from luvc.cli.main import main
from luvc.v1 import encoder_pb2

from encoder_service.config import EncoderConfig
from encoder_service.tenants import Tenants
from luvc_core.errors import Overloaded
from luvc_core.models.base import VisionHalf
from luvc_core.runtime.deadline import Deadline
from tests.end_to_end.test_references import refusal
from tests.end_to_end.test_turns import by_digest
from tests.support.asking import IMAGES, TIMEOUT, ask
from tests.support.in_process_halves import decoder, encoder


def key_file(folder: Path, **tenants: str) -> str:
    lines = [f"{hashlib.sha256(k.encode()).hexdigest()} {t}  # {t}" for t, k in tenants.items()]
    path = folder / "keys"
    path.write_text("\n".join(["# comment", "", *lines]))
    return str(path)


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


@pytest.mark.parametrize("text", ["secret tenant", "", "# nothing", "0" * 64, f"{'0' * 64} a b"])
def test_a_bad_key_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match="--api-keys"):
        Tenants.from_file(EncoderConfig(api_keys=str(path)))


async def test_a_tenant_has_places_of_its_own(tmp_path: Path) -> None:
    path = key_file(tmp_path, one="k1", two="k2")
    tenants = Tenants.from_file(EncoderConfig(api_keys=path, tenant_active=1, tenant_waiting=0))
    deadline = Deadline.after(5)
    assert [tenants.of([("x-api-key", key)]) for key in ("k1", "k2")] == ["one", "two"]
    async with tenants.slot("one", deadline), tenants.slot("two", deadline):
        with pytest.raises(Overloaded):
            async with tenants.slot("one", deadline):
                pass


async def test_no_key_no_answer_and_tenants_never_meet(
    vision: VisionHalf, checkpoint: Path, tmp_path: Path
) -> None:
    keys = key_file(tmp_path, one="k1", two="k2")
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, api_keys=keys, inline_bytes=0) as (endpoint, front),
        AsyncClient(endpoint, api_key="k1") as one,
        AsyncClient(endpoint, api_key="k2") as two,
        AsyncClient(endpoint, api_key="k3") as nobody,
    ):
        for call in (
            front.Generate(ask("x"), timeout=TIMEOUT),
            front.Generate(ask("x"), timeout=TIMEOUT, metadata=metadata("k3")),
        ):
            code, _, details = await refusal(call)
            assert (code, details.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        with pytest.raises(Unauthenticated):
            await nobody.ask("x")
        first = await one.ask("What?", IMAGES[0], max_tokens=2)
        assert (first.usage.media_kept, first.usage.fetched_media_count) == (True, 1)
        assert (await one.ask("What?", IMAGES[0], max_tokens=2)).usage.reused_media_count == 1
        # By digest: as if nobody had ever sent it. By its data: encoded again.
        digest = by_digest(ask(IMAGES[0], "x"))
        code, _, _ = await refusal(front.Generate(digest, metadata=metadata("k2")))
        assert code is grpc.StatusCode.NOT_FOUND
        other = await two.ask("What?", IMAGES[0], max_tokens=2)
        assert (other.text, other.usage.reused_media_count) == (first.text, 0)


class Authority:
    """Certificates for a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self._serials = itertools.count()
        self.pem = self._write(self._sign(self._name, self._key.public_key(), True))

    def issue(self) -> tuple[str, str]:
        """Certificate and key files for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._write(self._sign(name, key.public_key(), False)), self._write(secret)

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePublicKey, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _write(self, data: bytes) -> str:
        path = self._folder / f"{next(self._serials)}.pem"
        path.write_bytes(data)
        return str(path)


async def test_only_certified_callers_ask_and_fetch(
    vision: VisionHalf, checkpoint: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    fetch_cert, fetch_key = authority.issue()
    settings = {"tls_cert": cert, "tls_key": key, "tls_client_ca": authority.pem}
    fetch = {"fetch_ca": authority.pem, "fetch_cert": fetch_cert, "fetch_key": fetch_key}
    async with (
        decoder(checkpoint, **fetch) as (back, _),
        encoder(vision, back, inline_bytes=0, **settings) as (endpoint, plain),
    ):
        tls = Tls(authority.pem, *authority.issue())
        async with AsyncClient(endpoint, tls=tls) as client:
            usage = (await client.ask("What?", IMAGES[0], max_tokens=2)).usage
            assert usage.fetched_media_count == 1
        for anonymous in (Tls(authority.pem), None):
            async with AsyncClient(endpoint, tls=anonymous) as client:
                with pytest.raises(Unavailable):
                    await client.ask("What?", retries=0, timeout=5)
        call = plain.FetchTokens(encoder_pb2.FetchTokensRequest(handle="x"), timeout=5)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_command_line_shows_its_key_and_certificate(
    vision: VisionHalf,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    secret, empty = tmp_path / "secret", tmp_path / "empty"
    secret.write_text("k1\n")
    empty.touch()
    settings = {"tls_cert": cert, "tls_key": key, "tls_client_ca": authority.pem}
    own_cert, own_key = authority.issue()
    tls = ["--ca-file", authority.pem, "--cert-file", own_cert, "--key-file", own_key]

    async def ask_by(*flags: str) -> int:
        where = ["--endpoint", endpoint, "--timeout", "30", "--max-tokens", "2"]
        return await asyncio.to_thread(main, ["ask", "What?", *where, *flags])

    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, api_keys=key_file(tmp_path, one="k1"), **settings) as (endpoint, _),
    ):
        assert await ask_by(*tls, "--api-key", str(secret)) == 0
        assert await ask_by(*tls) == 1
        assert "UNAUTHENTICATED" in capsys.readouterr().err
        monkeypatch.setenv("LUVC_API_KEY", "k1")
        assert await ask_by(*tls) == 0
    for flags, text in (
        (tls[:4], "--key-file go together"),
        (["--api-key", str(empty)], "is empty"),
        (["--api-key", str(tmp_path / "none")], "No such file"),
    ):
        assert await ask_by(*flags) == 2
        assert text in capsys.readouterr().err
