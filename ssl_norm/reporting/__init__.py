"""Tables, figures and one page of many run folders."""
