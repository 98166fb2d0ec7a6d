"""Signed H5 pages beside the chat."""
