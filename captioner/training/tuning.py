"""What `tune` decides: how an encoder and a decoder learn together, and then the decoder by its own captions.

Nothing heavy is imported here, so that the command line can tell the defaults at once.
"""

import dataclasses

from captioner import config

# Rounds of self-critical training after `captioner.training.end_to_end`.
ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class EndToEndConfig:
    """How a whole encoder and a fresh decoder learn together, see `captioner.training.end_to_end`.

    Of encoder rates of 1e-4, 2e-4 and 4e-4, tried without teachers, `efficientnet_lite2` gave greedy captions of 53.5,
    54.9 and 55.6 CIDEr-D on validation, the best after 16 to 20 epochs; the default lies between the last two.
    """

    epochs: int = 18
    # The decoder learns alone for so many epochs; in as many more the encoder comes to its full rate.
    frozen_epochs: int = 2
    photos_per_batch: int = 64
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 3e-4
    # Both end at this share of themselves, along a cosine.
    final_learning_rate_fraction: float = 0.02
    warmup_steps: int = 100
    # Of the decoder alone.
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    # Captions are written by a running average of the weights, over about 1 / (1 - averaging) steps.
    averaging: float = 0.995
    # Epochs without a better validation CIDEr-D before training stops.
    patience: int = 8
    # Views are cut out of photos, half of them mirrored, and their colours changed, see `draw_views`.
    min_crop: float = 0.7
    color_jitter: float = 0.15
    # How often a view takes the place of the whole photo.
    view_share: float = 0.85
    # How much the words of teachers count, where there are any, beside those of people.
    taught_share: float = 0.6
    max_length: int = 22
    seed: int = 0

    def __post_init__(self):
        config.check_least(
            self, epochs=1, frozen_epochs=0, photos_per_batch=1, warmup_steps=0, weight_decay=0, patience=1
        )
        if self.frozen_epochs >= self.epochs:
            raise ValueError(
                "frozen_epochs must be fewer than epochs, else the encoder never learns. "
                f"Received: frozen_epochs={self.frozen_epochs!r}, epochs={self.epochs!r}"
            )
        config.check_least(self, max_length=1, seed=0)
        config.check_above(self, "learning_rate", "encoder_learning_rate", "clip_norm")
        config.check_share(self, "final_learning_rate_fraction", "averaging", "min_crop", "color_jitter", "view_share")
        config.check_share(self, "taught_share")

    @property
    def views(self) -> dict[str, float]:
        """How views differ from their photos, for `captioner.encoders.augmentation.draw_views`."""
        return {"min_side": self.min_crop, "color_jitter": self.color_jitter, "share": self.view_share}


@dataclasses.dataclass(frozen=True)
class TuningConfig:
    """How to train from photos; see `captioner.training.from_photos`."""

    decoder: config.DecoderConfig
    end_to_end: EndToEndConfig
    self_critical: config.SelfCriticalConfig
    mirrored: bool = True


def suggest_tuning(
    encoder: str, num_photos: int, num_captions: int, *, is_drawn: bool, seed: int, num_epochs: int, rounds: int
) -> TuningConfig:
    """Returns settings that suit a data set: with few photos batches are smaller, and averages over fewer steps.

    Args:
        encoder: Name of the encoder.
        num_photos: Train photos.
        num_captions: Train captions.
        is_drawn: Whether they are drawings, which are seen whole and not mirrored: their captions say what is left and
            what is right.
        seed: Of weights, order and dropout.
        num_epochs: Of encoder and decoder together.
        rounds: Of self-critical training.
    """
    usual = EndToEndConfig
    size = max(8, min(usual.photos_per_batch, num_photos // 50))
    num_steps = num_epochs * max(num_photos // size, 1)
    together = usual(
        epochs=num_epochs,
        frozen_epochs=min(usual.frozen_epochs, num_epochs // 4),
        photos_per_batch=size,
        warmup_steps=min(usual.warmup_steps, num_steps // 10),
        averaging=min(usual.averaging, max(0.0, 1 - 8 / num_steps)),
        view_share=0.0 if is_drawn else usual.view_share,
        seed=seed,
    )
    return TuningConfig(
        config.suggest_decoder(num_captions),
        together,
        config.SelfCriticalConfig(rounds=rounds, seed=seed),
        mirrored=config.is_mirrored(encoder) and not is_drawn,
    )
