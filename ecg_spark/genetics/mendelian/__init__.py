"""Mendelian randomisation: what factors and traits do to diseases, from summary statistics.

The room's door is `study.randomise`.
"""
