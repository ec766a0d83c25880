"""The study file's section on average beats."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ecg_spark.ecg import FLAGS, Limits, Source
from ecg_spark.study.section import Section


class Quality(Section):
    """Thresholds above which (or below which) a recording gets a warning."""

    irregular_rr: Annotated[float, Field(gt=0)] = Field(
        Limits.irregular_rr, description="median change of RR, as a part of the median RR"
    )
    noisy_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.noisy_uv, description="standard error of the average beat"
    )
    muscle_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.muscle_uv, description="standard deviation of a single beat about the average"
    )
    mains_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.mains_uv, description="root mean square of the mains, largest lead"
    )
    wander_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.wander_uv, description="root mean square of the baseline wander, largest lead"
    )
    saturated_share: Annotated[float, Field(gt=0, le=1)] = Field(
        Limits.saturated_share, description="part of a lead's samples that is clipped"
    )
    flat_uv: Annotated[float, Field(ge=0)] = Field(
        Limits.flat_uv, description="peak-to-peak of a lead of the average beat"
    )
    few_beats: Annotated[int, Field(ge=0)] = Field(
        Limits.few_beats, description="an average of fewer beats is flagged"
    )
    inverted_p_uv: Annotated[float, Field(lt=0)] = Field(
        Limits.inverted_p_uv, description="mean of P in lead I: swapped arm electrodes"
    )
    opposite_qrs: Annotated[float, Field(ge=-1, le=0)] = Field(
        Limits.opposite_qrs, description="correlation of QRS in I and V6: swapped arm electrodes"
    )


def _are_flags(names: tuple[str, ...]) -> tuple[str, ...]:
    """The flags in one order, so that another order in the study file is no other setting."""
    unknown = [name for name in names if name not in FLAGS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not a flag; known are {', '.join(FLAGS)}")
    return tuple(flag for flag in FLAGS if flag in names)


class Beats(Section):
    """Whose average beat is used, when a recording gets a warning, and what the warning does."""

    source: Source = Field(
        "computed", description="our average, the device's median, or that where there is one"
    )
    quality: Quality = Quality()
    leave_out: Annotated[tuple[str, ...], AfterValidator(_are_flags)] = Field(
        ("ectopic_only", "few_beats", "flat_lead", "paced", "noisy", "saturated"),
        description="recordings with one of these flags are not used for training, latents and "
        "traits",
    )
