"""Splits and labels from the names of sub-folders; needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ssl_norm.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Images with their split and label."""

    paths: tuple[str, ...]  # the images that are used
    is_test: tuple[bool, ...] | None = None  # whether each is in the test folder, if there is one
    labels: tuple[int, ...] | None = None  # of each, an index into `classes`; None without labels
    classes: tuple[str, ...] = ()  # names of the class folders, sorted
    notes: tuple[str, ...] = ()  # sentences for the user on images and labels that are left out


def read_layout(paths: Sequence[str]) -> Layout:
    """Return splits and labels of images from the folders in their paths.

    Splits: if there are folders `train` and one of `test` and `val` (in any case of letters), or
    `train` alone holds all images, these are the splits and images outside of them are left out.
    Of `test` and `val`, `test` is used, unless only `val` has class folders.

    Labels: the first level of folders, below the splits where there are any, if all images are in
    such folders and there are at least two; otherwise there are no labels.

    Args:
        paths: of images, relative to the folder or archive, with `/` between parts.

    Raises:
        UserError: the class folders of the splits differ.

    Example:
        >>> read_layout(["cat/1.jpg", "cat/old/2.jpg", "dog/1.jpg"]).labels
        (0, 0, 1)
    """
    splits = _split_folders(paths)
    if splits is None:
        return _with_labels(tuple(paths), None, [_folder(path, 0) for path in paths], ())
    train, test = splits
    used = [path for path in paths if _folder(path, 0) in (train, test or train)]
    notes = []
    if len(used) < len(paths):
        named = f"{train}/ and {test}/" if test else f"{train}/"
        notes.append(f"{len(paths) - len(used):,} images outside of {named} are left out")
    classes = [_folder(path, 1) for path in used]
    is_test = None
    if test is not None:
        is_test = tuple(_folder(path, 0) == test for path in used)
        _require_same_classes(train, test, classes, is_test)
    return _with_labels(tuple(used), is_test, classes, notes)


def _split_folders(paths: Sequence[str]) -> tuple[str, str | None] | None:
    tops = {_folder(path, 0) for path in paths}
    by_name = {top.lower(): top for top in tops if top is not None}
    train = by_name.get("train")
    tests = [by_name[name] for name in ("test", "val") if name in by_name]
    if train is None or not (tests or tops == {train}):
        return None
    if not tests:
        return train, None
    labelled = {_folder(path, 0) for path in paths if _folder(path, 1) is not None}
    return train, next((test for test in tests if test in labelled), tests[0])


def _folder(path: str, level: int) -> str | None:
    """Return a folder of a path, counted from the root; None where the path has fewer."""
    folders = path.split("/")[:-1]
    return folders[level] if len(folders) > level else None


def _require_same_classes(
    train: str, test: str, classes: Sequence[str | None], is_test: Sequence[bool]
) -> None:
    pairs = {pair for pair in zip(classes, is_test, strict=True) if pair[0] is not None}
    differing = sorted(
        (name or "", where) for name, where in pairs if (name, not where) not in pairs
    )
    if differing:
        first, in_test = differing[0]
        here, there = (test, train) if in_test else (train, test)
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise UserError(
            f"{here}/{first} has no counterpart in {there}/{more}; "
            "the class folders of both must be the same"
        )


def _with_labels(
    paths: tuple[str, ...],
    is_test: tuple[bool, ...] | None,
    folders: Sequence[str | None],
    notes: Iterable[str],
) -> Layout:
    classes = sorted({folder for folder in folders if folder is not None})
    outside = folders.count(None)
    if len(classes) < 2 or outside:
        note = "no labels (there are no two class folders)"
        if len(classes) >= 2:
            note = f"no labels ({outside:,} images are outside of the class folders)"
        return Layout(paths, is_test, notes=(*notes, note))
    index = {name: label for label, name in enumerate(classes)}
    labels = tuple(index[folder] for folder in folders if folder is not None)
    return Layout(paths, is_test, labels, tuple(classes), tuple(notes))
