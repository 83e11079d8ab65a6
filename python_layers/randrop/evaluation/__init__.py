"""Measuring probability maps and label images against masks, and losses with losses."""
