"""Widgets of our own, one a file. Each draws itself with a pure function that gives lines of spans."""
