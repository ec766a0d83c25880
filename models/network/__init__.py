"""The variational autoencoder, its loss, and its linear peer."""
