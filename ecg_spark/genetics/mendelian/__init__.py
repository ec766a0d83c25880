"""Mendelian randomisation: the effects of factors and traits on diseases, from summary statistics.

The entry point is `study.randomise`.
"""
