import random

import pytest

from ssl_norm.data.sources.folder import find_images
from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.errors import UserError

TRAIN = ["train/a/1.png", "train/b/1.png"]


@pytest.mark.parametrize(
    ("paths", "classes", "note"),
    [
        (["1.png", "2.png"], "", "no two class folders"),
        (["holiday/1.png", "holiday/beach/2.png"], "", "no two class folders"),
        (["1.png", "cat/1.png", "dog/1.png"], "", "1 image outside of the class folders"),
        (TRAIN, "a b", "2 class folders"),
        (["bus/1.png", "car/1.png", "train/1.png"], "bus car train", "layout: 3 class folders"),
        (
            ["cat/1.png", "dog/1.png", "Test/1.png"],
            "Test cat dog",
            "Test/: a class in spite of its",
        ),
        ([*TRAIN, "test/a/1.png", "test/c/1.png"], "a b", "test/ has no image of b"),
        ([*TRAIN, "test/1.png"], "a b", "no test images with labels; a part of the training"),
        ([*TRAIN, "test/c/1.png", "test/d/1.png"], "a b", "no test images with labels; a part of"),
    ],
)
def test_classes_are_folders_that_hold_all_images_for_training(paths, classes, note):
    layout = read_layout(paths)
    assert layout.classes == tuple(classes.split())
    assert (layout.labels is None) == (not classes)
    assert any(note in line for line in layout.notes)
    if paths[:2] == TRAIN:
        assert layout.paths == tuple(path for path in paths if path in [*TRAIN, "test/a/1.png"])


def test_the_labelled_one_of_test_and_val_is_used():
    validation = ["val/a/1.png", "val/b/1.png"]
    test = ["test/a/1.png", "test/b/1.png"]
    assert read_layout(["test/1.png", *TRAIN, *validation]).paths == (*TRAIN, *validation)
    assert read_layout([*test, *TRAIN, *validation]).paths == (*test, *TRAIN)


TRAINS = ["train", "Train", "TRAINING", "seg_train", "train2017", "train_images", "TrainSet"]
TESTS = ["test", "Testing", "seg_test", "test2017", "TEST", "testset"]
VALIDATIONS = ["val", "valid", "VALIDATION", "eval", "val_images", "dev", "val-set"]
JUNK = [
    "__MACOSX/train/a/._1.png", "__MACOSX/._x.png", ".DS_Store", "Thumbs.db", ".cache/x.png",
    "@eaDir/a/SYNO_THUMB.jpg", "{0}/.ipynb_checkpoints/1.png", "{0}/a/Thumbs.db", "{0}/a/.1.png",
    "$RECYCLE.BIN/1.png", "{0}/__MACOSX/a/1.png", "readme.txt",
]  # fmt: skip
CLASSES = ["a", "b c", "ü"]


def listed(folder, names):
    """Return the images of a folder with these files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return find_images(folder).paths


@pytest.mark.parametrize("number", range(60))
def test_splits_are_known_by_usual_names_in_any_layout(tmp_path, number):
    chance = random.Random(number)
    train, test, extra = map(chance.choice, (TRAINS, TESTS, VALIDATIONS))
    if chance.random() < 0.5:
        test, extra = extra, None
    inner = chance.choice(["", "images/", "{0}/"])
    root = chance.choice(["", "archive/", "download/archive/"])
    in_class = chance.choice(["", "images/", "images/deep/"])
    kind = chance.choice(["labelled", "flat test", "flat", "a class lacks", "an unknown class"])
    known = ["a"] if kind == "a class lacks" else CLASSES
    expected = {}
    for count, split, classes in ((3, train, CLASSES), (2, test, known)):
        here, is_flat = root + split + "/" + inner.format(split), "flat" in kind and split == test
        for index in range(count):
            for label in [""] if is_flat or kind == "flat" else classes:
                path = f"{here}{label}/{in_class}{index}.png".replace("//", "/")
                expected[path] = (split == test, label)
    others = [f"{root}{extra}/{n}/1.png" for n in CLASSES] * bool(extra and kind == "labelled")
    if kind == "an unknown class":
        others += [f"{root}{test}/{inner.format(test)}new/1.png"]
    junk = [root + name.format(train) for name in chance.sample(JUNK, 4)]
    layout = read_layout(listed(tmp_path, [*expected, *others, *junk]))
    if "flat" in kind:
        expected = {path: value for path, value in expected.items() if not value[0]}
    assert set(layout.paths) == set(expected)
    names = [layout.classes[label] for label in layout.labels or ()] or [""] * len(expected)
    is_test = layout.is_test or [False] * len(expected)
    assert dict(zip(layout.paths, zip(is_test, names, strict=True), strict=True)) == expected
    assert f"{train}/" in layout.notes[0]
    left_out = bool(others) or "flat" in kind
    assert any("left out" in note for note in layout.notes) == left_out


FOLDERS = ["photo", "art", "part 1", "trainA", "testB", "x", "fold0", "batch", "2019", "cats"]


@pytest.mark.parametrize("number", range(40))
def test_folders_of_the_same_content_are_never_classes(number):
    chance = random.Random(number)
    tops = chance.sample(FOLDERS, chance.randint(2, 4))
    below = chance.sample(["a", "b", "c", "d", "e"], chance.randint(1, 4))
    where = chance.choice(["", "root/", "train/"])
    paths = [f"{where}{top}/{name}/1.png" for top in tops for name in below]
    paths += [f"{where}{tops[0]}/only here/1.png"] * (len(below) > 1) + ["1.png"] * (not where)
    with pytest.raises(UserError, match=r"hold the same sub-folders|cannot tell") as error:
        read_layout(sorted(paths))
    assert "data.layout=" in str(error.value)
    assert read_layout(paths, "flat").labels is None
    if where == "root/":
        assert read_layout(paths, "classes").classes == tuple(sorted(tops))


@pytest.mark.parametrize(
    "paths",
    [
        ["trainA/1.png", "trainB/1.png", "testA/1.png", "testB/1.png"],
        ["train2014/1.png", "train2017/1.png", "val2017/1.png"],
        ["val/1.png", "test/1.png"],
        ["train/a/1.png", "train/b/1.png", "other/1.png"],
        ["my train data/1.png", "the test data/1.png"],
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(paths):
    first = min(paths).split("/")[0]
    with pytest.raises(UserError, match=f"{first}/ .*; set data.layout=splits or classes") as error:
        read_layout(paths)
    assert "\n" not in str(error.value)
    if any("train" in path for path in paths):
        layout = read_layout(paths, "splits")
        assert {path for path in layout.paths if "train" not in path.split("/")[0]} == set()
    else:
        with pytest.raises(UserError, match=r"no folder for training; found test/"):
            read_layout(paths, "splits")
    assert len(read_layout(paths, "classes").classes) >= 2
    assert len(read_layout(paths, "flat").paths) == len(paths)
