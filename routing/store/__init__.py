"""State shared through Redis: the only place of ours that imports redis."""
