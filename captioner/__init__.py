"""Image captioning: frozen image encoder, attention LSTM decoder, beam search, honest scores."""

__version__ = "0.1.0"
