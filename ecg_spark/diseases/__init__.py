"""Diseases: diagnoses become cases and controls, and predictors are tested against each of them.

This package knows Spark and what the genetic steps publish, but neither Hail nor PyTorch. Its
modules in the order in which data pass through them:

    codes, phecode_map, diagnoses    who has which disease, and since when
    panels, assembly                 who is tested by which predictors
    outcomes                         who is a case of a disease, and who a control
    logistic, firth, cox             the tests, in NumPy
    testing, prediction, beats       one disease: its tests, its prediction, its mean beats
    phewas, results                  all diseases, distributed, and what is published of them
"""
