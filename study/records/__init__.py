"""The only truth about a study: its records, on any pyarrow filesystem."""
