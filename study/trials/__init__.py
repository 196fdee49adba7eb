"""Running trials on Ray Tune: one specification in, one record out."""
