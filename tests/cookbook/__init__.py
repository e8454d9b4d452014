"""The bundles of the cookbook, with tiny random weights, against torch."""
