"""Folders as people have them: unreadable, linked, nested, of other encodings; expressions that name no object."""

import os
import unicodedata

import pytest
from PIL import Image

from sketchlab.data import listing
from sketchlab.data.images.tree import find
from sketchlab.errors import UserError


def test_an_unreadable_folder_is_not_skipped(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    real = listing.os.scandir

    def denied(path="."):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(listing.os, "scandir", denied)
    with pytest.raises(UserError, match="/a: Permission denied; make it readable"):
        listing.files(tmp_path)


@pytest.mark.parametrize("group_by", ["(z)?[0-9]+", "()[0-9]+"])
def test_an_empty_bracket_names_no_object(tmp_path, group_by):
    (tmp_path / "a").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a/1.png")
    with pytest.raises(UserError, match="its bracket is empty in a/1.png"):
        find(tmp_path, None, group_by=group_by)


@pytest.fixture
def shelf(tmp_path):
    """Puts images at the given places below a folder."""

    def put(*places: str):
        for place in places:
            path = tmp_path / "shelf" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(path, format="PNG")
        return tmp_path / "shelf"

    return put


@pytest.mark.parametrize("group_by", ["(zzz)-.*", r"(\d+)"])
def test_an_expression_that_matches_no_name_is_a_mistake(shelf, group_by):
    with pytest.raises(UserError, match="matches no file name, as 'one-1'"):
        find(shelf("a/one-1.png", "b/two-1.png"), None, group_by=group_by)


def test_names_that_an_expression_does_not_match_are_counted(shelf):
    tree = find(shelf("a/one-1.png", "a/one-2.png", "b/odd.png"), None, group_by=r"(.+)-\d+")
    assert tree.objects == ["a/one", "a/one", "b/odd"]
    assert tree.notes == [
        "data.group_by matches 2 of 3 file names, not 'odd': each of the others is an object of its own"
    ]


def test_one_name_in_two_encodings_is_one_class_and_is_said(shelf):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    tree = find(shelf(f"{composed}/1.png", f"{apart}/2.png", "b/3.png"), None)
    assert tree.classes == ["b", composed] and len(tree.names) == 3
    assert any("are one class: their names differ in encoding alone" in note for note in tree.notes)


@pytest.mark.parametrize(("inner", "what"), [(("train", "test"), "splits"), (("cat", "dog"), "classes")])
def test_an_archive_folder_around_the_data_is_named_for_what_it_holds(shelf, inner, what):
    root = shelf(*(f"archive/{name}/a/1.png" for name in inner))
    (note,) = find(root, None).notes
    assert note.endswith(f"if these are the {what}, data.folder={root / 'archive'}")


def test_a_link_to_a_folder_above_adds_no_files(shelf):
    root = shelf("a/1.png", "b/2.png")
    os.symlink("..", root / "a" / "up")
    os.symlink(root, root / "a" / "root")
    assert find(root, None).names == ["a/1.png", "b/2.png"]


def test_a_class_without_images_names_its_own_files(shelf):
    root = shelf("a/1.png", "b/2.png")
    (root / "a/notes.heic").write_bytes(b"x")
    (root / "c").mkdir()
    with pytest.raises(UserError, match=r"class 'c' has no images \([^)]*\) under [^,;]*;"):
        find(root, None)
    (root / "c/3.heic").write_bytes(b"x")
    with pytest.raises(UserError, match=r"class 'c' has no images .*, only \.heic files"):
        find(root, None)


def test_images_by_other_suffixes(shelf):
    assert find(shelf("a/1.jfif", "b/3.JPE"), None).names == ["a/1.jfif", "b/3.JPE"]


def test_a_folder_of_classes_that_cannot_be_read(tmp_path, monkeypatch):
    def denied(path="."):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(listing.os, "scandir", denied)
    for ask in (lambda: listing.folders(tmp_path), lambda: listing.holds(tmp_path, (".png",))):
        with pytest.raises(UserError, match="Permission denied; make it readable"):
            ask()
