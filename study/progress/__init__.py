"""How far a run is, told to people and to other processes."""
