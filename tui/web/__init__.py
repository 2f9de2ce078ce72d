"""The terminal UI in a browser: a small web server that runs one app process a page. Needs the extra ``web``."""
