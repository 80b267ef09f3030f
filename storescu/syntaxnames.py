"""Names of transfer syntaxes as log lines spell them out."""

from dcmstore import uids
from dcmstore.text import printable

_BASE = "1.2.840.10008.1.2"
_NAMES = {
    "": "Little Endian Implicit",
    ".1": "Little Endian Explicit",
    ".1.99": "Deflated Explicit VR Little Endian",
    ".2": "Big Endian Explicit",
    ".4.50": "JPEG Baseline",
    ".4.51": "JPEG Extended, Process 2+4",
    ".4.52": "JPEG Extended, Process 3+5",
    ".4.53": "JPEG Spectral Selection, Non-hierarchical, Process 6+8",
    ".4.54": "JPEG Spectral Selection, Non-hierarchical, Process 7+9",
    ".4.55": "JPEG Full Progression, Non-hierarchical, Process 10+12",
    ".4.56": "JPEG Full Progression, Non-hierarchical, Process 11+13",
    ".4.57": "JPEG Lossless, Non-hierarchical, Process 14",
    ".4.58": "JPEG Lossless, Non-hierarchical, Process 15",
    ".4.59": "JPEG Extended, Hierarchical, Process 16+18",
    ".4.60": "JPEG Extended, Hierarchical, Process 17+19",
    ".4.61": "JPEG Spectral Selection, Hierarchical, Process 20+22",
    ".4.62": "JPEG Spectral Selection, Hierarchical, Process 21+23",
    ".4.63": "JPEG Full Progression, Hierarchical, Process 24+26",
    ".4.64": "JPEG Full Progression, Hierarchical, Process 25+27",
    ".4.65": "JPEG Lossless, Hierarchical, Process 28",
    ".4.66": "JPEG Lossless, Hierarchical, Process 29",
    ".4.70": "JPEG Lossless, Non-hierarchical, 1st Order Prediction",
    ".4.80": "JPEG-LS Lossless",
    ".4.81": "JPEG-LS Lossy (Near-lossless)",
    ".4.90": "JPEG 2000 (Lossless only)",
    ".4.91": "JPEG 2000 (Lossless or Lossy)",
    ".4.92": "JPEG 2000 Part 2 Multicomponent Image Compression (Lossless only)",
    ".4.93": "JPEG 2000 Part 2 Multicomponent Image Compression (Lossless or Lossy)",
    ".4.94": "JPIP Referenced",
    ".4.95": "JPIP Referenced Deflate",
    ".4.100": "MPEG2 Main Profile @ Main Level",
    ".4.101": "MPEG2 Main Profile @ High Level",
    ".4.102": "MPEG-4 AVC/H.264 High Profile / Level 4.1",
    ".4.103": "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
    ".4.104": "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
    ".4.105": "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
    ".4.106": "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
    ".4.107": "HEVC/H.265 Main Profile / Level 5.1",
    ".4.108": "HEVC/H.265 Main 10 Profile / Level 5.1",
    ".5": "RLE Lossless",
}


def long_name(uid: str) -> str:
    """Return the spelt-out name of a transfer syntax, or what comes closest to it.

    A peer may have accepted anything, and files may be in anything; what is returned is printable.
    """
    if uid.startswith(_BASE):
        name = _NAMES.get(uid[len(_BASE) :])
        if name:
            return name
    return uids.symbolic(uid) or printable(uid)
