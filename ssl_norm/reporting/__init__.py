"""Reports on many run folders: tables, figures, and a page with both."""
