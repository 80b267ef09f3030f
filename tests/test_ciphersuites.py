"""Ciphersuites and security profiles: the tables, and what goes with what."""

import logging
import ssl

import pytest
from harness import pki as pki_module
from harness.pki import Pki

from dcmstore import ciphersuites, tlsprofiles
from dcmstore.ciphersuites import OPENSSL_NAMES, PREFIX
from dcmstore.tlsprofiles import PROFILES, SuiteError

EVERYTHING = frozenset(OPENSSL_NAMES)
TRIPLE_DES = "RSA_WITH_3DES_EDE_CBC_SHA"
OPTIONS = [pytest.param(option, id=option) for option in PROFILES]


def test_names_are_those_of_openssl(pki: Pki) -> None:
    assert pki.folder.is_dir()
    listed = pki_module.openssl("ciphers", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    by_iana = {}
    for line in listed.splitlines():
        iana, _, openssl, *_ = line.split()
        by_iana[iana] = openssl
    known = {PREFIX + name: openssl for name, openssl in OPENSSL_NAMES.items()}
    known.pop(PREFIX + TRIPLE_DES)
    assert {name: by_iana.get(name) for name in known} == known


def test_what_is_available() -> None:
    there = ciphersuites.available()
    assert "ECDHE_RSA_WITH_AES_128_GCM_SHA256" in there
    assert "RSA_WITH_NULL_SHA" in there
    assert there <= EVERYTHING


def test_ranking() -> None:
    best_first = ciphersuites.strongest_first(sorted(EVERYTHING))
    assert best_first[0] == "ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    assert best_first[-2:] == [TRIPLE_DES, "RSA_WITH_NULL_SHA"]


def test_cipher_string_keeps_order() -> None:
    names = ["RSA_WITH_AES_128_CBC_SHA", "ECDHE_RSA_WITH_AES_128_GCM_SHA256", "RSA_WITH_NULL_SHA"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(ciphersuites.cipher_string(names))
    offered = [cipher["name"] for cipher in context.get_ciphers()]
    older = [name for name in offered if not name.startswith(PREFIX)]
    assert older == [OPENSSL_NAMES[name] for name in names]


@pytest.mark.parametrize("option", OPTIONS)
def test_suites_of_profiles_are_known_and_unlike(option: str) -> None:
    profile = PROFILES[option]
    assert set(profile.suites) <= EVERYTHING
    assert len(set(profile.suites)) == len(profile.suites)
    assert tlsprofiles.suites(option, (), EVERYTHING) == list(profile.suites)
    assert tlsprofiles.usable(profile, EVERYTHING)


def test_profiles_without_triple_des() -> None:
    without = EVERYTHING - {TRIPLE_DES}
    unusable = [option for option in PROFILES if not tlsprofiles.usable(PROFILES[option], without)]
    assert unusable == ["profile-basic"]
    assert tlsprofiles.suites("profile-aes", (), without) == ["RSA_WITH_AES_128_CBC_SHA"]
    with pytest.raises(SuiteError, match="000b:0003"):
        tlsprofiles.suites("profile-basic", (), without)


# What --cipher adds to each profile: FATAL, WARN or nothing (RFC 9325, and the reference).
NULL, STATIC, SHA1 = (
    "RSA_WITH_NULL_SHA",
    "RSA_WITH_AES_128_CBC_SHA256",
    "ECDHE_RSA_WITH_AES_128_CBC_SHA",
)
EPHEMERAL, CBC, GOOD = (
    "DHE_DSS_WITH_AES_128_GCM_SHA256",
    "ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
)
ADDED = {
    "profile-8996": {NULL: "F", STATIC: "WW", SHA1: "F", EPHEMERAL: "W", CBC: "W", GOOD: ""},
    "profile-8996-mod": dict.fromkeys((NULL, STATIC, SHA1, EPHEMERAL, CBC), "F"),
    "profile-bcp195-nd": {NULL: "F", STATIC: "W", SHA1: "", EPHEMERAL: "", CBC: "", GOOD: ""},
    "profile-bcp195": {NULL: "F", STATIC: "W", SHA1: "", EPHEMERAL: "", CBC: "", GOOD: ""},
    "profile-bcp195-ex": dict.fromkeys((NULL, STATIC, SHA1, EPHEMERAL, CBC), "F"),
    "profile-basic": {NULL: "F", STATIC: "W", SHA1: "", EPHEMERAL: "", CBC: "", GOOD: ""},
    "profile-aes": {NULL: "F", STATIC: "W", SHA1: "", EPHEMERAL: "", CBC: "", GOOD: ""},
    "profile-null": {NULL: "", STATIC: "", SHA1: "", EPHEMERAL: "", CBC: "", GOOD: ""},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_additions(option: str, caplog: pytest.LogCaptureFixture) -> None:
    for name, told in ADDED[option].items():
        caplog.clear()
        if told == "F":
            with pytest.raises(SuiteError, match="000b:000a Ciphersuite not allowed"):
                tlsprofiles.suites(option, [PREFIX + name], EVERYTHING)
            assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
            continue
        found = tlsprofiles.suites(option, [PREFIX + name], EVERYTHING)
        mine = list(PROFILES[option].suites)
        assert found == (mine if name in mine else [*mine, name])
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(told)


def test_additions_stay_in_order() -> None:
    extra = [PREFIX + name for name in (GOOD, "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", GOOD)]
    found = tlsprofiles.suites("profile-8996", extra, EVERYTHING)
    assert found[4:] == [GOOD, "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
