"""Splits and labels from the folders of images; needs no torch."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from ssl_norm.errors import UserError
from ssl_norm.text import counted

Folders = Mapping[str, tuple[str, ...]]  # the folders in each path
LayoutName = Literal["auto", "classes", "splits", "flat"]
SPLIT_NAMES = {
    "train": "train training trainval",
    "test": "test testing",
    "validation": "val valid validation eval evaluation dev holdout",
}
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names.split()}
# Folder names for a kind of file, not for a class; they are ignored in names of splits.
_NEUTRAL = frozenset(("images", "image", "imgs", "img", "pictures", "photos", "jpg", "jpeg", "png"))
_FILLERS = _NEUTRAL | frozenset(("seg", "set", "data", "dataset", "split", ""))
_SHOWN = 6  # largest number of folders in a message


@dataclass(frozen=True)
class Layout:
    """Images with their split and label."""

    paths: tuple[str, ...]  # the images that are used
    is_test: tuple[bool, ...] | None = None  # whether an image is in the test folder, if any
    labels: tuple[int, ...] | None = None  # indices into `classes`; None: no labels
    classes: tuple[str, ...] = ()  # names of the class folders, sorted
    notes: tuple[str, ...] = ()  # messages on the layout, and on ignored images and labels


def read_layout(paths: Sequence[str], layout: LayoutName = "auto") -> Layout:
    """Return splits and labels of images from the folders in their paths.

    A folder that holds all images counts as the root. With `auto`, there are two cases.

    Folders are splits if one has a name for training images and at least one has a name for test or
    validation images (`SPLIT_NAMES` in upper or lower case, also as in `seg_train`, `train2017`,
    `test_images`). Images of other folders are left out. The test part is the test folder, or the
    validation folder if only that has labels. The folders below the splits are the labels. Test
    images without a label, or of a class without training images, are left out.

    Otherwise the folders of the first level are classes. There are labels if all images are in at
    least two such folders.

    Args:
        paths: paths of images, relative to the folder or archive, with `/` between parts.
        layout: `auto`; `classes`: folders are classes, regardless of names and content; `splits`:
            folders are splits, by any part of their names, and several may be for training;
            `flat`: no labels.

    Raises:
        UserError: two classes hold the same sub-folders, or it is not clear whether folders are
            splits or classes.

    Example:
        >>> read_layout(["cat/1.jpg", "cat/old/2.jpg", "dog/1.jpg"]).labels
        (0, 0, 1)
    """
    folders = {path: tuple(path.split("/")[:-1]) for path in paths}
    folders = _below(folders, len(_wrapper(folders)))
    if layout == "flat":
        return Layout(tuple(paths), notes=("layout: images without labels (data.layout=flat)",))
    splits = {} if layout == "classes" else _split_folders(folders, exact=layout == "auto")
    if splits:
        return _with_splits(folders, splits)
    if layout == "splits":
        raise UserError(f"data.layout=splits: no folder for training; {_seen(folders)}")
    found = _with_labels(folders)
    if layout == "auto":
        _require_classes(folders)
        split_of = {name: _split_of(name) for name in found.classes}
        tests = (("test", True), ("validation", True))
        if odd := [f"{name}/" for name, split in split_of.items() if split in tests]:
            note = f"{', '.join(odd)}: a class in spite of its name (no folder is named train)"
            return replace(found, notes=(*found.notes, note))
    return found


def _wrapper(folders: Folders) -> tuple[str, ...]:
    """Return the nested folders that hold all images."""
    ends = zip(min(folders.values(), default=()), max(folders.values(), default=()), strict=False)
    return tuple(name for name, _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def _below(folders: Folders, depth: int) -> dict[str, tuple[str, ...]]:
    return {path: parts[depth:] for path, parts in folders.items()}


def _contents(folders: Folders) -> dict[str, set[str]]:
    """Return the sub-folders of each folder of the first level, except for `_NEUTRAL` names."""
    contents = defaultdict[str, set[str]](set)
    for parts in folders.values():
        if parts:
            contents[parts[0]].update(name for name in parts[1:2] if name.lower() not in _NEUTRAL)
    return dict(sorted(contents.items()))


def _split_of(folder: str) -> tuple[str | None, bool]:
    """Return the split that a folder's name contains, and whether it contains nothing else."""
    words = re.split(r"[\W\d_]+", folder.lower())
    splits = [_SPLITS.get(word) or _SPLITS.get(word.removesuffix("set")) for word in words]
    if len(found := {split for split in splits if split}) == 1:
        others = {word for word, split in zip(words, splits, strict=True) if not split}
        return found.pop(), others <= _FILLERS
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", folder)  # as in trainA
    return next((_SPLITS[p.lower()] for p in parts if p.lower() in _SPLITS), None), False


