"""Certificates as they are read, against what openssl says of them, and rubbish."""

import base64
import random
import re
import ssl
from pathlib import Path

import pytest
from harness import pki as pki_module
from harness.pki import Identity, Pki
from hypothesis import given
from hypothesis import strategies as st

from dcmstore import certificates, der, tlsdetails
from dcmstore.certificatechecks import weaknesses
from dcmstore.certificates import Certificate
from dcmstore.der import MalformedError


def in_der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def made(folder: Path, name: str, kind: pki_module.Kind, *options: str) -> bytes:
    """Return a certificate that openssl req makes with these options."""
    key, path = folder / f"{name}.key", folder / f"{name}.pem"
    pki_module.make_key(key, kind)
    command = ("req", "-x509", "-new", "-key", str(key), "-out", str(path), "-subj", f"/CN={name}")
    pki_module.openssl(*command, *options)
    return in_der(path)


def test_what_openssl_says(pki: Pki) -> None:
    for identity in (pki.authority, pki.server, pki.authority.issue("wanted", pki_module.EC)):
        parsed = certificates.parse(in_der(identity.certificate))
        show = ("-noout", "-subject", "-issuer", "-serial", "-dates", "-nameopt", "compat")
        said = pki_module.openssl("x509", "-in", str(identity.certificate), *show)
        subject, issuer, serial, *dates = said.splitlines()
        assert (subject, issuer) == (f"subject={parsed.subject}", f"issuer={parsed.issuer}")
        assert int(serial.removeprefix("serial="), 16) == parsed.serial
        assert dates == [
            f"notBefore={parsed.not_before}",
            f"notAfter={parsed.not_after}",
        ]
        assert parsed.version == 3
        assert (parsed.hash, parsed.signature) == ("SHA256", "ECDSA-SHA256")
    assert (parsed.key, parsed.bits) == ("EC", 256)


@pytest.mark.parametrize(
    ("name", "kind", "options", "expected"),
    [
        ("rsa-sha1", pki_module.RSA, ("-sha1",), ("RSA-SHA1", "SHA1", "RSA", 2048)),
        ("rsa-md5", pki_module.SMALL_RSA, ("-md5",), ("RSA-MD5", "MD5", "RSA", 1024)),
        ("rsa-sha224", pki_module.RSA, ("-sha224",), ("RSA-SHA224", "SHA224", "RSA", 2048)),
        ("rsa-sha384", pki_module.RSA, ("-sha384",), ("RSA-SHA384", "SHA384", "RSA", 2048)),
        (
            "pss",
            pki_module.RSA,
            ("-sha512", "-sigopt", "rsa_padding_mode:pss"),
            ("RSA-PSS-SHA512", "SHA512", "RSA", 2048),
        ),
        (
            "pss-sha1",
            pki_module.RSA,
            ("-sha1", "-sigopt", "rsa_padding_mode:pss"),
            ("RSA-PSS-SHA1", "SHA1", "RSA", 2048),
        ),
        ("small-ec", pki_module.SMALL_EC, ("-sha1",), ("ECDSA-SHA1", "SHA1", "EC", 192)),
        (
            "large-ec",
            ("ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"),
            ("-sha512",),
            ("ECDSA-SHA512", "SHA512", "EC", 521),
        ),
        ("dsa", pki_module.DSA, (), ("DSA-SHA256", "SHA256", "DSA", 2048)),
        ("ed25519", pki_module.ED25519, (), ("Ed25519", "SHA512", "Ed25519", 256)),
    ],
)
def test_keys_and_signatures(
    tmp_path: Path,
    pki: Pki,
    name: str,
    kind: pki_module.Kind,
    options: tuple[str, ...],
    expected: tuple[str, str, str, int],
) -> None:
    assert pki.folder.is_dir()
    parsed = certificates.parse(made(tmp_path, name, kind, *options))
    assert (parsed.signature, parsed.hash, parsed.key, parsed.bits) == expected


def test_names_of_many_kinds(tmp_path: Path, pki: Pki) -> None:
    assert pki.folder.is_dir()
    subject = "/C=DE/ST=Hessen/L=M\u00fcnster/O=Clinic/OU=CT/CN=ct\n1/emailAddress=a@example.org"
    data = made(tmp_path, "names", pki_module.EC, "-utf8", "-subj", subject, "-days", "20000")
    parsed = certificates.parse(data)
    assert parsed.subject == subject
    assert re.fullmatch(r"\w{3} [ \d]\d \d\d:\d\d:\d\d 20[78]\d GMT", parsed.not_after)


