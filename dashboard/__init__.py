"""Read-only Streamlit dashboard over a store."""
