"""The `pointsman` command: start, keys, credits, catalog, doctor."""
