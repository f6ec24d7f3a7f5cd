"""The sandbox's protocol, as generated; nothing here is public."""
