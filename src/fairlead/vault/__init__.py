"""The vault: model weights and datasets, sealed, signed and released only to who may have them."""
