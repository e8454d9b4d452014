"""Run bundles: manifests that wire model components of several backends into one graph."""
