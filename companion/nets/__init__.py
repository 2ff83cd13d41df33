"""Blocks without probability."""

from companion.nets.images import image_decoder, image_encoder, sprite_decoder, sprite_encoder

__all__ = ["image_decoder", "image_encoder", "sprite_decoder", "sprite_encoder"]
