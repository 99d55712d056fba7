"""PostgreSQL: how it is reached, started, described and migrated. Knows no feature."""
