"""The CRM database: tables, engine, upserts; the same on SQLite, PostgreSQL and MariaDB."""
