"""What is published: tables, and summary statistics in the formats of the field."""
