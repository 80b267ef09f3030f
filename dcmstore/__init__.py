"""The Storage service on the DICOM upper layer: what receiver and sender share."""

__version__ = "0.1.0"

# A UUID-derived UID under 2.25 (PS3.5 annex B.2), drawn once for this project.
IMPLEMENTATION_CLASS_UID = "2.25.151726490169350529005010102213156757814"
IMPLEMENTATION_VERSION = "STORESCPD_" + __version__.replace(".", "")
