"""Makes the CRM tables equal to what WeCom says: apply, refresh, dead letters."""
