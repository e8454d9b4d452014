"""Run a job on a corpus: its clips, its rows in shards, and the workers that run it."""
