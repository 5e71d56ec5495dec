"""Messages that cross a boundary: public HTTP shapes, and what our processes send each other."""