@pytest.mark.parametrize("size", [1, 20, 21, 2000])
def test_serial_numbers_of_any_length(tmp_path: Path, pki: Pki, size: int) -> None:
    assert pki.folder.is_dir(), "there is an openssl"
    data = made(tmp_path, "serial", pki_module.EC, "-set_serial", "0x01" + "ab" * (size - 1))
    shown = tlsdetails.details("", "", 0, "", certificates.parse(data))
    (number,) = re.findall(r"Serial no\.  : (\w+)$", shown, re.M)
    assert int(number, 0) == int("01" + "ab" * (size - 1), 16)


def test_what_follows_a_certificate_is_left_alone(pki: Pki) -> None:
    data = in_der(pki.server.certificate)
    assert certificates.parse(data + b"\x30\x00") == certificates.parse(data)


def test_damaged_certificates(pki: Pki) -> None:
    """Whatever the bytes are, they are a certificate or malformed."""
    whole = in_der(pki.server.certificate)
    dice = random.Random(4711)
    for length in range(len(whole)):
        with pytest.raises(MalformedError):
            certificates.parse(whole[:length])
    malformed = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            certificates.parse(bytes(data))
        except MalformedError:
            malformed += 1
    assert malformed > 100


@given(st.binary(max_size=300))
def test_rubbish(data: bytes) -> None:
    with pytest.raises(MalformedError):
        certificates.parse(data)


def test_identifiers() -> None:
    assert der.object_identifier(bytes.fromhex("550403")) == "2.5.4.3"
    assert der.object_identifier(bytes.fromhex("2a864886f70d010105")) == "1.2.840.113549.1.1.5"
    assert der.object_identifier(bytes.fromhex("883703")) == "2.999.3"
    for bad in (b"", b"\x80", b"\x2a" * 65):
        with pytest.raises(MalformedError):
            der.object_identifier(bad)


def test_lengths() -> None:
    assert der.first(b"\x04\x81\x80" + bytes(128)).content == bytes(128)
    for bad in (b"", b"\x04", b"\x04\x80", b"\x04\x85" + bytes(9), b"\x04\x02a", b"\x04\x84\xff"):
        with pytest.raises(MalformedError):
            der.first(bad)


def test_trusted_certificate_in_the_form_of_openssl(pki: Pki) -> None:
    out = pki_module.openssl("x509", "-in", str(pki.server.certificate), "-trustout")
    assert "BEGIN TRUSTED CERTIFICATE" in out
    data = base64.b64decode("".join(out.splitlines()[1:-1]))
    assert certificates.parse(data).subject == "/CN=server"


def certificate(key: str, bits: int, hashed: str = "SHA256") -> Certificate:
    return Certificate(3, 1, f"RSA-{hashed}", hashed, "/CN=a", "", "", "/CN=b", key, bits)


DEFAULT, MODIFIED, OLD = "profile-8996", "profile-8996-mod", "profile-bcp195"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        # Of (default, modified, old) profiles, as the server's own; then as an issuer's.
        (certificate("RSA", 2048), ("", "", "", "", "", "")),
        (certificate("RSA", 2047), ("F", "F", "W", "W", "F", "W")),
        (certificate("EC", 256), ("", "", "", "", "", "")),
        (certificate("EC", 255), ("", "F", "", "", "F", "")),
        (certificate("EC", 223), ("W", "F", "W", "W", "F", "W")),
        (certificate("DSA", 3072), ("F", "F", "W", "F", "F", "W")),
        (certificate("Ed25519", 256, "SHA512"), ("", "", "", "", "", "")),
        (certificate("RSA", 4096, "SHA1"), ("W", "F", "W", "W", "F", "W")),
        (certificate("RSA", 4096, "SHA224"), ("W", "F", "W", "W", "F", "W")),
        (certificate("RSA", 4096, "MD5"), ("F", "F", "F", "F", "F", "F")),
        (certificate("RSA", 1024, "MD2"), ("FF", "FF", "FW", "FW", "FF", "FW")),
        (certificate("RSA", 4096, ""), ("", "", "", "", "", "")),
    ],
)
def test_weaknesses(shown: Certificate, expected: tuple[str, ...]) -> None:
    found = []
    for of_server in (True, False):
        for profile in (DEFAULT, MODIFIED, OLD):
            what = weaknesses(shown, "it", profile, ours=True, of_server=of_server)
            found.append("".join("F" if weakness.refused else "W" for weakness in what))
    assert tuple(found) == expected


def test_peers_may_have_dsa_keys() -> None:
    shown = certificate("DSA", 2048)
    assert not list(weaknesses(shown, "it", DEFAULT, ours=False, of_server=True))


def test_identity_in_der_is_the_same(pki: Pki) -> None:
    identity: Identity = pki.server
    _, path = identity.der()
    assert Path(path).read_bytes() == in_der(identity.certificate)
