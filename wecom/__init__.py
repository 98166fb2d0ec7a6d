"""What WeCom says: callbacks, events, tokens and API; knows nothing of our database or services."""
