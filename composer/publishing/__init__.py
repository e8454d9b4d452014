"""What a bundle needs to be published: a lock, licences, a model card, an upload."""
