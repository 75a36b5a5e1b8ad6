"""Imports: what users bring in, from the request to the table. Files become tables in `files`."""
