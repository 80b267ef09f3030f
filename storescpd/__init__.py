"""The daemon: it receives DICOM objects and writes them to disk."""