def _split_folders(folders: Folders, *, exact: bool) -> dict[str, list[str]]:
    """Return the folders of each split, or nothing if there are no splits; UserError if unclear."""
    contents = _contents(folders)
    named = {folder: _split_of(folder) for folder in contents}
    by_split: dict[str, list[str]] = {
        split: [f for f, (of, is_exact) in named.items() if of == split and (is_exact or not exact)]
        for split in SPLIT_NAMES
    }
    train, *tests = by_split.values()
    if not exact:
        return {split: names for split, names in by_split.items() if names} if train else {}
    if (
        len(train) == 1
        and all(len(names) < 2 for names in tests)
        and (any(tests) or len(contents) == 1)
    ):
        return {split: names for split, names in by_split.items() if names}
    found = [split for split, _ in named.values() if split]
    is_mixed = any(split and len(contents[f]) > 1 for f, (split, _) in named.items()) and any(
        not below for below in contents.values()
    )
    if len(set(found)) > 1 or is_mixed:
        raise UserError(
            f"cannot tell whether folders are splits or classes; {_seen(folders)}; "
            f"set data.layout=splits or classes, or flat to pretrain on all images"
        )
    return {}


def _require_classes(folders: Folders) -> None:
    """Raise UserError if two folders hold the same sub-folders, which classes never do."""
    contents = _contents(folders)
    holders = defaultdict[str, list[str]](list)
    for folder, below in contents.items():
        for other, shared in Counter(o for name in below for o in holders[name]).items():
            if shared > 1 or contents[other] == below:
                same = ", ".join(sorted(contents[other] & below)[:_SHOWN])
                raise UserError(
                    f"{other}/ and {folder}/ hold the same sub-folders ({same}), so they are no "
                    "classes; point data.root at one of them, call them train and test, or set "
                    "data.layout=classes, splits or flat"
                )
        for name in below:
            holders[name].append(folder)


def _seen(folders: Folders) -> str:
    contents = _contents(folders)
    seen = [f"{f}/ ({len(below)} sub-folders)" for f, below in contents.items()]
    more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    return f"found {', '.join(seen[:_SHOWN]) or 'no folders'}{more}"


def _with_splits(folders: Folders, splits: Mapping[str, list[str]]) -> Layout:
    """Return the layout of splits."""
    parts = {
        split: {path: below[1:] for path, below in folders.items() if {*below[:1]} & {*names}}
        for split, names in splits.items()
    }
    train = _below(parts["train"], len(_wrapper(parts["train"])))
    _require_classes(train)
    classes = set(_with_labels(train).classes)
    test, tested = dict[str, tuple[str, ...]](), ""
    for split in ("test", "validation"):
        part = parts.get(split, {})
        wrapper = _wrapper(part)
        part = _below(part, len(list(takewhile(lambda name: name not in classes, wrapper))))
        test = {path: below for path, below in part.items() if {*below[:1]} & classes}
        if test:
            tested = split
            break
    train_names, test_names = (
        " and ".join(f"{name}/" for name in splits.get(split, ())) for split in ("train", tested)
    )
    named = f"{train_names} and {test_names}" if test else train_names
    labelled = train | test
    used = {path: labelled[path] for path in folders if path in labelled}
    layout = _with_labels(used, f"{named}, ")
    notes = [*layout.notes]
    if lacking := sorted(classes - {below[0] for below in test.values()}):
        found = f"{test_names} has no image of {', '.join(lacking[:_SHOWN])}"
        held_out = "no test images with labels; a part of the training images is held out"
        notes.append(found + " ..." * (len(lacking) > _SHOWN) if test else held_out)
    if left_out := len(folders) - len(used):
        unknown = " and those there without a class folder" if test else ""
        notes.append(f"left out: {counted(left_out, 'image')} outside of {named}{unknown}")
    is_test = tuple(path in test for path in used) if test else None
    return replace(layout, is_test=is_test, notes=tuple(notes))


def _with_labels(folders: Folders, where: str = "") -> Layout:
    """Return a layout whose classes are the folders of the first level."""
    paths, outside = tuple(folders), sum(not parts for parts in folders.values())
    classes = sorted({parts[0] for parts in folders.values() if parts})
    if len(classes) < 2 or outside:
        note = "no labels (there are no two class folders)"
        if len(classes) >= 2:
            note = f"no labels ({counted(outside, 'image')} outside of the class folders)"
        return Layout(paths, notes=(f"layout: {where}{note}",))
    index = {name: label for label, name in enumerate(classes)}
    labels = tuple(index[parts[0]] for parts in folders.values())
    note = f"layout: {where}{len(classes)} class folders"
    return Layout(paths, None, labels, tuple(classes), (note,))
