"""Catalog of the account's datasets and maps: metadata, privacy, sharing, search and exports."""
