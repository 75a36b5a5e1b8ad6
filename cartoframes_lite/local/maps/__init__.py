"""The Maps API: maps instantiated from a description, and their tiles, pictures, attributes and dataviews."""
