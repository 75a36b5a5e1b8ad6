"""Import API jobs: downloads, uploads, queries and connectors. `files` loads files into tables."""
