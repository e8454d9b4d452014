"""Lock, verify and upload a bundle, with licences and a model card (above runtime)."""
