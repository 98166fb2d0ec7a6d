"""Schema migrations, run by ``wecom-crm migrate``."""
