"""The daemon: it receives DICOM objects and writes them to disk."""

from storescpd import forkhooks

forkhooks.leave_out()
