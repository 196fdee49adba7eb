"""One module per grid; the file name is what ``--grid`` takes."""
