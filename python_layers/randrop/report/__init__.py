"""Evaluations for people to read: pages, tables, figures and pictures."""
