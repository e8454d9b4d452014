"""Find files by a name or ID: shipped bundles, the catalogue, the Hub and locks."""
