"""The protocol, as generated; nothing here is public."""
