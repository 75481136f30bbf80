"""What the sub-folders of a folder of images mean; needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ssl_norm.errors import UserError


@dataclass(frozen=True)
class Layout:
    """The images of a folder and what their places say.

    Attributes:
        paths: the images that are used.
        is_test: whether each lies in the test folder; None where there is no such folder.
        labels: the class of each, an index into `classes`; None where there are no labels.
        classes: names of the class folders, sorted.
        notes: sentences for the user on what was left out.
    """

    paths: tuple[str, ...]
    is_test: tuple[bool, ...] | None = None
    labels: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_layout(paths: Sequence[str]) -> Layout:
    """Return what the places of images in a folder say of splits and labels.

    Splits: if `train` and one of `test` and `val` are there (in any case of letters), or `train`
    alone holds all images, these are the splits and anything beside them is left out. If both
    `test` and `val` are there, `test` is used, unless only `val` has class folders.

    Labels: the first level of folders, under the splits where there are any, if all images lie in
    them and there are at least two; otherwise there are no labels.

    Args:
        paths: of images, relative to the folder, with `/` between parts.

    Raises:
        UserError: the class folders of the splits differ.

    Example:
        >>> read_layout(["cat/1.jpg", "cat/old/2.jpg", "dog/1.jpg"]).labels
        (0, 0, 1)
    """
    splits = _split_folders(paths)
    if splits is None:
        return _with_labels(tuple(paths), None, [_class_folder(path, 0) for path in paths], ())
    train, test = splits
    parts = [part for part in (train, test) if part is not None]
    used = [path for path in paths if _top(path) in parts]
    notes = []
    if len(used) < len(paths):
        named = " and ".join(f"{part}/" for part in parts)
        notes.append(f"{len(paths) - len(used):,} images outside of {named} are left out")
    classes = [_class_folder(path, 1) for path in used]
    is_test = None
    if test is not None:
        is_test = tuple(_top(path) == test for path in used)
        _require_same_classes(train, test, classes, is_test)
    return _with_labels(tuple(used), is_test, classes, notes)


def _split_folders(paths: Sequence[str]) -> tuple[str, str | None] | None:
    """Return the names of the training and test folders, None for one that is missing."""
    tops = {_top(path) for path in paths}
    by_name = {top.lower(): top for top in tops if top is not None}
    train = by_name.get("train")
    tests = [by_name[name] for name in ("test", "val") if name in by_name]
    if train is None or not (tests or tops == {train}):
        return None
    if not tests:
        return train, None
    labelled = {_top(path) for path in paths if _class_folder(path, 1) is not None}
    return train, next((test for test in tests if test in labelled), tests[0])


def _top(path: str) -> str | None:
    """Return the folder that a path begins with; None where the image lies in the root."""
    return _class_folder(path, 0)


def _class_folder(path: str, level: int) -> str | None:
    folders = path.split("/")[:-1]
    return folders[level] if len(folders) > level else None


def _require_same_classes(
    train: str, test: str, classes: Sequence[str | None], is_test: Sequence[bool]
) -> None:
    names: tuple[set[str], set[str]] = (set(), set())
    for name, in_test in zip(classes, is_test, strict=True):
        if name is not None:
            names[in_test].add(name)
    differing = sorted(names[0] ^ names[1])
    if differing:
        first = differing[0]
        here, there = (train, test) if first in names[0] else (test, train)
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
    classes = tuple(sorted({folder for folder in folders if folder is not None}))
    outside = sum(folder is None for folder in folders)
    if len(classes) < 2:
        return Layout(paths, is_test, notes=(*notes, "no labels (there are no two class folders)"))
    if outside:
        note = f"no labels ({outside:,} images lie beside the class folders, not in them)"
        return Layout(paths, is_test, notes=(*notes, note))
    index = {name: label for label, name in enumerate(classes)}
    labels = tuple(index[folder] for folder in folders if folder is not None)
    return Layout(paths, is_test, labels, classes, tuple(notes))
