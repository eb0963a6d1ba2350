"""Tables, figures and a page, drawn from rows alone. Never imports torch."""
