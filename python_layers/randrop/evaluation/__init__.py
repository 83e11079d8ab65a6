"""Measuring probability maps and label images against masks, and comparing losses."""
