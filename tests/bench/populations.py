"""The populations of the model's benchmarks: average beats, float32 [n, 8, 600] in mV."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.ndimage import gaussian_filter1d

from ecg_spark.ecg import Recording, RecordingError, average_beat, derive_leads, read_recording
from ecg_spark.simulate.heart import PARAMETERS, beat_mv, hearts_from_scores
from models.encoding.fold_encoder import independent_leads

SHARE = 0.07
"""Of the variance of each parameter of a simulated heart, what its one variant explains."""
NOISE_MV = 0.007
PTBXL = Path(__file__).parents[3] / "shared" / "data" / "ptbxl"


def simulated(seed, people):
    """Beats [n, 12, 600] with smooth residual noise, each person's scores and dosages."""
    rng = np.random.default_rng(seed)
    shape = (people, len(PARAMETERS))
    dosages = rng.binomial(2, rng.uniform(0.1, 0.5, shape[1]), shape).astype(float)
    dosages = (dosages - dosages.mean(axis=0)) / dosages.std(axis=0)
    scores = np.sqrt(SHARE) * dosages + np.sqrt(1 - SHARE) * rng.standard_normal(shape)
    beats = independent_leads(beat_mv(hearts_from_scores(scores)))
    noise = gaussian_filter1d(rng.standard_normal(beats.shape), 2.0, axis=-1)
    beats = derive_leads(beats + noise * NOISE_MV / noise.std()).astype(np.float32)
    return beats, scores, dosages


def power(z, scores, dosages):
    """What latents [n, k] of a simulated population find of its planted variants.

    Of single latents at p < 5e-8 / k, by chi-squared over all decorrelated latents at 5e-8, or by
    either; how much of the hearts' parameters the latents hold; how far they are correlated.
    """
    n, k = z.shape
    z = by_ranks(z)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    r = dosages.T @ z / n
    t = r * np.sqrt((n - 2) / (1 - r**2))
    p = 2 * stats.t.sf(np.abs(t), n - 2)
    normal = np.sign(t) * stats.norm.isf(np.clip(p, 1e-300, 1) / 2)
    correlation = np.corrcoef(z, rowvar=False)
    chi2 = np.einsum("vi,ij,vj->v", normal, np.linalg.inv(correlation), normal)
    single, omnibus = p.min(axis=1) < 5e-8 / k, stats.chi2.sf(chi2, k) < 5e-8
    design = np.column_stack([z, np.ones(n)])
    left = scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    off = np.abs(correlation[np.triu_indices(k, 1)])
    return {
        "latents": k,
        "found_single": int(single.sum()),
        "found_omnibus": int(omnibus.sum()),
        "found": int((single | omnibus).sum()),
        "planted": len(single),
        "mean_r2_of_parameters": round(
            float((1 - left.var(axis=0) / scores.var(axis=0)).mean()), 3
        ),
        "max_abs_r": round(float(off.max()), 3),
        "mean_abs_r": round(float(off.mean()), 3),
    }


def by_ranks(z):
    """Columns [n, k], or one [n], made normal by their ranks."""
    return stats.norm.ppf((stats.rankdata(z, axis=0) - 0.375) / (len(z) + 0.25))


def deepfake(folder, at_most, workers=1):
    """Beats of the recordings that generate_deepfake.py left in a folder, averaged once."""
    parts = []
    for path in sorted(Path(folder).glob("*.npy")):
        kept = path.with_suffix(".beats.npz")
        if not kept.exists():
            recordings = np.load(path)
            with ProcessPoolExecutor(workers) as pool:
                beats = [b for b in pool.map(_average, recordings, chunksize=16) if b is not None]
            with kept.open("wb") as file:
                np.savez(file, beats=np.array(beats, np.float32))
        parts.append(np.load(kept)["beats"])
        if sum(map(len, parts)) >= at_most:
            break
    if not parts:
        raise SystemExit(f"{folder} holds no recordings: run tests/bench/generate_deepfake.py.")
    return np.concatenate(parts)[:at_most]


def ptbxl(folder=PTBXL):
    """Beats of the real recordings of PTB-XL in a folder, one of each that can be averaged."""
    beats = []
    for header in sorted(Path(folder).glob("*_hr.hea")):
        try:
            beats.append(average_beat(read_recording(str(header))).signal_mv)
        except RecordingError:
            continue
    return independent_leads(np.array(beats, np.float32))


def _average(uv):
    """The eight leads of one recording's average beat; None where it cannot be averaged."""
    try:
        return independent_leads(average_beat(recording_of(uv)).signal_mv[None])[0]
    except RecordingError:
        return None


def recording_of(uv):
    """The recording of eight leads [8, n] in µV at 500 Hz."""
    samples = np.round(derive_leads(np.asarray(uv, float))).astype("<i2")
    return Recording(samples, 1.0, 500.0, "deepfake")
