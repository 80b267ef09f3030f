"""TLS as the options want it: files in, links of associations out (PS3.15 annex B).

Imported only where there is TLS, since Python's ssl takes time and memory.
"""

import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from dcmstore import (
    certificates,
    ciphersuites,
    dhparameters,
    keyfiles,
    libssl,
    randomseed,
    tlsdetails,
    tlsreasons,
)
from dcmstore.certificatechecks import weaknesses
from dcmstore.certificates import DSA, Certificate
from dcmstore.ciphersuites import cipher_string
from dcmstore.clienthello import Wishes
from dcmstore.connection import Connection
from dcmstore.der import MalformedError
from dcmstore.keyfiles import KeyFileError
from dcmstore.passphrase import Passphrase
from dcmstore.passphrase import ask as ask_at_the_terminal
from dcmstore.text import printable
from dcmstore.tlslink import TlsLink
from dcmstore.tlsprofiles import EXTENDED, PROFILES, TLS_1_2, SuiteError, suites
from dcmstore.tlssocket import Refusal, TlsSocket

log = logging.getLogger("dcmtk.dcmtls")

_PROTOCOL = "dicom"  # in ALPN (PS3.15 section B.12, IANA's registry)
_UNRECOGNIZED_NAME, _NO_APPLICATION_PROTOCOL = 112, 120  # alerts
_LONGEST_NAME = 255


class TlsError(Exception):
    """TLS cannot be had as asked for; the text is one line."""


