"""Polygenic scores: fitted within a study and told honestly, or taken from files and added up.

The room's doors are `study.score_study` and `applying.apply_files`.
"""
