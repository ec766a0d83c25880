"""The model card: what a registered model is, what it was trained on, how good it is, its limits.

It follows Mitchell et al., Model Cards for Model Reporting, FAT* 2019. It is the description of the
model's version in MLflow, and contains counts and metrics, never anything about a person.
"""

from collections.abc import Mapping, Sequence

from models.encoding.encoder import Encoder
from models.encoding.evaluation import SEGMENTS_MS, TESTED, TESTED_PEER, Metrics, archive_error
from models.registry.carried import Home


def model_card(
    encoder: Encoder,
    metrics: Metrics,
    beats_training: int,
    beats_tested: int,
    leave_out: Sequence[str] = (),
    archives: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """Return the card as Markdown, from the model's configuration and its held-out metrics.

    Args:
        encoder: the model.
        metrics: as `compare` and `judge_archives` return them.
        beats_training: how many beats it was trained on.
        beats_tested: how many held-out beats the metrics are of.
        leave_out: flags whose recordings were not used.
        archives: if there are several, the beats of each, as `judge_archives` counts them.
    """

    def shown(whose: str, key: str, form: str) -> str:
        return form.format(metrics[f"{whose}/{key}"])

    table = _table([(TESTED, metrics), (TESTED_PEER, metrics)])
    independence = (
        f"Absolute correlation between two factors on held-out beats: "
        f"{shown(TESTED, 'max_abs_r', '{:.2f}')} at most, "
        f"{shown(TESTED, 'mean_abs_r', '{:.2f}')} on average; at most "
        f"{shown(TESTED, 'max_abs_r_by_chance', '{:.2f}')} would be chance.\n\n"
        if encoder.n_active > 1
        else ""
    )
    networks = (
        f"It holds {len(encoder.folds)} networks, each trained on all people but those of its fold "
        f"(by a hash of the participant and the seed; relatives may be in different folds). A "
        f"participant is encoded by the network that was not trained on them. Factors of the other "
        f"networks are rotated to match those of the first: mean absolute correlation "
        f"{metrics['folds/mean_abs_r']:.3f}. **A person on whom no network was trained** gets the "
        f"mean over all networks; loaded from MLflow, the model treats everybody so.\n\n"
        if len(encoder.folds) > 1
        else ""
    )
    by_archive = _archive_table(archives, metrics) if archives else ""
    left_out = (
        f"Recordings flagged {', '.join(leave_out).replace('_', ' ')} were left out. "
        if leave_out
        else ""
    )
    return f"""\
## What it is

A variational autoencoder of average heartbeats: 12 leads x 600 samples at 500 Hz in mV, R at a
fixed sample. It gives {encoder.n_active} latent factors, uncorrelated over the training beats, in
units of their standard deviation; factors are ordered by their KL divergence, and their sign is
such that the largest deflection that they cause points up. A beat's factors are the mode of their
posterior under the decoder; the search starts at the encoder's guess. How much two ECGs of a person
differ is measured on the study's people, in its table of latents.

## What it was trained on

{beats_training} average beats (table version `{encoder.config["table_version"]}`); people, not
ECGs, were held out. The figures below are of {beats_tested} beats of people on whom no choice
depended, neither of an epoch, of settings nor of the factors. Relatives may be on both sides:
kinship is not known when a model is trained. Seed {encoder.config["seed"]}. {left_out}

{by_archive}{networks}## How good it is, on held-out people

| | this model | PCA, as many components |
| --- | --- | --- |
{table}

{independence}## What it is for, and what not

Phenotypes for association studies of resting ECGs recorded as those of the training were. Factors
of another model, even of the same study, are different factors. Not a medical device: no diagnosis
may be based on it.
"""


def travelled_card(
    encoder: Encoder, metrics: Metrics, home: Home, beats_tested: int, notes: Sequence[str]
) -> str:
    """Return the card of a model that was trained in another study, as Markdown.

    Args:
        encoder: the model.
        metrics: on this study's beats, as `compare` returns them.
        home: the metrics where it was trained.
        beats_tested: how many beats of this study the metrics are of.
        notes: what else must be said, one clause each.
    """
    table = _table([(TESTED, metrics), (TESTED_PEER, metrics), (TESTED, home.figures)])
    told = "".join(f"- **{note[0].upper()}{note[1:]}.**\n" for note in notes)
    return f"""\
## What it is

A variational autoencoder of average heartbeats with {encoder.n_active} latent factors, trained in
the study `{home.study}` and used unchanged (SHA-256 of its weights: `{encoder.digest}`). It was
trained on nobody of this study. Its factors are those of `{home.study}`: loci can be compared.

## How good it is here, and where it was trained

On {beats_tested} beats of this study; the PCA was fitted to other people of this study.

| | this model, here | PCA fitted here | this model, where it was trained |
| --- | --- | --- | --- |
{table}

{told}
## What it is for, and what not

Phenotypes for association studies of resting ECGs recorded as those of `{home.study}` were. Not a
medical device: no diagnosis may be based on it.
"""


def _archive_table(archives: Mapping[str, Mapping[str, int]], metrics: Metrics) -> str:
    """Return what each archive contributed, and the errors on its held-out people, as Markdown."""
    rows = []
    for name, beats in archives.items():
        errors = (metrics.get(archive_error(name, whose)) for whose in (TESTED, TESTED_PEER))
        shown = ["too few" if error is None else f"{error:.1f}" for error in errors]
        cells = [name, beats["beats_training"], beats["beats_tested"], *shown]
        rows.append(f"| {' | '.join(map(str, cells))} |\n")
    return f"""\
The beats are of several archives. People are told apart within an archive only: whether a person is
in two archives is not known, and such a person may be on both sides.

| archive | beats trained on | tested on | mean absolute error, µV | PCA's |
| --- | --- | --- | --- | --- |
{"".join(rows)}
"""


def _table(columns: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Return the rows of a Markdown table of reconstruction errors, a column per set of metrics."""
    rows = [
        ("mean absolute error, µV", "mae_uv", "{:.1f}"),
        *(
            (f"the same, {part.replace('_', '-').upper()}", f"mae_uv/part_{part}", "{:.1f}")
            for part in SEGMENTS_MS
        ),
        ("Pearson r, mean over leads", "pearson_r", "{:.4f}"),
    ]
    return "\n".join(
        f"| {title} | "
        + " | ".join(form.format(figures[f"{whose}/{key}"]) for whose, figures in columns)
        + " |"
        for title, key, form in rows
    )
