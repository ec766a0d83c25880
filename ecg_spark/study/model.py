"""The study file's section on the model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ecg_spark.study.section import Section


class Model(Section):
    """The variational autoencoder and its training."""

    source: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="a model that was trained elsewhere and is taken as it is: the folder or .zip "
        "that 'ecg-spark model export' wrote, or one of MLflow, such as models:/ecg-vae@champion",
    )
    fine_tune: bool = Field(
        False, description="train the source's network on from where it is, on the study's beats"
    )
    latents: Annotated[int, Field(ge=1, le=256)] = 20
    channels: Annotated[int, Field(ge=4, le=1024)] = 16
    kl_weight: Annotated[float, Field(gt=0)] = 1.0
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = Field(
        20, description="epochs without a lower validation loss that end training; null: none"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="beats of a training step, over all processes together"
    )
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15,
        description="participants by whom the best epoch is chosen, and settings in a sweep; with "
        "several folds, in each",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="participants whom nothing is chosen by: the published figures are of them"
    )
    folds: Annotated[int, Field(ge=1, le=20)] = Field(
        1,
        description="networks, each trained on the participants of all other folds: with two or "
        "more everybody is encoded by one that was not trained on them",
    )
    min_active_kl: Annotated[float, Field(ge=0)] = Field(
        0.05, description="nats: a latent with less mean KL carries nothing and is left out"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where train and encode work; auto: on a GPU where there is one"
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
