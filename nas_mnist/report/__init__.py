"""Tables, figures and files made from studies. It decides nothing."""
