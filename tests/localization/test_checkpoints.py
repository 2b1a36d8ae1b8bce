"""Checkpoints of a table: which frames they hold, and which are missing."""

from planeloc.io import localization_table
from planeloc.localization import checkpoints


def test_overlapping_checkpoints_give_no_frame_twice(tmp_path):
    for start, stop in ((0, 50), (0, 100), (50, 75), (120, 130)):
        checkpoints.write(tmp_path, "x", start, stop, localization_table.empty())
    found = checkpoints.finished(tmp_path, "x")
    assert [checkpoint.frames for checkpoint in found] == [range(0, 50), range(50, 75), range(120, 130)]
    missing = checkpoints.missing_blocks(found, 203, 40)
    assert missing == [range(75, 80), range(80, 120), range(130, 160), range(160, 200), range(200, 203)]
