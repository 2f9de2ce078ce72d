"""What the tabs at the right hold, one pane a file."""
