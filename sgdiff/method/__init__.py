"""The method itself: encoder, losses, autoencoder, denoiser, samplers, pipeline."""
