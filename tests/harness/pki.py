"""Keys, certificates and revocation lists, made by the machine's openssl(1) for a test run."""

import shutil
import ssl
import subprocess
from pathlib import Path

RSA, SMALL_RSA, EC, SMALL_EC, DSA, ED25519 = (
    ("rsa:2048",),
    ("rsa:1024",),
    ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    ("ec", "-pkeyopt", "ec_paramgen_curve:secp192k1"),
    ("dsa",),
    ("ed25519",),
)
Kind = tuple[str, ...]

_CONFIGURATION = """
[req]
distinguished_name = anything
[ca]
default_ca = here
[here]
new_certs_dir = {folder}
database = {folder}/index
serial = {folder}/serial
crlnumber = {folder}/crlnumber
certificate = {certificate}
private_key = {key}
default_md = sha256
default_days = 30
default_crl_days = 30
policy = anything
unique_subject = no
[anything]
commonName = supplied
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[leaf]
basicConstraints = CA:false
"""


def is_installed() -> bool:
    """Tell whether there is an openssl program."""
    return shutil.which("openssl") is not None


def openssl(*arguments: str, text: str | None = None) -> str:
    """Run openssl, and return what it prints; AssertionError with what it says if it fails."""
    done = subprocess.run(
        ["openssl", *arguments], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Identity:
    """A private key and the certificate for it, in PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"

    @property
    def files(self) -> tuple[str, str]:
        """What ``--enable-tls`` wants."""
        return str(self.key), str(self.certificate)

    def der(self) -> tuple[str, str]:
        """The same in DER files."""
        key, certificate = self.key.with_suffix(".key.der"), self.certificate.with_suffix(".der")
        openssl("pkey", "-in", str(self.key), "-outform", "der", "-out", str(key))
        convert = ("x509", "-in", str(self.certificate), "-outform", "der")
        openssl(*convert, "-out", str(certificate))
        return str(key), str(certificate)

    def encrypted(self, password: str) -> str:
        """The private key in a file that has a password."""
        path = self.key.with_suffix(".encrypted")
        command = ("pkey", "-in", str(self.key), "-aes128", "-passout", f"pass:{password}")
        openssl(*command, "-out", str(path))
        return str(path)


class Authority(Identity):
    """Who certifies others."""

    def __init__(self, folder: Path, name: str, issuer: "Authority | None" = None) -> None:
        super().__init__(folder, name)
        self._folder = folder
        self._issued = folder / f"{name}.issued"
        self._issued.mkdir()
        (self._issued / "index").touch()
        (self._issued / "serial").write_text("1000\n")
        (self._issued / "crlnumber").write_text("01\n")
        self._configuration = self._issued / "cnf"
        self._configuration.write_text(
            _CONFIGURATION.format(folder=self._issued, certificate=self.certificate, key=self.key)
        )
        if issuer is None:
            make_key(self.key, EC)
            self_signed(self, extensions=(str(self._configuration), "authority"))
        else:
            issuer.certify(self, EC, section="authority")

    def issue(
        self, name: str, kind: Kind = EC, *, start: str = "", end: str = "", digest: str = "sha256"
    ) -> Identity:
        """Certify somebody; ``start`` and ``end`` are of the form YYYYMMDDHHMMSSZ."""
        made = Identity(self._folder, name)
        dates = ("-startdate", start, "-enddate", end) if start else ()
        self.certify(made, kind, *dates, "-md", digest)
        return made

    def certify(self, made: Identity, kind: Kind, *more: str, section: str = "leaf") -> None:
        """Make a key, and a certificate for it."""
        make_key(made.key, kind)
        request = made.key.with_suffix(".csr")
        subject = f"/CN={made.name}"
        openssl("req", "-new", "-key", str(made.key), "-subj", subject, "-out", str(request))
        command = ("ca", "-batch", "-notext", "-config", str(self._configuration))
        files = ("-in", str(request), "-out", str(made.certificate))
        openssl(*command, "-extensions", section, *files, *more)

    def revoke(self, *identities: Identity) -> None:
        """Put certificates on the list to come."""
        for one in identities:
            openssl("ca", "-config", str(self._configuration), "-revoke", str(one.certificate))

    def revocation_list(self, name: str = "crl") -> Path:
        """Issue a list, in a file of this name."""
        path = self._folder / f"{self.name}.{name}.pem"
        openssl("ca", "-config", str(self._configuration), "-gencrl", "-out", str(path))
        return path


def make_key(path: Path, kind: Kind) -> None:
    """Make a private key in a file."""
    name, _, bits = kind[0].partition(":")
    options = list(kind[1:])
    if bits:
        options += ["-pkeyopt", f"rsa_keygen_bits:{bits}"]
    if name == "dsa":
        parameters = path.with_suffix(".params")
        openssl("dsaparam", "-out", str(parameters), "2048")
        openssl("genpkey", "-paramfile", str(parameters), "-out", str(path))
        return
    openssl("genpkey", "-algorithm", name.upper(), *options, "-out", str(path))


def self_signed(
    made: Identity, digest: str = "sha256", extensions: tuple[str, str] | None = None
) -> None:
    """Make a certificate that its own key signs, on demand with a section of extensions."""
    # The requests that openssl's own configuration makes are for authorities.
    more = ("-config", extensions[0], "-extensions", extensions[1]) if extensions else ()
    command = ("req", "-x509", "-new", "-key", str(made.key), "-days", "30", f"-{digest}")
    openssl(*command, *more, "-subj", f"/CN={made.name}", "-out", str(made.certificate))


def show_weak(context: ssl.SSLContext, own: Identity) -> ssl.SSLContext:
    """Have a context show this certificate, however weak it is, and return the context."""
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(own.certificate, own.key)
    return context


class Pki:
    """What most tests need: an authority with a server and a client, and a stranger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "authority")
        self.server = self.authority.issue("server", RSA)
        self.client = self.authority.issue("client", RSA)
        self.other = Authority(folder, "other")
        self.stranger = self.other.issue("stranger", RSA)

    def server_options(self, *more: str) -> tuple[str, ...]:
        """Options of a receiver that wants certificates of the authority."""
        return self.options(self.server, *more)

    def client_options(self, *more: str) -> tuple[str, ...]:
        """Options of a sender that is known to the authority."""
        return self.options(self.client, *more)

    def options(self, own: Identity, *more: str) -> tuple[str, ...]:
        """Options of somebody who trusts the authority."""
        return ("+tls", *own.files, "+cf", str(self.authority.certificate), *more)

    def client_context(self, own: Identity | None = None) -> ssl.SSLContext:
        """A client in this process, with this certificate or the client's own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority.certificate)
        identity = own or self.client
        context.load_cert_chain(identity.certificate, identity.key)
        return context

    def server_context(self, own: Identity | None = None) -> ssl.SSLContext:
        """A server in this process, with this certificate or the server's own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(self.authority.certificate)
        identity = own or self.server
        context.load_cert_chain(identity.certificate, identity.key)
        return context
