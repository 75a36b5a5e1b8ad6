"""The Maps API: instantiated maps, and their tiles, static images, attributes and dataviews."""
