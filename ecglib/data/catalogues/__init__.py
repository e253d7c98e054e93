"""Who is in a database, with which labels."""
