"""The SQL API: sessions, result formats, batch jobs, and checks of SQL text."""
