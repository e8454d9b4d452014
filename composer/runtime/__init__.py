"""Open a checked bundle, load its components, plan and run a task (above checker, generation)."""
