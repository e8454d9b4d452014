"""From a name or an ID to files: shipped bundles, the catalogue, the Hub and locks."""
