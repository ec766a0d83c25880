"""Polygenic scores: fitted within a study by cross-fitting, or computed from scoring files.

The entry points are `study.score_study` and `applying.apply_files`.
"""
