"""The command ``wecom-crm``: the only place that knows every part."""
