"""Blocks without probability."""

from companion.nets.adversarial import (
    homework_generator,
    homework_judge,
    image_critic,
    image_generator,
)
from companion.nets.images import (
    channels_last,
    face_decoder,
    face_encoder,
    four_layer_decoder,
    four_layer_encoder,
    image_decoder,
    image_encoder,
    sprite_decoder,
    sprite_encoder,
    two_layer_decoder,
    two_layer_encoder,
)

__all__ = [
    "channels_last", "face_decoder", "face_encoder", "four_layer_decoder", "four_layer_encoder",
    "homework_generator", "homework_judge",
    "image_critic", "image_decoder", "image_encoder", "image_generator", "sprite_decoder",
    "sprite_encoder", "two_layer_decoder", "two_layer_encoder",
]  # fmt: skip
