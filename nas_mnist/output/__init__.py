"""Floor 4: tables, figures and files made from studies. It decides nothing."""
