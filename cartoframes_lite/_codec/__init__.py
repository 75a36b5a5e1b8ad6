"""Pure conversions between frames, Arrow and PostgreSQL: no network, no files, no clock."""
