"""What is published: the tables, and summary statistics as the field exchanges them."""
