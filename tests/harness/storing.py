"""Objects as a receiver stores them, without a receiver around."""

from dcmstore.dataset import OutputOptions
from storescpd.storage import StoreOptions
from storescpd.temporary import Folder


def normal_mode(
    folder: Folder, output: OutputOptions, *, store_unparseable: bool = False
) -> StoreOptions:
    """Return the options of normal mode with everything else as it is by default."""
    return StoreOptions(
        folder=folder,
        spool=None,
        bit_preserving=False,
        meta_header=True,
        extension="",
        output=output,
        store_unparseable=store_unparseable,
    )
