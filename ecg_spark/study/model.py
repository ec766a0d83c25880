"""The study file's section on the model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ecg_spark.study.section import Section


class Model(Section):
    """The variational autoencoder and its training."""

    source: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="a model that was trained elsewhere and is used as it is: the folder or .zip "
        "that 'ecg-spark model export' wrote, or one of MLflow, such as models:/ecg-vae@champion",
    )
    fine_tune: bool = Field(
        False, description="true: training continues from the source's network, on these beats"
    )
    latents: Annotated[int, Field(ge=1, le=256)] = Field(
        20, description="factors at most: those that carry nothing are left out (min_active_kl)"
    )
    channels: Annotated[int, Field(ge=4, le=1024)] = Field(
        16, description="width of the encoder's convolutions"
    )
    kl_weight: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="weight of the KL divergence in the loss (β): a larger one gives fewer "
        "factors and a coarser beat",
    )
    epochs: Annotated[int, Field(ge=1)] = Field(100, description="passes over the beats at most")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        20,
        description="training ends after so many epochs without a lower validation loss; null: "
        "never before the last",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="beats of one training step, over all processes together"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        2e-3, description="the largest of its one-cycle schedule"
    )
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15,
        description="part of the participants (but those of the test), in each fold, by whom the "
        "best epoch is chosen, and settings in a sweep",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1,
        description="part of the participants by whom nothing is chosen: the model's published "
        "figures are of them",
    )
    folds: Annotated[int, Field(ge=1, le=20)] = Field(
        1,
        description="networks, each trained without one part of the participants: with two or "
        "more, everybody is encoded by one that was not trained on them, and the fold is a "
        "covariate of the GWAS",
    )
    min_active_kl: Annotated[float, Field(ge=0)] = Field(
        0.05, description="nats: a latent with a lower mean KL divergence is left out"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="cpu, cuda, or auto: a GPU where there is one; of train and encode"
    )

    @model_validator(mode="after")
    def _has_what_it_tunes(self) -> "Model":
        if self.fine_tune and self.source is None:
            raise ValueError("has fine_tune without a source: name the model that is trained on")
        return self

    @property
    def training_share(self) -> float:
        """The share of the participants that each network is trained on."""
        others = 1 - 1 / self.folds if self.folds > 1 else 1.0
        return (1 - self.test_share) * others * (1 - self.validation_share)
