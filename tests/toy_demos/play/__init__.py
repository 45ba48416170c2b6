"""One chapter of toys."""
