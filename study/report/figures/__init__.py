"""The paper's figures 2 to 4 for print, each with a caption made of the records."""
