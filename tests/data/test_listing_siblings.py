"""Folders that cannot be read, and expressions that name no object."""

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
