"""Messages that cross a boundary: the public HTTP shapes, and what our own processes send each other."""
