"""The shipped components, registered by the entry points that anyone can use."""
