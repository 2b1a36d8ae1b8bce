"""Grids cover their field; frames are counted per voxel."""

import numpy as np

from planeloc.rendering.grid import Grid, count_frames
from support.rendered_tables import DEPTHS_NM, SIZE_NM, table


def test_frames_are_counted_once_per_voxel():
    rows = table(5, frame=[0, 0, 1, 4, 4], x=[10, 12, 20, 30, 10], y=5.0, z=[0, 10, 49, 10, 1e6])
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (25.0, 25.0, 50.0))
    stack = np.stack(list(count_frames(rows, grid).slices(grid)))
    assert stack[8, 0, 0] == 2  # frames 0 (twice) and 1
    assert stack[8, 0, 1] == 1
    assert stack[15, 0, 0] == 1  # beyond the last slice
    assert stack.sum() == 4


def test_voxels_outside_the_field_are_left_out():
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (25.0, 25.0, 50.0))
    rows = table(4, x=[-1, 2001, 100, 100], y=[100, 100, -1, 1601])
    assert len(count_frames(rows, grid).voxels) == 0


def test_grid_covers_a_field_that_voxels_do_not_divide():
    assert Grid.cover((1000.0, 990.0), (-300.0, 310.0), (100.0, 100.0, 100.0)).shape == (7, 10, 10)
    assert Grid.cover((3 * 0.1, 1.0), (0.0, 1.0), (0.1, 0.1, 0.1)).shape == (10, 10, 3)
