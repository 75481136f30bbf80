"""From run folders to tables, figures and one page: what was measured, over how many seeds, and what to mind."""
