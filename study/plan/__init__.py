"""What a study is going to do: a grid laid over the data, and what of it is done."""
