"""Serve bundles over HTTP as OpenAI's API does (above jobs)."""
