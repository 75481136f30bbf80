"""Data sets of torchvision, with errors of one line."""

import os
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ssl_norm.errors import UserError

Dataset = TypeVar("Dataset")


def open_dataset(
    make: Callable[[str, bool], Dataset], name: str, folder: str, root: str | None, download: bool
) -> Dataset:
    """Return `make(root, download)`, a torchvision data set.

    Args:
        make: takes the folder that holds `folder`, and whether to download missing files.
        name: of the data set.
        folder: name of the folder with the files; `root` may also name this folder itself.
        root: folder that holds, or will hold, `folder`; `~` is expanded.
        download: whether to download missing files.

    Raises:
        UserError: files are missing or broken, and cannot be downloaded.
    """
    if not root:
        raise UserError(f"{name} needs data.root=<folder that holds {folder}>")
    place = Path(os.path.expanduser(root)).absolute()
    if place.name == folder:
        place = place.parent
    try:
        # Arrays that Python 2 pickled make NumPy warn.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(str(place), download)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        tried = f"fetching it failed ({error})" if download else "data.download=false"
        raise UserError(
            f"no complete {name} in {place / folder}, and {tried}; "
            f"point data.root at a folder that holds {folder}, or use data=folder for image files"
        ) from error
