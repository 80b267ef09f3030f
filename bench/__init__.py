"""Benchmarks of storescpd and storescu against the DCMTK programs of the same command line.

Run as ``python -m bench`` from the top of the source tree; not part of the installed packages.
"""
