"""Diseases: diagnoses become cases and controls, and predictors are tested against each of them.

It knows Spark and what the genetic steps publish, but neither Hail nor PyTorch. In the order of the
way through it:

    codes, phecode_map, diagnoses    whose disease is what, and since when
    panels, assembly                 who is tested by which predictors
    outcomes                         who is a case of a disease, and who a control
    logistic, firth, cox             the tests, in NumPy
    testing, prediction, beats       one disease: its tests, what tells it, what it does to the beat
    phewas, results                  all diseases, distributed, and what is published of them
"""
