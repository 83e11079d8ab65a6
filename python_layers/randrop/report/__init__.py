"""What people read of an evaluation: pages, tables, figures and pictures."""
