"""OpenSSL's configuration in memory, in processes of their own, since it holds for all of one."""

import subprocess
import sys

import pytest

_TRY = """
import _ssl, ssl, sys
{before}
from dcmstore import libssl
done = libssl.set_defaults(client=True, suites_1_3="TLS_AES_128_GCM_SHA256")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
newest = [one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.3"]
print(done, *newest)
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", "True TLS_AES_128_GCM_SHA256"),
        # Built into the interpreter, the module has no file.
        ("del _ssl.__file__", "False TLS_AES_256_GCM_SHA384"),
        # Another make of the library does not have the function.
        ("_ssl.__file__ = 'libc.so.6'", "False TLS_AES_256_GCM_SHA384"),
        ("_ssl.__file__ = '/no/such/file'", "False TLS_AES_256_GCM_SHA384"),
    ],
)
def test_defaults_are_set_where_that_can_be(before: str, expected: str) -> None:
    command = [sys.executable, "-c", _TRY.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(expected)
    assert done.stderr == ""


def test_a_curve_that_is_not_there_is_left_out() -> None:
    script = """
import ssl
from dcmstore import libssl
libssl._CURVES = ("prime256v1", "nosuchcurve", "secp384r1")
print(libssl._known_curves())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "['prime256v1', 'secp384r1']\n"
