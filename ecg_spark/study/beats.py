"""The study file's section on average beats."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ecg_spark.ecg import FLAGS, Limits, Source
from ecg_spark.study.section import Section


class Quality(Section):
    """Thresholds above which (or below which) a recording gets a warning."""

    irregular_rr: Annotated[float, Field(gt=0)] = Field(
        Limits.irregular_rr,
        description="rhythm_irregular: median change of RR, as a part of the median RR",
    )
    noisy_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.noisy_uv, description="noisy: standard error of the average beat"
    )
    muscle_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.muscle_uv, description="muscle_noise: standard deviation of a single beat"
    )
    mains_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.mains_uv, description="mains: root mean square, largest lead"
    )
    wander_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.wander_uv, description="baseline_wander: root mean square, largest lead"
    )
    saturated_share: Annotated[float, Field(gt=0, le=1)] = Field(
        Limits.saturated_share, description="saturated: part of a lead's samples that is clipped"
    )
    flat_uv: Annotated[float, Field(ge=0)] = Field(
        Limits.flat_uv, description="flat_lead: peak-to-peak of the average beat in a lead"
    )
    few_beats: Annotated[int, Field(ge=0)] = Field(
        Limits.few_beats, description="few_beats: fewer were averaged"
    )
    inverted_p_uv: Annotated[float, Field(lt=0)] = Field(
        Limits.inverted_p_uv,
        description="mean of P in lead I; with the next, arm electrodes were swapped: the "
        "recording is set aside, not flagged",
    )
    opposite_qrs: Annotated[float, Field(ge=-1, le=0)] = Field(
        Limits.opposite_qrs, description="correlation of the QRS complexes of I and V6"
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
        "computed",
        description="computed: the average of the sinus beats; vendor: the device's own median "
        "beat; vendor_else_computed: that where the file has one",
    )
    leave_out: Annotated[tuple[str, ...], AfterValidator(_are_flags)] = Field(
        ("ectopic_only", "few_beats", "flat_lead", "paced", "noisy", "saturated"),
        description="recordings with one of these flags are used neither for training nor for "
        "latents and traits. The flags are those below, and paced, ectopic_beats, ectopic_only",
    )
    quality: Quality = Field(
        Quality(), description="thresholds of the flags, which stay with each beat"
    )
