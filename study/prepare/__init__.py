"""From scans on disk to shards in the store."""
