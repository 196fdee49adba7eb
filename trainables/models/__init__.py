"""One module per detector; the file name is its name in grids, records and tables."""
