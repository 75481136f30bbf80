import pytest

from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.errors import UserError


def test_first_level_folders_are_classes():
    layout = read_layout(["cat/1.png", "cat/indoor/2.png", "dog/1.png"])
    assert layout.labels == (0, 0, 1)
    assert layout.classes == ("cat", "dog")
    assert layout.is_test is None
    assert layout.notes == ()


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["1.png", "2.png"], "no two class folders"),
        (["holiday/1.png", "holiday/beach/2.png"], "no two class folders"),
        (["1.png", "cat/1.png", "dog/1.png"], "1 images are outside of the class folders"),
    ],
)
def test_there_are_no_labels_without_two_classes_that_hold_everything(paths, reason):
    layout = read_layout(paths)
    assert layout.labels is None
    assert layout.classes == ()
    assert len(layout.notes) == 1
    assert reason in layout.notes[0]


@pytest.mark.parametrize("test", ["test", "val", "Test", "VAL"])
def test_train_and_test_folders_are_splits(test):
    layout = read_layout(["train/a/1.png", "train/b/1.png", f"{test}/a/1.png", f"{test}/b/1.png"])
    assert layout.labels == (0, 1, 0, 1)
    assert layout.is_test == (False, False, True, True)


def test_train_alone_is_the_root():
    layout = read_layout(["train/a/1.png", "train/b/1.png"])
    assert layout.labels == (0, 1)
    assert layout.is_test is None


def test_a_class_called_train_is_a_class():
    assert read_layout(["bus/1.png", "car/1.png", "train/1.png"]).classes == ("bus", "car", "train")


def test_images_beside_the_splits_are_left_out():
    layout = read_layout(["cover.png", "extra/1.png", "test/1.png", "train/1.png"])
    assert layout.paths == ("test/1.png", "train/1.png")
    assert layout.is_test == (True, False)
    assert layout.notes[0] == "2 images outside of train/ and test/ are left out"


def test_the_labelled_one_of_test_and_val_is_used():
    train = ["train/a/1.png", "train/b/1.png"]
    validation = ["val/a/1.png", "val/b/1.png"]
    assert read_layout(["test/1.png", *train, *validation]).paths == (*train, *validation)
    assert read_layout(["test/a/1.png", "test/b/1.png", *train, *validation]).paths == (
        "test/a/1.png",
        "test/b/1.png",
        *train,
    )


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (["test/a/1.png", "test/c/1.png"], "train/b has no counterpart in test/ "),
        (["test/a/1.png"], "train/b has no counterpart in test/;"),
        (["test/1.png"], r"train/a has no counterpart in test/ \(and 1 more\)"),
    ],
)
def test_different_classes_in_the_splits_are_an_error(test, message):
    with pytest.raises(UserError, match=message):
        read_layout(["train/a/1.png", "train/b/1.png", *test])
