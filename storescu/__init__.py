"""The sender: it transmits DICOM files to a storage daemon."""