class Endpoint:
    """One side of all the TLS connections that a program has.

    ``options`` are parsed options in which TLS is switched on. The files are read here, and never
    again. A ``passphrase`` from before spares the question; as there is an endpoint from before,
    too, which can go on, files that are left out otherwise are an error then. ``ask`` asks for it,
    if not as everywhere. Raises TlsError.
    """

    def __init__(
        self,
        options: Any,
        *,
        server: bool,
        passphrase: Passphrase | None = None,
        ask: Callable[[], bytes] | None = None,
    ) -> None:
        self._server = server
        self._profile: str = options.tls_profile
        self._peers: str = options.peer_auth
        self._expected: str | None = getattr(options, "expect_sni", None)
        self._wanted = _server_name(getattr(options, "request_sni", None) or "")
        self._seed_path: str | None = {
            "write-seed": options.seed,
            "write-seed-file": options.write_seed_file,
        }.get(options.write_seed)
        if options.seed is not None:
            randomseed.add(options.seed)
        again = passphrase is not None
        self.passphrase = passphrase or _passphrase(options, ask or ask_at_the_terminal)
        key, chain = options.enable_tls if options.tls == "enable-tls" else ("", "")
        names = keyfiles.Names(
            key,
            chain,
            options.add_cert_file,
            options.add_crl_file,
            options.add_cert_dir,
            options.keyformat == "der-keys",
        )
        try:
            libssl.set_defaults(client=not server, suites_1_3=PROFILES[self._profile].suites_1_3)
            self._files = keyfiles.load(names, self.passphrase, strict=again)
            self._newest = self._check_own(chain)
            offered = suites(self._profile, options.cipher, ciphersuites.available())
        except (KeyFileError, SuiteError) as error:
            raise TlsError(str(error)) from None
        except OSError as error:
            raise TlsError(f"cannot set up TLS: {error}") from None
        self.passphrase.never_ask_again()
        self._suites = ciphersuites.strongest_first(offered) if server else offered
        self._crl_flags = _crl_flags(options.crl, bool(self._files.revoked))
        self._dh = dhparameters.FFDHE_2048
        if server and options.dhparam is not None:
            self._dh = dhparameters.load(options.dhparam, strict=self._profile == EXTENDED)
            if again and self._dh is dhparameters.FFDHE_2048:
                raise TlsError(f"unable to load temporary DH parameter file '{options.dhparam}'")
        try:
            self._shared = self._context()
        except (OSError, ValueError) as error:
            raise TlsError(f"cannot set up TLS: {error}") from None
        self._is_shared = not server or options.process == "fork" or options.inetd

    def link(self, sock: socket.socket, connection: Connection, timeout: float | None) -> TlsLink:
        """Return the link of an association on a connected socket; its ``open`` shakes hands."""
        secured = TlsSocket(
            sock,
            self._shared if self._is_shared else self._own_context(),
            server_side=self._server,
            server_name=self._wanted,
            judge=self._judge if self._server else None,
        )
        if not self._is_shared and not self._files.folders:
            # A session is kept by the context that the connection was made with. It goes with
            # the connection, and no client resumes a session. Keys and certificates are those of
            # the shared one: to decrypt a key anew for each client can take long.
            secured.tls.context = self._shared
        return TlsLink(secured, connection, timeout, self._examine, self._finish)

    def _own_context(self) -> ssl.SSLContext:
        """Return a context for one of many clients that a process serves."""
        if not self._files.folders:
            return self._without_files()
        # What a context has read from a folder counts in it for ever, be it removed or replaced.
        try:
            return self._context()
        except OSError as error:
            # No descriptor is left, for example. Without a certificate of ours nobody gets in.
            log.error("cannot set up TLS: %s", error)
            return self._without_files()

    def _finish(self) -> None:
        if self._seed_path is not None:
            randomseed.write(self._seed_path)

    def _context(self) -> ssl.SSLContext:
        """Return a context with everything in it. Raises OSError."""
        context = self._without_files()
        keyfiles.fill(context, self._files, self.passphrase)
        if self._server:
            with keyfiles.as_file(self._dh) as path:
                context.load_dh_params(path)
        return context

    def _without_files(self) -> ssl.SSLContext:
        """Return a context that is set up, but has neither keys nor certificates."""
        profile = PROFILES[self._profile]
        protocol = ssl.PROTOCOL_TLS_SERVER if self._server else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = {
            "require-peer-cert": ssl.CERT_REQUIRED,
            "verify-peer-cert": ssl.CERT_OPTIONAL,
            "ignore-peer-cert": ssl.CERT_NONE,
        }[self._peers]
        context.verify_flags |= self._crl_flags
        context.set_ciphers(cipher_string(self._suites))
        context.minimum_version = (
            ssl.TLSVersion.TLSv1_2
            if profile.oldest == TLS_1_2
            else ssl.TLSVersion.MINIMUM_SUPPORTED
        )
        context.maximum_version = ssl.TLSVersion(self._newest)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([_PROTOCOL])
        if self._server:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
            context.num_tickets = 0
        return context

    # What is wrong with certificates

    def _check_own(self, path: str) -> int:
        """Look at our own certificate; return the newest TLS version that it goes with.

        Raises KeyFileError.
        """
        newest = PROFILES[self._profile].newest
        if not self._files.chain:
            return newest
        failed = KeyFileError(f"000b:0005 Unable to load certificate from '{path}'")
        try:
            own = certificates.parse(self._files.certificate())
        except MalformedError as error:
            log.error("cannot read certificate file '%s': %s", path, error)
            raise failed from None
        found = weaknesses(
            own,
            f"certificate file '{path}'",
            self._profile,
            ours=True,
            of_server=self._server,
        )
        for weakness in found:
            if weakness.refused:
                log.critical("%s", weakness.text)
                raise failed
            log.warning("%s", weakness.text)
        return min(newest, TLS_1_2) if own.key == DSA else newest

    def _examine(self, secured: TlsSocket) -> None:
        """Look at a peer that has shaken hands. Raises PeerError."""
        chain: list[Certificate] = []
        if self._peers != "ignore-peer-cert":
            try:
                chain = [certificates.parse(one) for one in secured.chain()]
            except MalformedError as error:
                raise tlsreasons.error("CERTIFICATE_VERIFY_FAILED", str(error)) from None
        for place, certificate in enumerate(chain):
            found = weaknesses(
                certificate,
                f"the certificate of '{printable(certificate.subject)}'",
                self._profile,
                ours=False,
                of_server=not self._server and place == 0,
            )
            for weakness in found:
                if weakness.refused:
                    log.error("%s", weakness.text)
                    raise tlsreasons.error("CERTIFICATE_VERIFY_FAILED")
                log.warning("%s", weakness.text)
        if log.isEnabledFor(logging.DEBUG):
            suite, _, bits = secured.tls.cipher() or ("", "", 0)
            name = PROFILES[self._profile].name
            version = secured.tls.version() or ""
            log.debug(
                "%s", tlsdetails.details(version, suite, bits, name, chain[0] if chain else None)
            )

    def _judge(self, wishes: Wishes) -> Refusal | None:
        """Look at what a client asks for."""
        own, asked = self._expected, wishes.server_name
        if own is not None and asked and asked.lower() != own.lower():
            log.error(
                "SNI failure: client requested server '%s', my name is '%s'.",
                printable(asked),
                own,
            )
            return Refusal(
                _UNRECOGNIZED_NAME, tlsreasons.error("CALLBACK_FAILED", "unrecognized name")
            )
        if wishes.protocols and _PROTOCOL.encode() not in wishes.protocols:
            return Refusal(_NO_APPLICATION_PROTOCOL, tlsreasons.error("NO_APPLICATION_PROTOCOL"))
        return None


def _passphrase(options: Any, ask: Callable[[], bytes]) -> Passphrase:
    if options.passwd == "use-passwd":
        return Passphrase(os.fsencode(options.use_passwd), ask)
    return Passphrase(b"" if options.passwd == "null-passwd" else None, ask)


def _server_name(name: str) -> str:
    """Check the name of ``--request-sni`` (RFC 6066 section 3). Raises TlsError."""
    if not name.isascii() or name.startswith(".") or len(name) > _LONGEST_NAME:
        raise TlsError(f"not the name of a server: {name}")
    return name


def _crl_flags(option: str | None, has_lists: bool) -> ssl.VerifyFlags:
    if option == "enable-crl-all":
        return ssl.VERIFY_CRL_CHECK_CHAIN
    if option == "enable-crl-vfy" or has_lists:
        return ssl.VERIFY_CRL_CHECK_LEAF
    return ssl.VERIFY_DEFAULT
