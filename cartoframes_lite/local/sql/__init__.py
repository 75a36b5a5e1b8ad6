"""SQL API: sessions, result formats, COPY, batch jobs, and parsing of SQL text."""
