"""A network for a microscope: scenes, tasks, loop, accuracy."""
