"""The least that a study file has to say."""

MINIMAL = {
    "name": "s",
    "output": "out",
    "ecg": {"path": "ecg"},
    "participants": {"path": "people.csv"},
    "genotypes": {"path": "g.bed"},
}
