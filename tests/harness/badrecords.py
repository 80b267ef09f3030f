"""What our programs say of a TLS record that is bad, with the OpenSSL of this machine."""

import ssl

IS_VAGUE = ssl.OPENSSL_VERSION_INFO >= (3, 2)
VAGUE = "000b:0939 TLS error: record layer failure (a record is damaged, or too long)"

TOO_LONG = VAGUE if IS_VAGUE else "000b:08c6 TLS error: packet length too long"
DAMAGED = VAGUE if IS_VAGUE else "000b:0919 TLS error: decryption failed or bad record mac"
