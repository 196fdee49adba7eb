"""What is wrong in a store, and what no record needs."""
