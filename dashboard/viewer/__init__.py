"""The volume viewer: what draws a scan in three planes, in the browser."""
